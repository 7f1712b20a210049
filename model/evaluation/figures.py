"""The table of figures that a checkpoint is judged by: each set with its options, and the goals set before training.

`htav figures` runs all of it and writes `figures.json` and `figures.md`; every row is one `htav evaluate` command.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from model.data.items import items_digest
from model.data.manifest import MANIFEST, PART_KINDS, load_manifest
from model.durable import replace_text
from model.evaluation.evaluate import EvaluationError, Request, Shortlister, evaluate
from model.evaluation.testsets.build import SETS, USUAL, Given
from model.progress import Progress, silent
from model.retriever import Retriever

REPORT = "figures"
DIGEST = "data_sha256"
SCORING = "scoring"  # the version of what the weights do not say


@dataclass(frozen=True)
class Figure:
    """One number of an evaluation's document: what to call it, where it stands, and what it should reach."""

    name: str
    path: str
    goal: float | None = None


@dataclass(frozen=True)
class Row:
    """One evaluation of one set."""

    test_set: str
    figures: Sequence[Figure]
    options: Mapping[str, str] = field(default_factory=dict)


def _recall(name: str, path: str, **goals: float | None) -> list[Figure]:
    return [Figure(f"{name} R@{cut[1:]}".strip(), f"{path}.{cut}", goal) for cut, goal in goals.items()]


HUMAN = "text_sources.human.kinds"
AUDIO, VIDEO, GROUP = {"modalities": "audio"}, {"modalities": "video"}, {"gallery": "group"}
ROWS: tuple[Row, ...] = (
    Row("flickr8k-test", _recall("", "overall", r1=28, r10=70)),
    Row(
        "clips",
        _recall("seen", "kinds.visual", r1=36, r10=80)
        + _recall("seen, human texts", f"{HUMAN}.visual", r1=None, r10=None)
        + _recall("heard", "kinds.sound", r10=50)
        + _recall("heard, human texts", f"{HUMAN}.sound", r10=None),
    ),
    Row("clips", _recall("heard", "kinds.sound", r10=25), AUDIO),
    Row("clips", _recall("heard", "kinds.sound", r10=None), VIDEO),
    Row("clips", _recall("said", "kinds.speech", r1=30), GROUP),
    *(
        Row("clips", _recall("said", "kinds.speech", r1=None), {**GROUP, "control": control})
        for control in ("removed", "shuffled", "duration")
    ),
    Row("sounds-val", _recall("", "overall", r1=80)),
    Row("speech-val", _recall("", "overall", r1=90)),
    *(
        Row(name, _recall("", "overall", r1=goal) + _recall("unseen engine", "kinds.speech_festival", r1=None))
        for name, goal in (("talkers", 97.0), ("talkers-babble-5db", 85.0), ("talkers-babble-0db", 60.0))
    ),
    Row("talkers", _recall("", "overall", r1=None), {"control": "duration"}),
    Row("pairs", _recall("", "overall", r1=90), GROUP),
    Row("speaker-and-sentence", _recall("", "overall", r1=90)),
    Row("speaker-and-sentence", _recall("", "overall", r1=None), VIDEO),
    Row("speaker-and-sentence", _recall("", "overall", r1=None), AUDIO),
    Row(
        "ordered",
        [
            Figure("right order", "twins.accuracy", 85),
            Figure("right order, seen", "twins.kinds.order_seen.accuracy"),
            Figure("right order, heard", "twins.kinds.order_heard.accuracy"),
        ],
    ),
    Row("ordered-long", [Figure("right order", "twins.accuracy")]),
    Row(
        "shortlist",
        [
            Figure("best clip held", "shortlist.holds_first", 98),
            *(
                Figure(f"best clip held, {kind}", f"shortlist.kinds.{kind}.holds_first", 95)
                for kind in PART_KINDS.values()
            ),
        ],
        {"mode": "compare"},
    ),
)


