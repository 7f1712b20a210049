"""The parts of a run that can be looked at without one: schedule, limits, options, devices."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.losses import RetrievalLoss
from model.training import parameters, schedule
from model.training.batch import Sense, TrainBatch
from model.training.devices import moved
from model.training.options import Options, TrainingError
from model.training.prepare import loss_weights
from tests.model.samples import fresh_tiny


def test_schedule_goes_up_then_down() -> None:
    for name, top in schedule.WARM_UP.items():
        values = [schedule.factor(name, progress / 100) for progress in range(101)]
        peak = values.index(max(values))
        assert peak / 100 == pytest.approx(top, abs=0.011) and max(values) == pytest.approx(1.0, abs=0.01)
        assert values[0] == pytest.approx(schedule.START) and values[-1] == pytest.approx(schedule.END)
        assert values[: peak + 1] == sorted(values[: peak + 1]) and values[peak:] == sorted(values[peak:], reverse=True)


def test_the_first_limit_reached_ends_a_run() -> None:
    assert schedule.Length(10, None).progress(5, 1e9) == 0.5
    assert schedule.Length(None, 100.0).progress(10**9, 25.0) == 0.25
    assert schedule.Length(10, 100.0).progress(5, 80.0) == 0.8


@pytest.mark.parametrize(
    ("spec", "moving"),
    [
        ("text-last=0", set()),
        (
            "text-last=2,frames-last=1",
            {"text.layers.4.", "text.layers.5.", "video.trunk.net.blocks.6.", "video.trunk.net.conv_head."},
        ),
        ("text-last=all", {"text.embeddings.", "text.layers.0."}),
    ],
)  # fmt: skip
def test_last_stages(spec: str, moving: set[str]) -> None:
    names = [
        "text.embeddings.word.weight",
        *(f"text.layers.{n}.query.weight" for n in range(6)),
        "video.trunk.net.conv_stem.weight",
        *(f"video.trunk.net.blocks.{n}.0.conv.weight" for n in range(7)),
        "video.trunk.net.conv_head.weight",
    ]
    chosen = parameters.parse(spec)
    found = set()
    for trunk, prefixes in parameters.TRUNKS.items():
        found |= parameters._last_stages([name for name in names if name.startswith(prefixes)], chosen[trunk])
    assert all(any(name.startswith(prefix) for name in found) for prefix in moving)
    if not moving:
        assert not found
    if spec == "text-last=2,frames-last=1":
        assert all(name.startswith(tuple(moving)) for name in found)


def test_only_what_is_named_learns() -> None:
    options = Options(("d",), Path("o"), train="all", only="coarse.widened, video.summary")
    names = parameters.select(fresh_tiny(), RetrievalLoss(), options).parameters
    assert {name.rsplit(".", 2)[0] for name in names} >= {"coarse.widened", "video.summary"}
    assert all(name.startswith(("coarse.widened.", "video.summary.")) for name in names)
    with pytest.raises(TrainingError, match="no weight's name starts so"):
        parameters.select(fresh_tiny(), RetrievalLoss(), replace(options, only="nowhere"))
    with pytest.raises(TrainingError, match="leaves nothing to learn"):
        parameters.select(fresh_tiny(), RetrievalLoss(), replace(options, only="coarse.listing."))


def test_temperatures_thresholds_and_gates_learn_faster_than_matrices() -> None:
    """Adam moves a number by about the rate: at the matrices' a scale of 10 would stay where it began."""
    retriever, loss = fresh_tiny(), RetrievalLoss()
    trained = parameters.select(retriever, loss, Options(("d",), Path("o"), lr=1e-3, trunk_lr=1e-5, train="all"))
    rate = {id(value): group["lr"] for group in trained.optimizer.param_groups for value in group["params"]}
    rates = {name: rate[id(value)] for name, value in trained.parameters.items()}
    assert len(rates) == len(rate) == len(trained.parameters)
    for name in (
        "fusion.logit_scale",
        "fusion.video_text.log_temperature",
        "text.graph.layers.0.gate",
        "spelling.said.weight",
        "loss.word_scale",
    ):
        assert rates[name] == 1e-2, name
    assert rates["fusion.audio_text.order.weight"] == rates["text.characters.gate"] == 1e-3
    assert rates["text.layers.0.query.bias"] == rates["video.trunk.net.conv_stem.weight"] == 1e-5


def test_batch_sizes_and_loss_weights_are_read() -> None:
    plain = Options(data=("d",), out=Path("o"), steps=1)
    assert Options(data=("d",), out=Path("o")).most_epochs() == 20 and plain.most_epochs() is None
    forms = ("still", "sound", "film", "composed", "named")
    assert replace(plain, batch_size="16").batch_sizes() == dict.fromkeys(forms, 16)
    some = replace(plain, batch_size="still=9, film=3").batch_sizes()
    assert some == {"still": 9, "sound": 48, "film": 3, "composed": 32, "named": 128}
    assert loss_weights("ctc=0.25,dual_softmax=1").ctc == 0.25 and loss_weights("dual_softmax=1").dual_softmax is True


def test_moving_a_batch_keeps_every_field() -> None:
    batch = TrainBatch(
        ["x"], torch.ones(1, 1), video_features=[torch.ones(1)], waveforms=[torch.ones(2)], transcripts=["x"],
        seen=Sense(torch.ones(1, 1), torch.ones(1)),
    )  # fmt: skip
    there = moved(batch, torch.device("meta"))
    assert there.positives.is_meta and there.waveforms is not None and there.waveforms[0].is_meta
    assert there.video_features is not None and there.video_features[0].is_meta
    assert there.seen is not None and there.seen.positives.is_meta and there.seen.asks.is_meta and there.heard is None
    assert there.texts == ["x"] and there.transcripts == ["x"] and there.frames is None
    assert moved(batch, torch.device("cpu")) is batch
