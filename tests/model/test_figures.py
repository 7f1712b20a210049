"""The table of figures: every row is a command that works, a stopped run goes on, the report says what was missed."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from model import cli
from model.evaluation import figures
from model.evaluation.evaluate import EvaluationError
from model.evaluation.figures import ROWS, Figure, Places, Row, command_of, markdown, run_rows
from model.evaluation.testsets import build
from model.retriever import Retriever
from tests.model.small_data import films

DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def retriever(tiny_checkpoint: Path) -> Retriever:
    return Retriever.from_pretrained(tiny_checkpoint)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    films(tmp_path / "sets" / "talkers", 4, "test")
    return Places(tmp_path / "data", tmp_path / "sets")


SMALL = (
    Row("talkers", [Figure("R@1", "overall.r1", 101), Figure("R@10", "overall.r10", 100)]),
    Row("talkers", [Figure("seen", "kinds.visual.r1"), Figure("said", "kinds.speech.r1")], {"modalities": "video"}),
)


@pytest.mark.parametrize("row", ROWS, ids=command_of)
def test_every_row_is_a_command_that_the_docs_show(row: Row) -> None:
    command = command_of(row)
    assert f"`{command}`" in DOCS.read_text()
    program, *arguments = shlex.split(command)
    assert program == "htav"
    with get_command(cli.commands).make_context("htav", list(arguments)) as context:
        name, subcommand, rest = context.command.resolve_command(context, arguments)  # type: ignore[attr-defined]
        assert name == "evaluate" and subcommand.make_context(name, rest).params["split"] in {"val", "test"}


def test_every_goal_stands_in_the_docs() -> None:
    text = DOCS.read_text()
    for row in ROWS:
        (line,) = [line for line in text.splitlines() if f"`{command_of(row)}`" in line]
        for figure in row.figures:
            assert figure.goal is None or f"{figure.name} ≥ {figure.goal:g} %" in line
    assert all(f"`{name}`" in text for name in build.SETS)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is evaluated from now on."""
    requests: list[Any] = []
    evaluate = figures.evaluate

    def counted(request: Any, *more: Any) -> dict[str, Any]:
        requests.append(request)
        return evaluate(request, *more)

    monkeypatch.setattr(figures, "evaluate", counted)
    return requests


def test_a_run_writes_its_report_and_goes_on_where_it_was(
    retriever: Retriever, places: Places, tmp_path: Path, asked: list[Any]
) -> None:
    first = run_rows(SMALL[:1], places, retriever, tmp_path / "out")
    both = run_rows(SMALL, places, retriever, tmp_path / "out")
    assert len(asked) == 2 and first["runs"].items() <= both["runs"].items()
    assert json.loads((tmp_path / "out" / "figures.json").read_text()) == both
    assert (tmp_path / "out" / "figures.md").read_text() == markdown(SMALL, both)
    other = Retriever.from_preset("tiny", seed=99)
    assert run_rows(SMALL[:1], places, other, tmp_path / "out")["fingerprint"] == other.fingerprint
    assert len(asked) == 3
    other.temper(2.0)
    run_rows(SMALL[:1], places, other, tmp_path / "out")  # the same tokens, scored otherwise
    assert len(asked) == 4


def test_rows_of_other_data_are_measured_again(
    retriever: Retriever, places: Places, tmp_path: Path, asked: list[Any]
) -> None:
    out = tmp_path / "out"
    first = run_rows(SMALL[:1], places, retriever, out)
    moved = Places(places.data, tmp_path / "moved")
    shutil.copytree(places.sets, moved.sets)
    assert run_rows(SMALL[:1], moved, retriever, out) == first and len(asked) == 1  # the same data elsewhere
    films(tmp_path / "other" / "talkers", 3, "test")
    other = run_rows(SMALL[:1], Places(places.data, tmp_path / "other"), retriever, out)
    assert other["runs"][command_of(SMALL[0])]["pool"]["items"] == 3 and len(asked) == 2


@pytest.mark.parametrize("origin", [figures.DIGEST, figures.SCORING])
def test_rows_that_do_not_say_what_they_were_made_from_are_measured_again(
    retriever: Retriever, places: Places, tmp_path: Path, asked: list[Any], origin: str
) -> None:
    """As those that earlier versions wrote."""
    path = tmp_path / "out" / "figures.json"
    first = run_rows(SMALL[:1], places, retriever, path.parent)
    kept = json.loads(path.read_text())
    for found in kept["runs"].values():
        del found[origin]
    path.write_text(json.dumps(kept))
    assert run_rows(SMALL[:1], places, retriever, path.parent) == first and len(asked) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"model": "m", "fingerprint": "f", "runs": {"a": 1}}'])
def test_a_damaged_report_is_said_and_kept(retriever: Retriever, places: Places, tmp_path: Path, text: str) -> None:
    (tmp_path / "figures.json").write_text(text)
    with pytest.raises(EvaluationError, match="cannot be read") as caught:
        run_rows(SMALL[:1], places, retriever, tmp_path)
    assert caught.value.hint and (tmp_path / "figures.json").read_text() == text


def test_report_says_which_goals_were_missed(retriever: Retriever, places: Places, tmp_path: Path) -> None:
    report = run_rows(SMALL, places, retriever, tmp_path / "out")
    lines = markdown(SMALL, report).splitlines()
    (first, second, third) = [line for line in lines if "htav evaluate" in line]  # films say nothing: no row for speech
    assert "| R@1 |" in first and first.endswith("| 101 (missed) |")
    assert "| R@10 | 100.0 | 100.0 to 100.0 | 100 |" in second
    assert "--modalities video" in third and third.endswith("|  |")


def test_command_evaluates_the_rows(
    tiny_checkpoint: Path, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "ROWS", SMALL)
    arguments = ["figures", tmp_path / "out", "--data", places.data, "--sets", places.sets, "--model", tiny_checkpoint]
    result = CliRunner().invoke(cli.commands, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert result.stdout == (tmp_path / "out" / "figures.md").read_text()
    document = CliRunner().invoke(cli.commands, [*(str(argument) for argument in arguments), "--json"])
    assert json.loads(document.stdout)["runs"].keys() == {command_of(row) for row in SMALL}
