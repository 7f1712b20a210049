"""The learning curve: its parts are nested and comparable, a planted signal is learnt, nothing is made twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data.manifest import load_manifest
from model.retriever import Retriever
from model.training.curve import run as curve
from model.training.curve.held_out import GOALS
from model.training.curve.kept import Kept
from model.training.curve.lessons import PARTS, WORDINGS, Names, Photographs
from model.training.curve.report import fitted, write_report
from model.training.curve.run import Request, Run
from model.training.named import Classifier
from model.training.options import TrainingError
from tests.model.samples import fresh_tiny
from tests.model.small_data import COLOURS, films, photographs, quiet, write_lines

CLASSES = 12


def classifier(retriever: Retriever) -> Classifier:
    """The small preset has no publisher: one that is drawn."""
    channels = retriever.config.video.channels[-1]
    return torch.randn(CLASSES, channels, generator=torch.Generator().manual_seed(0)), torch.zeros(CLASSES)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Pictures of eight colours with the colour in their captions, and films of four."""
    photographs(tmp_path / "flickr8k", 4, ("train", "val", "test"))
    films(tmp_path / "clips", 4, "val")
    return Request(tmp_path, tmp_path / "out", seeds=2, steps=40, every=10, batch=32, width=64)


def drawn(request: Request) -> list[dict[str, Any]]:
    retriever = fresh_tiny().requires_grad_(False)
    return curve.learning_curve(request, retriever, classifier(retriever), quiet)


def material(request: Request) -> tuple[Photographs, Names]:
    retriever = fresh_tiny().requires_grad_(False)
    kept = Kept(retriever, request.out, quiet)
    shown = Photographs(kept, request.data / "flickr8k")
    return shown, Names(kept, shown, classifier(retriever))


def test_a_curve_learns_what_is_planted_and_ends_in_a_table_of_all_runs(request_: Request) -> None:
    rows = drawn(request_)
    assert [Run(row["part"], row["names"], row["seed"]) for row in rows] == curve.runs(2)
    assert {row["part"]: row["photographs"] for row in rows} == {part: round(32 * part) for part in PARTS}
    assert {row["names"]: row["classes"] for row in rows} == {0.0: 0} | {part: round(CLASSES * part) for part in PARTS}
    for row in rows:
        assert row["recalls"].keys() == GOALS.keys() and row["step"] in (10, 20, 30, 40)
    whole = [row["recalls"] for row in rows if row["part"] == 1.0 and not row["names"]]
    assert all(found["Flickr8k val"]["r1"] >= 75.0 and found["Flickr8k test"]["r1"] >= 75.0 for found in whole)
    eighth = [row["recalls"]["Flickr8k test"]["r1"] for row in rows if row["part"] == PARTS[0] and not row["names"]]
    assert max(eighth) < 75.0  # four photographs show at most four of the eight colours
    taught = [[row["recalls"] for row in rows if row["part"] == 1.0 and row["names"] == names] for names in PARTS]
    assert all(len(found) == 2 for found in taught)
    assert taught[-1] != whole and any(found != taught[-1] for found in taught[:-1])  # names count, and how many
    table = write_report(rows, request_.out)
    assert table == (request_.out / "curve.md").read_text()
    for part in PARTS:
        assert f"| {round(32 * part)} | 0 |" in table and f"| {round(32 * part)} | {CLASSES} |" in table
        assert f"| 32 | {round(CLASSES * part)} |" in table
    document = json.loads((request_.out / "curve.json").read_text())
    assert document["runs"] == rows and document["lines"] == fitted(rows)
    assert all((request_.out / f"curve-{axis}.png").stat().st_size > 1000 for axis in ("photographs", "names"))


