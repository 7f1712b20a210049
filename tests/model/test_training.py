"""Training learns, may be killed at any second, and resumes to exactly the same weights."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from model import cli
from model.config import ConfidenceConfig
from model.data.examples import Folder, gather
from model.data.items import ClipCache
from model.data.manifest import ManifestError
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import loop, parameters, state
from model.training.batch import TrainBatch
from model.training.frozen_text import freeze_text_trunk
from model.training.loop import train
from model.training.options import Options, TrainingError
from model.training.prepare import _shared
from model.training.report import Report
from tests.model.samples import fresh_tiny
from tests.model.small_data import SHAPE, films, photographs, quiet, tones


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    photographs(root / "p", 2)
    tones(root / "t", 4)
    films(root / "f", 4)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared by this file's tests alone, so that data is prepared once."""
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "training-cache"))


def options(root: Path, out: Path, **more: Any) -> Options:
    given = {
        "data": (str(root / "p"), f"{root / 't'}:2", str(root / "f")), "out": out, "preset": "tiny", "steps": 6,
        "batch_size": "4", "threads": 1, "views": 2, "validate_every": 100, "log_every": 2, "lr": 3e-3,
    }  # fmt: skip
    return Options(**(given | more))


def weights(run: Path) -> dict[str, torch.Tensor]:
    (newest, *_) = sorted((run / state.STATES).glob("step-*"), reverse=True)
    return load_file(newest / "model.safetensors")


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


# ---- killed and resumed ----------------------------------------------------------------------------------------------


