"""Two runs of a recipe agree within 3 points, or 2 standard errors where queries are few; nothing else is compared."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.evaluation.agreement import IncomparableRuns, Pair, main, markdown, pairs
from model.evaluation.figures import Figure, Row, command_of

ROWS = (
    Row("talkers", [Figure("R@1", "overall.r1", 97), Figure("unseen engine R@1", "kinds.speech_festival.r1")]),
    Row("ordered", [Figure("right order", "twins.accuracy", 85)]),
)


def share(value: float, queries: int, name: str = "r1") -> dict[str, Any]:
    return {"queries": queries, name: {"value": value, "ci95": [value, value]}}


def report(fingerprint: str, talkers: float, engine: float, order: float, data: str = "d") -> dict[str, Any]:
    documents = (
        {"overall": share(talkers, 258), "kinds": {"speech_festival": share(engine, 24)}, "data_sha256": data},
        {"twins": share(order, 240, "accuracy"), "data_sha256": data},
    )
    runs = {command_of(row): document for row, document in zip(ROWS, documents, strict=True)}
    return {"model": f"htav@{fingerprint}", "fingerprint": fingerprint, "runs": runs}


@pytest.mark.parametrize(
    ("queries", "values", "agree"),
    [
        (258, (90.0, 87.0), True),
        (258, (90.0, 86.9), False),  # many queries: points, however wide luck's part
        (24, (40.0, 59.0), True),  # 2 standard errors of 24 queries at one half are 20.4 points
        (24, (39.0, 61.0), False),
        (240, (100.0, 97.0), True),  # 3 points are granted to the few as well
        (240, (100.0, 96.5), False),
    ],
)
def test_how_far_apart_is_too_far(queries: int, values: tuple[float, float], agree: bool) -> None:
    assert Pair("htav evaluate", "R@1", queries, values).agrees is agree


def test_every_figure_that_both_have_is_compared() -> None:
    found = list(pairs(report("a", 97.0, 60.0, 95.0), report("b", 92.0, 65.0, 94.0), ROWS))
    assert [(pair.name, pair.queries, pair.apart) for pair in found] == [
        ("R@1", 258, 5.0), ("unseen engine R@1", 24, 5.0), ("right order", 240, 1.0)
    ]  # fmt: skip
    table = markdown(found)
    assert table.count("| agree |") == 2 and table.count("**differ**") == 1 and "2 of 3 figures agree." in table
    lacking = report("b", 92.0, 65.0, 94.0)
    lacking["runs"].popitem()
    assert len(list(pairs(report("a", 97.0, 60.0, 95.0), lacking, ROWS))) == 2


@pytest.mark.parametrize("other", [report("a", 97.0, 60.0, 95.0), report("b", 97.0, 60.0, 95.0, data="other")])
def test_one_checkpoint_and_other_data_are_no_comparison(other: dict[str, Any]) -> None:
    with pytest.raises(IncomparableRuns):
        list(pairs(report("a", 97.0, 60.0, 95.0), other, ROWS))


def test_the_command_reads_two_folders(tmp_path: Path) -> None:
    for name, talkers in (("a", 97.0), ("b", 92.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "figures.json").write_text(json.dumps(report(name, talkers, 60.0, 95.0)))
    command = [sys.executable, "-m", "model.evaluation.agreement", tmp_path / "a", tmp_path / "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| 258 | 97.0 | 92.0 | 5.0 | 3.0 | **differ** |" in done.stdout
    (tmp_path / "empty").mkdir()
    for text in ("{}", '{"model": "m", "fingerprint": "f", "runs": []}', '{"model": "m"', "[]"):
        (tmp_path / "empty" / "figures.json").write_text(text)
        for other in ("missing", "empty"):
            with pytest.raises(IncomparableRuns, match="no table of figures|no figure in common"):
                main(tmp_path / "a", tmp_path / other)
