"""`htav evaluate`, once its options are read."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.bars import Bars
from model.evaluation.evaluate import Request, Shortlister, evaluate
from model.memory import keep_freed_memory

if TYPE_CHECKING:
    from model.retriever import Retriever

FIGURES = ("r1", "r5", "r10", "mdr", "mnr")


def run_evaluate(
    request: Request, model: Path | str | None, json_output: bool = False, shortlister: Shortlister | None = None
) -> None:
    """Evaluate, and print the document (`--json`) or a table."""
    retriever = _loaded(model)
    with Bars.of_command(json_output) as bars:
        document = evaluate(request, retriever, shortlister, bars)
    if json_output:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _show(document)


def run_figures(
    out: Path, data: Path, sets: Path, model: Path | str | None, shortlister: Shortlister | None, json_output: bool
) -> None:
    """Every row of the table of figures, into `out`, and printed."""
    from model.evaluation.figures import ROWS, Places, markdown, run_rows

    retriever = _loaded(model)
    with Bars.of_command(json_output) as bars:
        report = run_rows(ROWS, Places(data, sets), retriever, out, shortlister, bars.below)
    sys.stdout.write(json.dumps(report) + "\n" if json_output else markdown(ROWS, report))


def _loaded(model: Path | str | None) -> "Retriever":
    from model.retriever import Retriever

    keep_freed_memory()
    return Retriever.embedded() if model is None else Retriever.from_pretrained(model)


def _show(document: dict[str, Any]) -> None:
    console = Console()
    title = f"{document['model']} on {document['data']} ({document['split']}, {document['pool']['items']} items)"
    table = Table("kind", "queries", "R@1", "R@5", "R@10", "MdR", "MnR", title=Text(title))
    authors = {f"texts: {author}": found for author, found in document["text_sources"].items()}
    for kind, found in {"all": document["overall"], **document["kinds"], **authors}.items():
        table.add_row(kind, str(found["queries"]), *(_cell(found[name]) for name in FIGURES))
    console.print(table, markup=False)
    if "twins" in document:
        by_kind = {"all": document["twins"], **document["twins"]["kinds"]}
        shown = ", ".join(f"{kind} {_cell(found['accuracy'])} of {found['queries']}" for kind, found in by_kind.items())
        console.print(f"right order, in percent: {shown}", markup=False)
    if "shortlist" in document:
        by_kind = {"all": document["shortlist"], **document["shortlist"]["kinds"]}
        shown = ", ".join(f"{kind} {_cell(found['holds_first'])}" for kind, found in by_kind.items())
        console.print(f"the shortlist holds the best clip, in percent: {shown}", markup=False)
    for failure in document["failed"]:
        console.print(f"failed: {failure['file']}: {failure['message']}", markup=False)


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.1f} [{low:.1f}, {high:.1f}]"
