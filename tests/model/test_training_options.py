"""What a run is told, what it starts from and what it says: wrong options, checkpoints, data, logs."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from model import cli
from model.config import ConfidenceConfig
from model.data.examples import Folder, gather
from model.data.items import ClipCache
from model.data.manifest import ManifestError
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import loop, parameters, state
from model.training.frozen_text import freeze_text_trunk
from model.training.loop import train
from model.training.options import TrainingError
from model.training.prepare import _shared
from model.training.report import Report
from tests.model.samples import fresh_tiny
from tests.model.small_data import SHAPE, photographs, quiet, tones
from tests.model.training_runs import checkpoint, options, rows, weights

pytestmark = pytest.mark.usefixtures("training_cache")


def test_processes_of_one_machine_share_its_threads_but_while_one_of_them_prepares(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # as torchrun sets it
    taken, own = [], torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    for threads in (4, 1):
        train(options(data, tmp_path / str(threads), steps=1, threads=threads))
    assert taken == [2, 4, own, 1, 1, own]


def test_trunks_learn_slower_and_vectors_do_not_decay(data: Path, tmp_path: Path) -> None:
    retriever = Retriever.from_preset("tiny")
    trained = parameters.select(
        retriever, RetrievalLoss(), options(data, tmp_path, train="text-last=1", lr=0.1, trunk_lr=0.01)
    )
    groups = trained.optimizer.param_groups
    of = {id(value): group for group in groups for value in group["params"]}
    assert of[id(retriever.get_parameter("text.layers.0.query.weight"))]["peak_lr"] == 0.01
    assert of[id(retriever.fusion.cls)]["peak_lr"] == 0.1 and of[id(retriever.fusion.cls)]["weight_decay"] == 0.0
    assert sum(len(group["params"]) for group in groups) == len(trained.parameters)
    assert trained.frozen_text_layers == len(retriever.text.layers) - 1 and trained.frozen_frame_stages > 0
    assert "loss.word_scale" in trained.parameters


@pytest.mark.parametrize("frozen", [0, 1])
def test_kept_states_of_frozen_layers_change_no_text(frozen: int) -> None:
    retriever = Retriever.from_preset("tiny").eval()
    texts = ["a dog runs", "two people talk about the weather"]
    plain = retriever.text(texts)
    freeze_text_trunk(retriever.text, frozen)
    for _ in range(2):  # made, then read back
        kept = retriever.text(texts).tokens[plain.mask]
        assert torch.allclose(kept, plain.tokens[plain.mask], atol=5e-3)
    moving = {name for name, value in retriever.text.layers.named_parameters() if value.requires_grad}
    assert all(int(name.split(".")[0]) >= frozen for name in moving)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"data": ()}, "no data"),
        ({"steps": 0}, "--steps is 0"),
        ({"lr": -1.0}, "--lr"),
        ({"lr": math.inf}, "--lr"),
        ({"clip_norm": 0.0}, "--clip-norm"),
        ({"trunk_lr": -1.0}, "--trunk-lr"),
        ({"weight_decay": math.nan}, "--weight-decay"),
        ({"seed": 1 << 63}, "--seed"),
        ({"only": "coarse.,nosuch."}, "nosuch."),
        ({"schedule": "flat"}, "flat"),
        ({"average": 1.0}, "--average is 1.0"),
        ({"batch_size": "many"}, "many"),
        ({"batch_size": "clip=3"}, "clip=3"),
        ({"batch_size": "film=0"}, "film=0"),
        ({"train": "text=2"}, "text=2"),
        ({"loss": "nothing=1"}, "nothing=1"),
        ({"loss": "ctc=nan"}, "ctc=nan"),
        ({"batch_size": "composed=3", "compose": 0.4}, "a grid of two pictures"),
    ],
)
def test_wrong_options_are_named_before_anything_is_done(
    data: Path, tmp_path: Path, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        train(options(data, tmp_path / "run", **wrong), quiet=True)
    assert says in caught.value.message and caught.value.hint
    assert not (tmp_path / "run" / state.STATES).exists()


def test_data_that_teach_nothing_of_what_may_learn_are_named(data: Path, tmp_path: Path) -> None:
    """Photographs say no words, and only the gate of the words that are said may move."""
    with pytest.raises(TrainingError, match="p/still teaches nothing"):
        train(options(data, tmp_path / "run", data=(str(data / "p"),), only="spelling.said"), quiet=True)


def test_a_run_that_was_stopped_before_its_first_state_starts_again_from_the_same_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    """The command with --resume is the same every time, so that a script may repeat it."""
    start = checkpoint(tmp_path)
    train(options(data, tmp_path / "whole", steps=1, init=start), quiet=True)
    train(options(data, tmp_path / "again", steps=1, init=start, resume=True), quiet=True)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert train(options(data, tmp_path / "again", steps=2, init=start, resume=True), quiet=True).step == 2


def test_what_a_checkpoint_says_of_itself_is_not_said_of_what_is_trained_from_it(data: Path, tmp_path: Path) -> None:
    parent = fresh_tiny()
    parent.config = replace(parent.config, confidence=ConfidenceConfig(high=3.0, bias=-1.0))
    parent.temper(2.0)
    parent.card = "R@1 99.9 %"
    parent.save_pretrained(tmp_path / "parent")
    train(options(data, tmp_path / "run", steps=1, init=tmp_path / "parent"), quiet=True)
    trained = Retriever.from_pretrained(tmp_path / "run")
    assert trained.config.confidence == ConfidenceConfig() and trained.config.gate_temperature == 1.0
    assert (
        "99.9" not in trained.card
        and f"Trained from {Retriever.from_pretrained(tmp_path / 'parent').name}" in trained.card
    )


def test_a_source_that_not_every_process_has_a_part_of_is_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = photographs(tmp_path / "p", 1)
    sources, _ = gather([Folder(folder)], "train", ClipCache(tmp_path / "c", SHAPE), lambda *_: None)
    count = len(sources[0].examples)
    with Report(None) as report:
        assert _shared(sources, count, report) == sources and _shared(sources, count + 1, report) == []
    assert f"{count} examples for {count + 1} processes" in " ".join(capsys.readouterr().err.split())


def test_init_of_another_preset_and_missing_data_are_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="of the preset tiny"):
        train(options(data, tmp_path / "run", preset="compact", init=checkpoint(tmp_path)), quiet=True)
    with pytest.raises(ManifestError, match="not a folder"):
        train(options(data, tmp_path / "run", data=(str(tmp_path / "nowhere"),)), quiet=True)


def test_times_are_asked_of_data_that_has_them(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no manifest has any"):
        train(options(data, tmp_path / "run", loss="timed=1"), quiet=True)


def test_report_averages_and_forgets_what_is_run_again(tmp_path: Path) -> None:
    with Report(tmp_path, quiet=True) as report:
        for step in (1, 2, 3):
            report.add("loss", step)
            report.add("loss", step + 1.0)
            report.log(step, 10.0 * step)
    assert [(row["step"], row["value"]) for row in rows(tmp_path)] == [("1", "1.5"), ("2", "2.5"), ("3", "3.5")]
    with Report(tmp_path, resumed_at=1, quiet=True) as report:
        report.log(2, 25.0, {"loss": 9.0})
    assert [(row["step"], row["value"]) for row in rows(tmp_path)] == [("1", "1.5"), ("2", "9")]
    assert list((tmp_path / "tensorboard").iterdir())


def test_of_several_processes_one_writes_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Report(None, quiet=True) as report:
        report.add("loss", 2.0)
        assert report.log(1, 10.0, {"lr": 0.5}) == {"loss": 2.0, "lr": 0.5}
    assert not list(tmp_path.iterdir())


def test_command_prints_one_document(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", str(data / "p"), "--out", str(tmp_path / "run"), "--preset", "tiny", "--steps", "1",
                 "--batch-size", "4", "--threads", "1", "--views", "1", "--json"]  # fmt: skip
    result = CliRunner().invoke(cli.commands, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["steps"] == 1 and document["finished"] is True
    assert document["checkpoint"] == str(tmp_path / "run")
    loaded, inner = (Retriever.from_pretrained(tmp_path / "run" / part) for part in ("", loop.MODEL))
    assert loaded.name.startswith("htav-tiny@") and loaded.fingerprint == inner.fingerprint


def test_a_checkpoint_is_not_trained_over(data: Path, tmp_path: Path) -> None:
    fresh_tiny().save_pretrained(tmp_path / "kept")
    for resume in (False, True):
        with pytest.raises(TrainingError, match="holds a checkpoint and no run to go on with"):
            train(options(data, tmp_path / "kept", init=tmp_path / "kept", resume=resume), quiet=True)


def test_a_run_that_was_copied_without_its_links_still_ends_in_its_own_checkpoint(data: Path, tmp_path: Path) -> None:
    train(options(data, tmp_path / "run", steps=2), quiet=True)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")  # follows links: the checkpoint's files are plain ones
    assert not (tmp_path / "copy" / "model.safetensors").is_symlink()
    train(options(data, tmp_path / "copy", steps=4, resume=True), quiet=True)
    outer, inner = (Retriever.from_pretrained(tmp_path / "copy" / name) for name in (".", "model"))
    assert outer.fingerprint == inner.fingerprint != Retriever.from_pretrained(tmp_path / "run").fingerprint


def test_an_audio_encoder_of_another_preset_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is of the preset compact, not tiny"):
        train(options(data, tmp_path / "run", audio_from=Path("model/weights/compact")), quiet=True)


def test_the_rate_follows_the_progress_that_the_processes_agreed_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = iter([0.25, 0.5, 2.0])
    monkeypatch.setattr("model.training.devices.Devices.agree", lambda *_: next(agreed))
    given: list[float] = []
    real = loop.schedule.set_rates
    monkeypatch.setattr(loop.schedule, "set_rates", lambda o, s, part: given.append(part) or real(o, s, part))
    train(options(data, tmp_path / "run"), quiet=True)
    assert given == [0.25, 0.5]


def test_two_folders_of_one_name_are_two_sources(tmp_path: Path) -> None:
    for parent in "ab":
        photographs(tmp_path / parent / "photos", 1, ("train",))
    folders = [Folder(tmp_path / parent / "photos") for parent in "ab"]
    sources, _ = gather([*folders, Folder(tones(tmp_path / "t", 2))], "train", ClipCache(tmp_path, SHAPE), quiet)
    assert [source.name for source in sources] == ["a/photos/still", "b/photos/still", "t/sound"]
