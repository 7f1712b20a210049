"""The indexer's commands: index, worker, videos, failed, retry, verify, gc, reindex.

They read options and print; the work is done by the modules they call, imported when needed, so that `--help` is quick.
With `--json` a command writes one JSON document to stdout and nothing else; progress goes to stderr.
Exit status: 0 ok, 1 some files failed or there is no room, 2 wrong use, 3 the index cannot be used (docs/errors.md).
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import HtavError

if TYPE_CHECKING:
    from indexer.catalog import Catalog
    from indexer.config import IndexSettings
    from indexer.progress import IndexReport

commands = typer.Typer(no_args_is_help=True, add_completion=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


class BadUsage(HtavError):
    """Options that do not go together."""

    code = "invalid_request"


@commands.callback()
def indexer_commands() -> None:
    """Index videos and look after the index."""


@commands.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Media files, or folders of them.", metavar="PATH...")],
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and index what appears or changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index media files; those that have not changed are not read again."""
    from indexer.pipeline import check_paths, index_paths
    from indexer.watch import watch as stay

    if watch and as_json:
        raise BadUsage("--watch has no end, and so no JSON document.", "Leave out one of the two.")
    with _catalog() as (settings, catalog):
        check_paths(catalog, settings, paths)  # a slip of the pen is told before the seconds that loading takes
    retriever = _retriever(settings)
    with _progress() as reporter:
        try:
            if watch:
                stay(paths, settings, retriever, reporter, on_report=_summary)
            _finish(index_paths(list(paths), settings, retriever, reporter), as_json)
        except KeyboardInterrupt:
            raise typer.Exit(0 if watch else 130) from None


@commands.command()
def worker(
    once: Annotated[bool, typer.Option("--once", help="End when no job is waiting.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do the jobs that the service has queued."""
    from indexer.worker import run_worker

    if as_json and not once:
        raise BadUsage("A worker without --once has no end, and so no JSON document.", "Add --once.")
    reports = run_worker(_settings(), once=once)
    if as_json:
        _print({"jobs": [report.to_json() for report in reports]})
    if any(report.failed for report in reports):
        raise typer.Exit(1)


@commands.command()
def videos(
    state: Annotated[str | None, typer.Option(help="Only videos in this state: ready, partial, missing...")] = None,
    as_json: AsJson = False,
) -> None:
    """List what is indexed."""
    from rich.table import Table

    from indexer import listing
    from indexer.tables import VideoState

    try:
        wanted = VideoState(state) if state else None
    except ValueError as err:
        known = ", ".join(one.value for one in VideoState)
        raise BadUsage(f"There is no state '{state}'.", f"Choose one of: {known}.") from err
    with _catalog() as (_, catalog):
        rows = listing.videos(catalog, wanted)
    if as_json:
        _print({"videos": rows})
        return
    table = Table("state", "length", "clips", "sound", "file")
    for row in rows:
        sound = "yes" if row["has_audio"] else "no"
        table.add_row(row["state"], _clock(row["duration_s"]), str(row["clips"]), sound, row["uri"] or row["id"])
    _out(table)


@commands.command()
def failed(as_json: AsJson = False) -> None:
    """List the files that could not be indexed, and why."""
    from rich.table import Table

    from indexer import listing

    with _catalog() as (_, catalog):
        rows = listing.failed(catalog)
    if as_json:
        _print({"failed": [row.to_json() for row in rows]})
        return
    table = Table("code", "attempts", "file", "reason")
    for row in rows:
        table.add_row(row.code, str(row.attempts), row.uri, row.message)
    _out(table if rows else "No file has failed.")


@commands.command()
def retry(as_json: AsJson = False) -> None:
    """Try the failed files again, whatever was wrong with them."""
    from indexer import failures
    from indexer.pipeline import index_paths
    from indexer.progress import IndexReport

    with _catalog() as (settings, catalog):
        paths = [row.file_path for row in failures.failed_files(catalog)]
    if not paths:
        _finish(IndexReport(), as_json)
        return
    with _progress() as reporter:
        _finish(index_paths(paths, settings, _retriever(settings), reporter, retry=True, revive=False), as_json)


@commands.command()
def verify(
    repair: Annotated[bool, typer.Option(help="Mend what can be mended and queue the rest again.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check every digest on disk and, unless --no-repair, mend it."""
    from indexer.verify import verify as check

    with _catalog() as (settings, catalog):
        report = check(settings, catalog, repair=repair)
    if as_json:
        _print(report.to_json())
    else:
        for problem in report.problems:
            _out(f"{problem.kind} {problem.id}: {problem.code}{' (repaired)' if problem.repaired else ''}")
        _out("The index is sound." if report.ok else f"{len(report.problems)} problems.")
    if report.problems:
        raise typer.Exit(3 if repair and not all(problem.repaired for problem in report.problems) else 1)


@commands.command()
def gc(
    old_models: Annotated[
        bool, typer.Option("--old-models", help="Also drop what other models than the one in use have encoded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what nothing refers to any more; never a media file."""
    from indexer.gc import collect_garbage

    with _catalog() as (settings, catalog):
        only = _retriever(settings).fingerprint if old_models else None
        report = collect_garbage(settings, catalog, only=only)
    if as_json:
        _print(report.to_json())
    else:
        _out(f"{report.bytes_freed:,} bytes freed.")


@commands.command()
def reindex(as_json: AsJson = False) -> None:
    """Encode all videos for the current model; a service that still runs the old one goes on answering."""
    from indexer import listing
    from indexer.errors import NothingIndexed
    from indexer.pipeline import index_paths

    with _catalog() as (settings, catalog):
        paths = listing.live_files(catalog)
    if not paths:
        raise NothingIndexed("There is nothing to index again.", "Run `htav index FOLDER` first.")
    with _progress() as reporter:
        _finish(index_paths(paths, settings, _retriever(settings), reporter, revive=False), as_json)


def _settings() -> "IndexSettings":
    from indexer.config import IndexSettings

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return IndexSettings()


def _retriever(settings: "IndexSettings") -> Any:
    from indexer.loading import load_retriever

    return load_retriever(settings)


@contextmanager
def _catalog() -> "Iterator[tuple[IndexSettings, Catalog]]":
    from indexer.catalog import Catalog

    settings = _settings()
    catalog = Catalog.open(settings)
    try:
        yield settings, catalog
    finally:
        catalog.close()


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.console import Console

    from indexer.progress import RichReporter

    with RichReporter(Console(stderr=True)) as reporter:
        yield reporter


def _finish(report: "IndexReport", as_json: bool) -> None:
    """Print a run's outcome; the exit status says whether files failed."""
    if as_json:
        _print(report.to_json())
    else:
        _summary(report)
    if report.failed:
        raise typer.Exit(1)


def _summary(report: "IndexReport") -> None:
    parts = [f"{number} {name}" for name, number in vars(report.counts).items() if number]
    speed = f" at {report.realtime_factor:.1f}x real time" if report.media_s else ""
    _out(f"{', '.join(parts) or 'nothing to do'}; {report.took_s:.1f} s{speed}")
    if report.failed:
        _out("`htav failed` lists what failed and why.")


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))


def _out(what: Any) -> None:
    from rich.console import Console

    Console().print(what, markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def main() -> None:
    """Run the indexer's commands alone; the `htav` script adds those of the other rooms."""
    try:
        commands()
    except HtavError as error:
        typer.echo(f"error: {error.message}\n{error.hint}".rstrip(), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
