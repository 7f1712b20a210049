"""The recipe of the shipped checkpoint, on tiny data: whole, started again, and with sources left out."""

from pathlib import Path

import pytest

from model.retriever import Retriever
from model.training.recipe import SOURCES, STAGES, Recipe, RecipeError, Source, Stage
from tests.model.small_data import photographs, tones

TINY = "--preset tiny --batch-size 4 --threads 1 --views 1 --validate-every 100"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    photographs(tmp_path / "data" / "flickr8k", 2)
    tones(tmp_path / "data" / "sounds", 4)
    return tmp_path / "data"


def recipe(data: Path, **more: object) -> Recipe:
    sources = (
        Source("flickr8k"),
        Source("sounds"),
        Source("speech"),
        Source("broken", "gather {all} --source nowhere"),
    )
    stages = (
        Stage("see", 2, TINY, {"flickr8k": 1.0, "broken": 1.0}),
        Stage("join", 2, f"{TINY} --compose 0.5", {"flickr8k": 1.0, "sounds": 0.5}, ("see",)),
        Stage(
            "weigh", 2, f"{TINY} --split val --only late. --loss late=1", {"flickr8k": 1.0}, ("look", "join"), "spell"
        ),
    )
    return Recipe(data, data.parent / "work", processes=1, sources=sources, stages=stages, **more)  # type: ignore[arg-type]


@pytest.mark.timeout(300)
def test_the_recipe_ends_in_a_calibrated_checkpoint_and_does_nothing_twice(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = recipe(data).run()
    said = " ".join(capfd.readouterr().err.split())
    assert "left out: broken" in said and "speech is not there" in said
    assert Retriever.from_pretrained(out).config.preset == "tiny"
    assert "calibrate" in {path.name for path in (data.parent / "work" / "done").iterdir()}
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert recipe(data).run() == out
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_what_cannot_be_done_is_said(data: Path) -> None:
    with pytest.raises(RecipeError, match="no source 'flickr'"):
        recipe(data, without=("flickr",)).run()
    with pytest.raises(RecipeError, match="no stage has any of its data"):
        recipe(data, without=("flickr8k", "sounds")).run()


@pytest.mark.timeout(300)
def test_without_photographs_the_stages_that_need_them_are_left_out(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = recipe(data, without=("flickr8k",), seed=3, part=1.5).run()
    said = " ".join(capfd.readouterr().err.split())
    assert out == data.parent / "work" / "join" / "model" and Retriever.from_pretrained(out).config.preset == "tiny"
    assert "--steps 3 --seed 3" in said
    assert "left out: the stage see" in said and "left out: the stage weigh" in said


def test_every_stage_takes_known_sources_and_readable_options() -> None:
    names = {source.name for source in SOURCES}
    for stage in STAGES:
        assert set(stage.weights) <= names
        assert {*stage.starts_from, stage.hears_as} - {""} <= {other.name for other in STAGES}
    assert {source.needs for source in SOURCES} - {""} <= names