def killed_run(data: Path, out: Path, steps: int, after: int, delay_s: float) -> None:
    """Start (or resume) a run in a process of its own and kill it once state `after` is there."""
    arguments = [
        sys.executable, "-m", "model.cli", "train", "--data", str(data / "p"), "--data", f"{data / 't'}:2", "--data",
        str(data / "f"), "--out", str(out), "--preset", "tiny", "--steps", str(steps), "--batch-size", "4", "--threads",
        "1", "--views", "2", "--validate-every", "10", "--lr", "3e-3", "--save-every", "2", "--average", "0.9",
        "--compose", "0.3", "--resume",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((out / state.STATES).glob(f"step-{after:09}")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.01)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.timeout(900)
def test_killed_and_resumed_gives_exactly_the_weights_of_an_uninterrupted_run(data: Path, tmp_path: Path) -> None:
    steps, dice = 20, random.Random(0)
    whole = train(
        options(data, tmp_path / "whole", steps=steps, save_every=2, validate_every=10, average=0.9, compose=0.3),
        quiet=True,
    )
    assert whole.finished and whole.step == steps
    out = tmp_path / "killed"
    for after in (4, 12):
        killed_run(data, out, steps, after, dice.uniform(0.0, 0.3))
    resumed = train(
        options(data, out, steps=steps, save_every=2, validate_every=10, average=0.9, compose=0.3, resume=True),
        quiet=True,
    )
    assert resumed.finished and resumed.step == steps
    assert equal(weights(tmp_path / "whole"), weights(out))
    for name in (loop.MODEL, loop.BEST):
        files = [(tmp_path / run / name / "model.safetensors").read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], name
    assert not list((out / state.STATES).glob(f"{state.UNFINISHED}*"))
    # Each logged step is there once, in order, though some of them were computed twice.
    logged = [int(row["step"]) for row in rows(out) if row["name"] == "train/lr"]
    assert logged == sorted(set(logged)) and logged[-1] == steps


def test_what_is_published_is_the_average_of_the_weights(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(options(data, out, steps=4, save_every=4, average=0.9, lr=0.01), quiet=True)
    saved = state.newest(out / state.STATES)
    assert saved is not None
    published = Retriever.from_pretrained(out).state_dict()
    name = "retriever.fusion.cls"
    mean, newest = (part.half().float() for part in (saved.average[name.removeprefix("retriever.")], saved.model[name]))
    assert torch.equal(published[name.removeprefix("retriever.")], mean) and not torch.equal(mean, newest)


def test_another_seed_gives_other_weights(data: Path, tmp_path: Path) -> None:
    """The control of the test above: the weights do depend on what a run drew."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(options(data, tmp_path / name, seed=seed, steps=2, init=checkpoint(tmp_path)), quiet=True)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "start"
    if not folder.exists():
        Retriever.from_preset("tiny", seed=5).save_pretrained(folder)
    return folder


def test_a_stop_signal_ends_the_run_with_a_state_and_a_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Run._one_step

    def stops_at_two(self: loop.Run, batches: Any, progress: float) -> None:
        step(self, batches, progress)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Run, "_one_step", stops_at_two)
    before = signal.getsignal(signal.SIGTERM)
    result = train(options(data, tmp_path / "run", steps=50), quiet=True)
    assert (result.step, result.finished) == (2, False)
    assert signal.getsignal(signal.SIGTERM) == before
    assert Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).config.preset == "tiny"
    monkeypatch.undo()
    assert train(options(data, tmp_path / "run", steps=3, resume=True), quiet=True).step == 3


def test_a_run_is_neither_overwritten_nor_resumed_on_other_data(data: Path, tmp_path: Path) -> None:
    train(options(data, tmp_path / "run", steps=2), quiet=True)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(options(data, tmp_path / "run", steps=2), quiet=True)
    with pytest.raises(TrainingError, match="not what the run was started with"):
        train(options(data, tmp_path / "run", steps=4, resume=True, data=(str(data / "p"),)), quiet=True)
    with pytest.raises(TrainingError, match="not what the run was started with"):
        train(options(data, tmp_path / "run", steps=4, resume=True, seed=8), quiet=True)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_training_learns_colours(data: Path, tmp_path: Path) -> None:
    """Eight colours, unseen pictures of each: chance is 12.5 %."""
    given = options(
        data,
        tmp_path / "run",
        data=(str(data / "p"),),
        steps=150,
        batch_size="16",
        lr=5e-3,
        validate_every=150,
        log_every=10,
    )
    train(given, quiet=True)
    found = {row["name"]: float(row["value"]) for row in rows(tmp_path / "run") if row["step"] == "150"}
    assert found["val/p/still/fused/r1"] >= 50.0 and found["val/p/still/coarse/r1"] >= 50.0
    losses = [float(row["value"]) for row in rows(tmp_path / "run") if row["name"] == "train/p/still/fused"]
    assert losses[-1] < 0.6 * losses[0]


def test_moving_trunks_pixels_accumulation_and_bf16(data: Path, tmp_path: Path) -> None:
    given = options(
        data, tmp_path / "run", steps=3, train="text-last=1,frames-last=1", accumulate=2, bf16=True, schedule="cosine",
        loss="ctc=1,dual_softmax=1,cross_clr=0.1", init=checkpoint(tmp_path),
    )  # fmt: skip
    result = train(given, quiet=True)
    assert result.finished
    before = Retriever.from_pretrained(checkpoint(tmp_path)).state_dict()
    after = Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("text.layers.") for name in changed)
    assert any(name.startswith("video.trunk.") for name in changed)
    assert not any("running_mean" in name for name in changed)  # batch statistics stay frozen
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())


def test_frozen_trunks_do_not_move(data: Path, tmp_path: Path) -> None:
    train(options(data, tmp_path / "run", steps=2, init=checkpoint(tmp_path)), quiet=True)
    before = Retriever.from_pretrained(checkpoint(tmp_path)).state_dict()
    after = Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(
        name.startswith(("text.layers.", "text.embeddings.", "video.trunk.")) for name in changed
    )


def test_a_batch_that_breaks_the_gradient_spoils_no_weight(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RetrievalLoss.forward

    def breaks(self: RetrievalLoss, retriever: Retriever, batch: TrainBatch) -> dict[str, torch.Tensor]:
        parts = whole(self, retriever, batch)
        return parts | {"total": parts["total"] * float("nan")}

    monkeypatch.setattr(RetrievalLoss, "forward", breaks)
    train(options(data, tmp_path / "run", steps=2, init=checkpoint(tmp_path)), quiet=True)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())
    assert any(row["name"] == "train/skipped" for row in rows(tmp_path / "run"))


def test_hours_end_a_run_and_stretch_the_schedule(data: Path, tmp_path: Path) -> None:
    result = train(options(data, tmp_path / "run", steps=None, hours=2 / 3600, log_every=1), quiet=True)
    assert result.finished and result.seconds >= 2.0 and result.step >= 1
    rates = [float(row["value"]) for row in rows(tmp_path / "run") if row["name"] == "train/lr"]
    assert len(rates) == result.step


# ---- options and logs ------------------------------------------------------------------------------------------------


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
        ({"schedule": "flat"}, "flat"),
        ({"average": 1.0}, "--average is 1.0"),
        ({"batch_size": "many"}, "many"),
        ({"batch_size": "clip=3"}, "clip=3"),
        ({"batch_size": "film=0"}, "film=0"),
        ({"train": "text=2"}, "text=2"),
        ({"loss": "nothing=1"}, "nothing=1"),
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
    parent.card = "R@1 99.9 %"
    parent.save_pretrained(tmp_path / "parent")
    train(options(data, tmp_path / "run", steps=1, init=tmp_path / "parent"), quiet=True)
    trained = Retriever.from_pretrained(tmp_path / "run")
    assert trained.config.confidence == ConfidenceConfig()
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