@dataclass(frozen=True)
class Places:
    """Where the data and the made sets are."""

    data: Path
    sets: Path

    def has(self, test_set: str) -> bool:
        """Whether the set can be evaluated on: a large one may not have been made."""
        return test_set in USUAL or (self.of(test_set)[0] / MANIFEST).is_file()

    def of(self, test_set: str) -> tuple[Path, str]:
        """Folder and split of a set."""
        recipe = SETS[test_set]
        return (
            (self.data / recipe.folder, recipe.split) if isinstance(recipe, Given) else (self.sets / test_set, "test")
        )


def run_rows(
    rows: Sequence[Row],
    places: Places,
    retriever: Retriever,
    out: Path,
    shortlister: Shortlister | None = None,
    progress: Callable[[str], Progress] = lambda _row: silent,
) -> dict[str, Any]:
    """Run the rows and write the report after each.

    What it has of this checkpoint, of these data and of this way to score is not run again.
    The row of a large set that is no longer there stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{REPORT}.json"
    done = _done(path, retriever.fingerprint)
    report = {"model": retriever.name, "fingerprint": retriever.fingerprint, "runs": done}
    for row in rows:
        if not places.has(row.test_set):
            continue
        command, (folder, split) = command_of(row), places.of(row.test_set)
        data = items_digest(load_manifest(folder, split))  # the command itself does not say which data
        made_from = {DIGEST: data, SCORING: retriever.scoring}
        if not made_from.items() <= done.get(command, {}).items():
            options: dict[str, Any] = {"gallery": "split", **row.options}
            document = evaluate(Request(folder, split, **options), retriever, shortlister, progress(command))
            done[command] = {name: found for name, found in document.items() if name != "data"} | made_from
            replace_text(path, json.dumps(report, indent=1) + "\n")
    (out / f"{REPORT}.md").write_text(markdown(rows, report), encoding="utf-8")
    return report


def read_report(path: Path) -> dict[str, Any]:
    """Model, fingerprint and runs of a written report. Raises OSError, or ValueError where it is no such report."""
    report = json.loads(path.read_text(encoding="utf-8"))
    try:
        model, fingerprint, runs = (report[name] for name in ("model", "fingerprint", "runs"))
        return {"model": str(model), "fingerprint": str(fingerprint), "runs": {name: dict(runs[name]) for name in runs}}
    except (KeyError, TypeError) as err:
        raise ValueError(f"{path} is no report of figures") from err


def _done(path: Path, fingerprint: str) -> dict[str, Any]:
    """What an earlier run measured of this checkpoint. Raises EvaluationError where its report cannot be read."""
    try:
        kept = read_report(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise EvaluationError(
            f"{path} cannot be read: {err}.", "Move it away: the figures are then made anew."
        ) from err
    return kept["runs"] if kept["fingerprint"] == fingerprint else {}


def command_of(row: Row) -> str:
    """The row as a command; DATA and SETS stand for the two folders."""
    folder, split = Places(Path("DATA"), Path("SETS")).of(row.test_set)
    options = [part for name, value in row.options.items() for part in (f"--{name}", value)]
    return shlex.join(["htav", "evaluate", "--data", str(folder), "--split", split, *options])


def markdown(rows: Sequence[Row], report: Mapping[str, Any]) -> str:
    """The table that MODEL_CARD.md shows."""
    lines = [f"{report['model']}", "", "| command | figure | value | 95 % interval | goal |", "|---|---|---|---|---|"]
    for row in rows:
        command = command_of(row)
        for figure in row.figures:
            found = at(report["runs"].get(command, {}), figure.path)
            if found is None:
                continue
            low, high = found["ci95"]
            goal = (
                "" if figure.goal is None else f"{figure.goal:g}{'' if found['value'] >= figure.goal else ' (missed)'}"
            )
            value = f"{found['value']:.1f} | {low:.1f} to {high:.1f}"
            lines.append(f"| `{command}` | {figure.name} | {value} | {goal} |")
    return "\n".join(lines) + "\n"


def at(document: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path of an evaluation's document; None where a set has no such kind."""
    found: Any = reduce(lambda part, name: part.get(name, {}), path.split("."), document)
    return found or None
