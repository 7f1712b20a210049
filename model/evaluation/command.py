"""`htav evaluate`, once its options are read."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from model.evaluation.evaluate import Request, Shortlister, evaluate

FIGURES = ("r1", "r5", "r10", "mdr", "mnr")


def run_evaluate(
    request: Request, model: Path | str | None, json_output: bool = False, shortlister: Shortlister | None = None
) -> None:
    """Evaluate, and print the document of DESIGN section 6 (`--json`) or a table."""
    from model.retriever import Retriever

    retriever = Retriever.embedded() if model is None else Retriever.from_pretrained(model)
    with _Bars(quiet=json_output and not sys.stderr.isatty()) as bars:
        document = evaluate(request, retriever, shortlister, bars)
    if json_output:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _show(document)


class _Bars:
    """Progress on stderr."""

    def __init__(self, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=of)
        self.progress.update(self.tasks[what], completed=done)


def _show(document: dict[str, Any]) -> None:
    console = Console()
    title = f"{document['model']} on {document['data']} ({document['split']}, {document['pool']['items']} items)"
    table = Table("kind", "queries", "R@1", "R@5", "R@10", "MdR", "MnR", title=title)
    for kind, found in {"all": document["overall"], **document["kinds"]}.items():
        cells = [
            f"{found[name]['value']:.1f} [{found[name]['ci95'][0]:.1f}, {found[name]['ci95'][1]:.1f}]"
            for name in FIGURES
        ]
        table.add_row(kind, str(found["queries"]), *cells)
    console.print(table)
    for failure in document["failed"]:
        console.print(f"failed: {failure['file']}: {failure['message']}", markup=False)