def test_what_is_there_is_not_made_again_and_the_same_seed_gives_the_same(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(request_, seeds=1, steps=3)
    rows = drawn(few)
    done = json.loads((few.out / "curve.json").read_text())
    (few.out / "curve.json").write_text(json.dumps(done | {"runs": done["runs"][:-1]}))
    trained: list[Run] = []
    train = curve._train

    def counted(run: Run, *rest: Any) -> Any:
        trained.append(run)
        return train(run, *rest)

    monkeypatch.setattr(curve, "_train", counted)

    def seen(*_: object) -> None:
        raise AssertionError("the trunk sees a picture again")

    monkeypatch.setattr("model.video.VideoEncoder.trunk_features", seen)
    assert drawn(few) == rows and len(trained) == 1
    assert len(drawn(replace(few, steps=2))) == len(rows) and len(trained) == 1 + len(rows)  # another setting


def test_parts_of_a_seed_are_nested_and_those_of_another_differ(request_: Request) -> None:
    shown, _ = material(request_)
    parts = [shown.part(part, 0) for part in PARTS]
    assert all(set(smaller) < set(larger) for smaller, larger in zip(parts, parts[1:], strict=False))
    assert sorted(parts[-1]) == list(range(32)) and set(shown.part(0.5, 1)) != set(parts[2])


def test_batches_ask_for_their_own_photographs(request_: Request) -> None:
    shown, names = material(request_)
    rows = shown.part(0.5, 0)
    pictures, texts, positives = shown.batch(rows, 100, np.random.default_rng(0))
    assert len(pictures) == len(texts) == len(rows) and bool(positives.diagonal().all())
    items = load_manifest(request_.data / "flickr8k", "train")
    for place, picture in enumerate(pictures):
        row = next(row for row in rows if torch.equal(shown.pictures[row], picture))
        own = shown.texts[list(shown.captions[row])]
        assert len(own) == len(items[row].texts) and any(torch.equal(texts[place], text) for text in own)
        for other in range(len(texts)):
            assert bool(positives[place, other]) == torch.equal(texts[place], texts[other])
    few = names.part(0.5, 0)
    assert set(names.part(0.25, 0)) < set(few) != set(names.part(0.5, 1)) and names.part(0.0, 0) == []
    assert set(names.part(1.0, 0)) == set(range(CLASSES))
    moved, texts, positives = names.batch(rows, few, names.slopes(rows), 100, np.random.default_rng(0))
    assert len(moved) == len(texts) == len(few) and bool(positives.diagonal().all())
    wordings = [names.texts[number * WORDINGS : (number + 1) * WORDINGS] for number in few]
    assert all(any(torch.equal(text, own) for taught in wordings for own in taught) for text in texts)
    assert all(not torch.equal(one, shown.pictures[row]) for one in moved for row in rows)


def test_a_line_says_what_a_doubling_gives_and_what_the_goal_takes() -> None:
    def row(part: float, r1: float, names: float = 0.0) -> dict[str, Any]:
        recalls = {measure: {"r1": r1, "r10": 50.0} for measure in GOALS}
        counts = {"photographs": round(6000 * part), "classes": round(1000 * names)}
        return {"part": part, "names": names, "seed": 0, "recalls": recalls} | counts

    lines = fitted([row(0.125, 0.0), row(0.25, 20.0), row(0.5, 22.0), row(1.0, 24.0)])  # the eighth is left out
    line = next(line for line in lines if (line["measure"], line["cut"]) == ("Flickr8k test", "r1"))
    assert (line["slope"], line["whole"], line["needed"]) == (2.0, 24.0, 24_000)
    by_names = fitted([row(1.0, r1, names) for names, r1 in ((0.25, 22.0), (0.5, 24.0), (1.0, 26.0))])
    assert {line["axis"] for line in by_names} == {"names"}  # a single part of the photographs gives no line
    line = next(line for line in by_names if (line["measure"], line["cut"]) == ("Flickr8k test", "r1"))
    assert (line["slope"], line["whole"], line["needed"]) == (2.0, 26.0, 2000)
    level = fitted([row(0.25, 20.0), row(0.5, 20.0), row(1.0, 18.0)])
    assert next(line for line in level if line["cut"] == "r1")["needed"] is None


def test_data_that_give_no_curve_are_said(request_: Request, tmp_path: Path) -> None:
    write_lines(request_.data / "clips", [{"file": "val-red.mp4", "texts": ["a"], "kind": "sound", "split": "val"}])
    with pytest.raises(TrainingError, match="visual"):
        drawn(request_)
    few = photographs(tmp_path / "few", 1, ("train",))
    lines = [json.loads(line) for line in (few / "manifest.jsonl").read_text().splitlines()]
    write_lines(few, lines[: len(COLOURS) - 1])
    with pytest.raises(TrainingError, match="7 train photographs"):
        Photographs(Kept(fresh_tiny(), tmp_path / "kept", quiet), few)
