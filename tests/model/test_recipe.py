"""The recipe of the shipped checkpoint, on tiny data: whole, started again, and with sources left out."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model.data.manifest import load_manifest
from model.retriever import Retriever
from model.training import recipe as module
from model.training.prepare import loss_weights
from model.training.recipe import LIBRARY, NAMED, SOURCES, STAGES, Recipe, RecipeError, Source, Stage
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
    assert "queries that are not about speech are too few" in said and "left out: distil" in said
    assert "4 names of sounds and" in said and "left out: gate" in said
    assert Retriever.from_pretrained(out).config.preset == "tiny"
    assert "calibrate" in {path.name for path in (data.parent / "work" / "done").iterdir()}
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert recipe(data).run() == out
    assert (out / "model.safetensors").stat().st_mtime_ns == before


ENDLESS = f"""
import sys
from pathlib import Path
from model.training.recipe import Recipe, Source, Stage
stage = Stage("see", 100_000, "{TINY} --save-every 1", {{"flickr8k": 1.0}})
Recipe(Path(sys.argv[1]), Path(sys.argv[2]), processes=1, sources=(Source("flickr8k"),), stages=(stage,)).run()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stopped", ["by Ctrl-C", "by a signal to the training"])
def test_a_stage_that_is_stopped_saves_first_and_is_not_done(data: Path, tmp_path: Path, stopped: str) -> None:
    work = tmp_path / "work"
    started = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(data), str(work)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    states = work / "see" / "states"
    deadline = time.monotonic() + 200
    while not list(states.glob("step-*")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if stopped == "by Ctrl-C":  # a terminal sends it to the whole group
        os.killpg(started.pid, signal.SIGINT)
    else:
        (training,) = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        os.kill(int(training), signal.SIGTERM)
    _, said = started.communicate(timeout=60)
    assert started.returncode != 0 and list(states.glob("step-*")) and not list(states.glob(".unfinished-*")), said
    assert not (work / "done" / "see").exists()
    assert stopped == "by Ctrl-C" or "the step 'see' was stopped" in said


@pytest.mark.timeout(300)
def test_a_source_that_was_stopped_half_way_is_made_anew(data: Path) -> None:
    made_by = "synth {out} --kind utterances --count 3 --seed 1"
    said = Recipe(data, data.parent / "work", sources=(Source("said", made_by),), stages=())
    folder = data.parent / "work" / "sources" / "said"
    for _ in range(2):  # the second time as after a stop: files of the first, and no mark
        with pytest.raises(RecipeError, match="no stage"):
            said.run()
        assert len(load_manifest(folder)) == 3
        assert (data.parent / "work" / "done" / "source-said").exists()
        (data.parent / "work" / "done" / "source-said").unlink()


def test_a_gate_that_comes_late_makes_shortlist_and_confidence_anew(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are made of scores, which the gate changes."""
    ran: list[str] = []
    fails = {"gate"}

    def runs(command: Sequence[str], _environment: object) -> int:
        name = next(part for part in command if part in {"train", "gate", "distil", "calibrate"})
        ran.append(name)
        return name in fails

    monkeypatch.setattr(module, "_exit_status", runs)
    monkeypatch.setattr(module, "state_folder", lambda *_: data)
    late = replace(recipe(data), sources=(Source("flickr8k"), Source("sounds")))
    late.run()
    fails.clear()
    late.run()
    late.run()
    assert ran == ["train"] * 3 + ["gate", "distil", "calibrate"] + ["gate", "distil", "calibrate"]


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
    assert "only 4 queries have an answer" in said and "not calibrated" in said


def test_every_stage_takes_known_sources_and_readable_options() -> None:
    names = {source.name for source in SOURCES}
    assert {*NAMED, *LIBRARY} <= names
    for stage in STAGES:
        assert set(stage.weights) <= names
        assert {*stage.starts_from, stage.hears_as} - {""} <= {other.name for other in STAGES}
        loss = re.search(r"--loss (\S+)", stage.options)
        assert loss is None or loss_weights(loss[1])
    assert {source.needs for source in SOURCES} - {""} <= names


def test_what_needs_photographs_or_sounds_is_left_out_of_a_stage_without_them(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(Recipe, "_once", lambda self, name, command, **_: told.append(command) is None)
    stage = Stage("any", 2, "--compose 0.5 --names 0.4 --views 2", {"flickr8k": 1.0, "portraits": 0.3, "sounds": 1.0})
    for names in (("flickr8k", "sounds"), ("flickr8k", "portraits"), ("portraits", "sounds"), ("sounds",)):
        assert Recipe(data, data)._train(stage, {name: data / name for name in names}, [])
    assert ["--names" in command for command in told] == [True, True, False, False]
    assert ["--compose" in command for command in told] == [True, False, True, False]
    assert all(command[command.index("--views") + 1] == "2" for command in told)


def test_a_folder_with_a_blank_in_its_name_loses_no_source(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data.rename(data.with_name("my films"))
    asked: list[list[str]] = []
    monkeypatch.setattr(Recipe, "_once", lambda _self, _name, command, **_: asked.append(command) or False)
    made = Source("open", "synth {out} --sentences {data}/flickr8k")
    work = folder / "a run"
    list(Recipe(folder, work, sources=(made,), stages=())._sources())
    assert asked == [["synth", f"{work}/sources/open", "--sentences", f"{folder}/flickr8k", "--overwrite"]]
