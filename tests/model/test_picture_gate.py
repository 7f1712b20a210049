"""How far a text asks for pictures: nothing until it is taught, then silent clips give way where sound is asked for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from model.checkpoint import CARD
from model.cli import commands
from model.config import ConfigError
from model.data.manifest import load_manifest
from model.picture_gate import PictureGate
from model.retriever import Retriever
from model.training import gate as module
from model.training.gate import Request, by_sense, drawn, teach_gate, with_picture_gate
from model.training.options import Options, TrainingError
from model.training.parameters import select
from tests.model.samples import TEXTS, clip, fresh_tiny
from tests.model.small_data import quiet, write_lines

SEEN = [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("car", "dog", "cat", "man")]
HEARD = [f"{thing} says {number}" for thing in ("ooh", "hey", "yes", "tut") for number in ("it", "her", "now")]
SAID = ["we shall meet on tuesday"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts alone: no file that the manifest names is there, and none is needed."""
    monkeypatch.setattr(module, "FEWEST", 10)
    write_lines(tmp_path, [{"file": f"{n}.jpg", "texts": [text]} for n, text in enumerate(SEEN)])
    (tmp_path / "sounds").mkdir()
    lines = [{"file": f"{n}.wav", "texts": [text], "kind": "sound"} for n, text in enumerate(HEARD)]
    write_lines(tmp_path / "sounds", [*lines, {"file": "s.wav", "texts": SAID, "kind": "speech"}])
    fresh_tiny().save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / CARD).write_text("the card")
    return tmp_path


def request(data: Path) -> Request:
    return Request(data / "checkpoint", (data, data / "sounds"))


def gate_of(network: Retriever) -> PictureGate:
    assert network.coarse.picture_gate is not None
    return network.coarse.picture_gate


def test_untaught_it_changes_no_score() -> None:
    plain = fresh_tiny()
    grown = with_picture_gate(plain, 0)
    clips = [clip(1), clip(2, seconds=0.0), clip(3, frames=0)]
    for row in range(len(TEXTS)):
        before, after = (n.rerank(n.encode_text(TEXTS), row, n.encode_clips(clips)) for n in (plain, grown))
        np.testing.assert_allclose(np.stack(after[:3]), np.stack(before[:3]), atol=1e-6)


def test_a_silent_clip_gives_way_where_sound_is_asked_for_and_no_other_clip_does() -> None:
    network = with_picture_gate(fresh_tiny(), 0)
    text, clips = network.encode_text(TEXTS), network.encode_clips([clip(1), clip(2, seconds=0.0), clip(3, frames=0)])
    tensors = network.collate(clips)
    with torch.no_grad():
        opened = network.coarse.compare(text, tensors, glance=True)
        gate_of(network).asks.bias.zero_()  # every text asks for pictures by half
        halved = network.coarse.compare(text, tensors, glance=True)
        unheard = network.coarse.compare(text, tensors.only(("video",)), glance=True)
    torch.testing.assert_close(unheard.both[:, :2], opened.video[:, :2])  # where sound does not count no clip lacks it
    torch.testing.assert_close(halved.both[:, 1], 0.5 * opened.both[:, 1])
    assert bool((opened.both[:, 1] != 0).all())
    for place in (0, 2):
        torch.testing.assert_close(halved.both[:, place], opened.both[:, place])
    for one, other in zip(opened[1:], halved[1:], strict=True):  # pictures alone, what confidence divides by
        torch.testing.assert_close(one, other)


def test_it_is_taught_by_texts_alone_and_nothing_else_moves(data: Path) -> None:
    before = Retriever.from_pretrained(data / "checkpoint")
    document = teach_gate(request(data), quiet)
    after = Retriever.from_pretrained(data / "checkpoint")
    assert document["texts"] == {"pictures": len(SEEN), "sound": len(HEARD)}
    with torch.no_grad():
        seen, heard = (gate_of(after)(after.encode_text(texts).gist) for texts in (SEEN, HEARD))
    assert float(seen.min()) > float(heard.max())
    assert after.card == "the card" and after.config == replace(before.config, picture_gate=1)
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    again = teach_gate(request(data), quiet)
    assert again == document
    assert torch.equal(gate_of(Retriever.from_pretrained(data / "checkpoint")).asks.weight, gate_of(after).asks.weight)


def test_texts_of_either_sense(tmp_path: Path) -> None:
    lines = [
        {"file": "a.jpg", "texts": ["a dog", "a bell"]},
        {"file": "b.wav", "texts": ["a bell", "a horn"], "kind": "sound"},
        {"file": "c.mp4", "texts": ["a duck quacks"], "seen": ["a duck"], "heard": ["quacking"], "said": ["hello"]},
    ]
    write_lines(tmp_path, lines)
    assert by_sense(load_manifest(tmp_path)) == (["a dog", "a duck"], ["a horn", "quacking"])
    texts, pictures = drawn(Request(Path("unused"), (tmp_path,), texts=1))
    assert len(texts) == 2 and sorted(pictures) == [False, True]


def test_what_cannot_be_learned_from_is_said(data: Path) -> None:
    before = (data / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="12 texts for pictures and 0 for sound are too few"):
        teach_gate(Request(data / "checkpoint", (data,)), quiet)
    old = fresh_tiny()
    old.config = type(old.config).from_json(old.config.to_json() | {"gist": 0, "listing": 0, "glance": 0})
    with pytest.raises(TrainingError, match="an earlier version"):
        with_picture_gate(old, 0)
    with pytest.raises(ConfigError, match="picture_gate needs"):
        type(old.config).from_json(old.config.to_json() | {"picture_gate": 1})
    assert (data / "checkpoint" / "model.safetensors").read_bytes() == before


def test_training_leaves_it_alone_and_forgets_what_it_was_taught() -> None:
    network = with_picture_gate(fresh_tiny(), 0)
    chosen = select(network, nn.Linear(1, 1), Options(data=(), out=Path("unused"), preset="tiny"))
    assert not [name for name in chosen.parameters if name.startswith("coarse.picture_gate.")]
    gate = gate_of(network)
    with torch.no_grad():
        gate.asks.weight.normal_()
    gate.forget()
    with torch.no_grad():
        assert float(gate(network.encode_text(TEXTS).gist).min()) > 0.999999


def test_the_command_prints_one_document(data: Path) -> None:
    options = ["gate", str(data / "checkpoint"), "--data", str(data), "--data", str(data / "sounds")]
    result = CliRunner().invoke(commands, options)
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"checkpoint", "texts", "held_out_right_percent"}
