"""`htav demo`: from nothing to a page to try, in one command.

It makes the sample library, indexes it and serves it, each step only as far as it is not done yet, in a folder of its
own: the user's index is never touched. The command line imports this module for its help, so heavy imports happen
inside.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Final
from urllib.error import URLError
from urllib.request import urlopen

import typer
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.children import ours_first
from model.errors import HtavError

READY_S: Final = 120.0
OF_THE_MACHINE: Final = ("threads", "batch_clips", "min_free_bytes")
console = Console(stderr=True)


class DemoFailed(HtavError):
    """A step of the demonstration ended badly; it has said itself what was wrong."""

    code = "demo_failed"
    exit_code = 1


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    folder: Annotated[Path, typer.Option(help="Where the library and its index are kept.")] = Path(".demo"),
) -> None:
    """Build the sample library, index it, serve it, and print what to try."""
    from app.config import Settings
    from app.serve import address, listen, serve

    with listen(host, port) as found:  # a port in use is told before minutes of work, not after
        port = found.getsockname()[1]
    choose_index(folder / "data")
    make_library(folder / "library")
    index_library(folder / "library")
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0") else host
    threading.Thread(target=announce, args=(f"http://{address(shown, port)}",), daemon=True).start()
    serve(Settings(host=host, port=port, log_level="ERROR"))


def choose_index(data_dir: Path) -> None:
    """Point this process and its children at the demo's own index. Exported settings of the user's index are dropped,
    or the demo would be written into its database; those of the machine hold here too."""
    from indexer.config import IndexSettings

    foreign = {f"HTAV_{name.upper()}" for name in IndexSettings.model_fields if name not in OF_THE_MACHINE}
    for name in list(os.environ):
        if name.upper() in foreign:
            del os.environ[name]
    os.environ["HTAV_DATA_DIR"] = str(data_dir.absolute())


def make_library(folder: Path) -> None:
    """The sample library, unless a complete one is there."""
    from model.data.synthesis.library import SAMPLE_FILES, sample_library

    if is_complete(folder):
        console.print(f"[bold]1/3[/] The sample library is there: {folder}", highlight=False)
        return
    columns = (TextColumn("[bold]1/3[/] Making the sample library"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=SAMPLE_FILES)
        sample_library(folder, progress=lambda done: progress.update(task, completed=done))


def is_complete(folder: Path) -> bool:
    """Whether a library is there, whole, and the one that today's queries are for. Its manifest is written last."""
    from model.data.synthesis.library import DEMO_QUERIES

    try:
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    texts = {line["file"]: line["texts"] for line in lines}
    answered = all(query.text in texts.get(query.file, ()) for query in DEMO_QUERIES)
    return answered and all((folder / file).is_file() for file in texts)


def index_library(folder: Path) -> None:
    """Index in a process of its own: the service needs neither its memory nor what it imports."""
    console.print("[bold]2/3[/] Indexing it", highlight=False)
    command = [sys.executable, "-m", "app.cli", "index", str(folder)]
    done = subprocess.run(command, env=ours_first(os.environ), stdout=sys.stderr, check=False)
    if done.returncode not in (0, 1):
        raise DemoFailed("The sample library could not be indexed.", "The lines above say why.")


def announce(address: str) -> None:
    """Wait until the service is ready, then say what to try."""
    from model.data.synthesis.library import DEMO_QUERIES

    console.print("[bold]3/3[/] Starting the service", highlight=False)
    deadline = time.monotonic() + READY_S
    while not is_ready(address):
        if time.monotonic() > deadline:
            console.print(f"The service is slow to start; look at {address}/readyz.", highlight=False)
            return
        time.sleep(0.2)
    queries = "\n".join(f"  {query.text}" for query in DEMO_QUERIES)
    console.print(
        Panel.fit(
            f"Search page   {address}\nAPI           {address}/docs\n\nTry\n{queries}\n\nCtrl-C stops it.",
            title="HTAV is ready",
            padding=(1, 2),
        ),
        highlight=False,
    )


def is_ready(address: str) -> bool:
    try:
        urlopen(f"{address}/readyz", timeout=2).close()
    except (URLError, TimeoutError, ConnectionError):
        return False
    return True
