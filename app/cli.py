"""`htav`: the commands of all three rooms, and the one place where an error becomes a message and an exit status.

Each room brings its own commands; here are those of the service: serve, search, key. Heavy imports happen inside a
command, so that `htav --help` is quick. What the exit statuses mean is in docs/indexing.md and docs/errors.md.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app import about
from indexer.cli import commands as indexer_commands
from model.boundary import reported
from model.cli import commands as model_commands
from model.errors import HtavError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys = typer.Typer(no_args_is_help=True, help="API keys of the service.")
stdout, stderr = Console(), Console(stderr=True)


class BadArguments(HtavError):
    """An argument or a setting has a value that makes no sense."""

    code = "invalid_request"


def _show_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"htav {about.version()}", highlight=False)
        stdout.print(f"code:    {about.CODE_LICENCE}", highlight=False)
        stdout.print(f"weights: {about.WEIGHTS_LICENCE}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions and licences.")
    ] = False,
) -> None:
    """Find the moment in your videos that answers a sentence."""
    context.obj = {"shortlister": _service_shortlist}


def _service_shortlist(*arguments: Any) -> Any:
    from app.evaluation import service_shortlist

    return service_shortlist(*arguments)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="HTAV_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="HTAV_PORT or 8000")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Do not index in the background.")] = False,
) -> None:
    """Start the HTTP service, and a worker that indexes what it is asked to."""
    from app.config import Settings
    from app.serve import serve as run

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run(Settings(**given), worker=not no_worker)  # type: ignore[arg-type]


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to find, in English: what is seen, said or heard.")],
    limit: Annotated[int, typer.Option("-k", "--limit", help="How many videos.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the body of POST /v1/search, each result with its file's path.")
    ] = False,
) -> None:
    """Search the library from here, without a service."""
    from app.command_search import search_document

    document = search_document(text, limit)
    if as_json:
        typer.echo(document.model_dump_json(indent=2))
        return
    if not document.results or document.best_confidence == "none":
        stderr.print("Nothing in the library answers this with any confidence.")
    for result in document.results:
        stdout.print(f"{result.rank:>2}. [bold]{result.score:+.3f}[/] {result.confidence:<6} ", end="")
        stdout.print(result.path or result.uri, markup=False, highlight=False, soft_wrap=True)
        for moment in result.moments:
            stdout.print(f"      {_clock(moment.start_s)} - {_clock(moment.end_s)}", highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{rest:04.1f}"


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="search, index or admin; may be repeated.")] = None,
) -> None:
    """Make an API key and show it, once. From then on /v1 asks for one."""
    from app.command_keys import add

    stdout.print(add(name, scope or ["search"]), markup=False, highlight=False, soft_wrap=True)
    stderr.print("Keep it: it is not shown again. Send it in the X-API-Key header.")


@keys.command("list")
def list_keys() -> None:
    """Show the keys that are valid: names and scopes."""
    from app.command_keys import listed

    table = Table("name", "scopes", "made")
    for row in listed():
        table.add_row(row.name, ", ".join(row.scopes), f"{row.created_at:%Y-%m-%d %H:%M}")
    stdout.print(table, markup=False)


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="The key's name.")]) -> None:
    """Make a key invalid, within seconds and for good."""
    from app.command_keys import revoke

    if not revoke(name):
        stderr.print("No key is left: the service refuses every request until you make one with `htav key add`,")
        stderr.print("unless HTAV_REQUIRE_API_KEY=false opens it to everyone who can reach it.")


for room in (indexer_commands, model_commands):
    app.registered_commands += room.registered_commands
app.add_typer(keys, name="key")
if importlib.util.find_spec("app.demo") is not None:
    from app.demo import demo

    app.command()(demo)


def main(arguments: list[str] | None = None) -> None:
    """The one boundary of the command line."""
    with reported():
        try:
            app(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the request"
            text = f"{where}: {first['msg'].removeprefix('Value error, ')}"
            hint = "Check the arguments, which --help lists, and the HTAV_ settings, which docs/operations.md lists."
            raise BadArguments(text, hint) from error


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    main()
