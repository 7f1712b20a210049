"""How far a text names a sound: not at all until it is taught, then silent clips and chance among letters give way."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model.checkpoint import CARD
from model.cli import commands
from model.config import ConfidenceConfig, ConfigError
from model.data.manifest import load_manifest
from model.retriever import Retriever
from model.sound_gate import SoundGate
from model.training import gate as module
from model.training.gate import Request, by_kind, drawn, teach_gate, with_sound_gate
from model.training.options import Options, TrainingError
from model.training.prepare import build
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


def gate_of(network: Retriever) -> SoundGate:
    assert network.coarse.sound_gate is not None
    return network.coarse.sound_gate


def test_untaught_it_changes_no_score() -> None:
    plain = fresh_tiny()
    grown = with_sound_gate(plain)
    clips = [clip(1), clip(2, seconds=0.0), clip(3, frames=0)]
    for row in range(len(TEXTS)):
        before, after = (n.rerank(n.encode_text(TEXTS), row, n.encode_clips(clips)) for n in (plain, grown))
        np.testing.assert_allclose(np.stack(after), np.stack(before), atol=1e-6)


def test_a_silent_clip_gives_way_as_far_as_each_query_names_a_sound() -> None:
    network = with_sound_gate(fresh_tiny())
    shown = [clip(1), clip(2, seconds=0.0), clip(3, frames=0), clip(4, seconds=0.0)]
    text, clips = network.encode_text(TEXTS), network.collate(network.encode_clips(shown))
    assert len(TEXTS) not in {1, len(shown)} and clips.silent.tolist() == [False, True, False, True]
    gate = gate_of(network)
    with torch.no_grad():
        opened = network.coarse.compare(text, clips, glance=True)
        gate.linear.weight.copy_(torch.linspace(-1, 1, gate.linear.in_features))
        gate.linear.bias.zero_()
        asked = 1.0 - gate(text.gist)
        found = network.coarse.compare(text, clips, glance=True)
        unheard = network.coarse.compare(text, clips.only(("video",)), glance=True)
        unseen = network.coarse.compare(text, clips.only(("audio",)), glance=True)
    assert float(asked.max() - asked.min()) > 0.2
    for row, clip_number in itertools.product(range(len(TEXTS)), (1, 3)):
        before = opened.both[row, clip_number]
        torch.testing.assert_close(found.both[row, clip_number], before * asked[row] if before > 0 else before)
    assert bool((opened.both[:, [1, 3]] > 0).any()) and bool((opened.both[:, [1, 3]] < 0).any())
    assert torch.equal(found.both[:, [0, 2]], opened.both[:, [0, 2]])
    for name in ("video", "audio", "weight"):  # one modality by itself, and what confidence divides by
        assert torch.equal(getattr(found, name), getattr(opened, name))
    torch.testing.assert_close(unheard.both[:, [0, 1, 3]], opened.video[:, [0, 1, 3]])  # none is silent there
    torch.testing.assert_close(unseen.both[:, [0, 2]], opened.audio[:, [0, 2]])


def test_what_names_a_sound_is_no_quotation() -> None:
    network = with_sound_gate(fresh_tiny())
    text, clips = network.encode_text(TEXTS), network.collate(network.encode_clips([clip(1), clip(2)]))
    with torch.no_grad():
        before = network.pair_scores(text, clips)
        gate_of(network).linear.bias.zero_()
        after = network.pair_scores(text, clips)
    assert before.lift is not None and after.lift is not None and bool((before.lift > 0).any())
    torch.testing.assert_close(after.lift, 0.5 * before.lift)


def test_an_explanation_says_how_far_a_silent_clip_counts() -> None:
    network = with_sound_gate(fresh_tiny())
    with torch.no_grad():
        gate_of(network).linear.bias.zero_()
    text, (heard, silent) = network.encode_text(TEXTS), network.encode_clips([clip(1), clip(2, seconds=0.0)])
    assert network.explain(text, 0, silent).gates["pictures"] == 0.5
    assert "pictures" not in network.explain(text, 0, heard).gates
    for modalities in (("video",), ("audio",)):
        assert "pictures" not in network.explain(text, 0, heard, modalities).gates
        assert "pictures" not in network.explain(text, 0, silent, modalities).gates


def test_it_is_taught_by_texts_alone_and_nothing_else_moves(data: Path) -> None:
    before = Retriever.from_pretrained(data / "checkpoint")
    document = teach_gate(request(data), quiet)
    after = Retriever.from_pretrained(data / "checkpoint")
    assert document["texts"] == {"sounds": len(HEARD), "others": len(SEEN) + 1}
    with torch.no_grad():
        seen, heard = (gate_of(after)(after.encode_text(texts).gist) for texts in (SEEN + SAID, HEARD))
    assert float(heard.min()) > float(seen.max())
    assert after.card == "the card" and after.config == replace(before.config, sound_gate=1)
    assert after.fingerprint != before.fingerprint
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    again = teach_gate(request(data), quiet)
    assert again == document
    assert torch.equal(
        gate_of(Retriever.from_pretrained(data / "checkpoint")).linear.weight, gate_of(after).linear.weight
    )


def test_confidence_in_scores_of_before_does_not_stay(data: Path) -> None:
    network = Retriever.from_pretrained(data / "checkpoint")
    network.config = replace(network.config, confidence=ConfidenceConfig(high=0.9))
    network.save_pretrained(data / "checkpoint")
    teach_gate(request(data), quiet)
    assert Retriever.from_pretrained(data / "checkpoint").config.confidence == ConfidenceConfig()


def test_what_may_be_either_names_no_sound(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bias() -> float:
        teach_gate(request(data), quiet)
        return float(gate_of(Retriever.from_pretrained(data / "checkpoint")).linear.bias.detach())

    usual = bias()
    monkeypatch.setattr(module, "CAUTION", module.CAUTION / 100)
    assert bias() == pytest.approx(usual + math.log(100), abs=0.01)


def test_texts_of_either_kind(tmp_path: Path) -> None:
    lines = [
        {"file": "a.jpg", "texts": ["a dog", "a bell"]},
        {"file": "b.wav", "texts": ["a bell", "a horn"], "kind": "sound"},
        {"file": "c.wav", "texts": ["see you"], "kind": "speech"},
        {"file": "c.mp4", "texts": ["a duck quacks"], "seen": ["a duck"], "heard": ["quacking"], "said": ["hello"]},
    ]
    (tmp_path / "other").mkdir()
    write_lines(tmp_path, lines)
    write_lines(tmp_path / "other", [{"file": "d.wav", "texts": ["A dog.", "rain"], "kind": "sound"}])
    assert by_kind(load_manifest(tmp_path)) == (["a horn", "quacking"], ["a dog", "see you", "a duck", "hello"])
    for folders in ((tmp_path, tmp_path / "other"), (tmp_path / "other", tmp_path)):
        texts, names = drawn(Request(Path("unused"), folders))
        found = dict(zip(texts, names.tolist(), strict=True))
        sounds, others = ("a horn", "quacking", "rain"), ("see you", "a duck", "hello")
        assert found == dict.fromkeys(sounds, True) | dict.fromkeys(others, False)
    few, names = drawn(Request(Path("unused"), (tmp_path,), texts=1))
    assert len(few) == 2 and sorted(names.tolist()) == [False, True]


def test_what_cannot_be_learned_from_is_said(data: Path) -> None:
    before = (data / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="0 names of sounds and 12 other texts are too few"):
        teach_gate(Request(data / "checkpoint", (data,)), quiet)
    old = fresh_tiny()
    old.config = type(old.config).from_json(old.config.to_json() | {"gist": 0, "listing": 0, "glance": 0})
    with pytest.raises(TrainingError, match="an earlier version"):
        with_sound_gate(old)
    with pytest.raises(ConfigError, match="sound_gate needs"):
        type(old.config).from_json(old.config.to_json() | {"sound_gate": 1})
    assert (data / "checkpoint" / "model.safetensors").read_bytes() == before


def test_training_goes_on_without_it_and_can_be_resumed(data: Path) -> None:
    """It is of the text encoder that was; a resumed run begins from the preset, which has none."""
    teach_gate(request(data), quiet)
    options = Options(data=(), out=data / "run", preset="tiny", init=data / "checkpoint")
    begun, resumed = (build(options, resumed=again)[0] for again in (False, True))
    assert begun.config.sound_gate == 0 and begun.coarse.sound_gate is None
    resumed.load_state_dict(begun.state_dict())


def test_a_run_folder_still_links_to_its_checkpoint(data: Path) -> None:
    (data / "run").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (data / "run" / name).symlink_to(data / "checkpoint" / name)
    teach_gate(replace(request(data), checkpoint=data / "run"), quiet)
    assert (data / "run" / "model.safetensors").is_symlink()
    assert Retriever.from_pretrained(data / "checkpoint").config.sound_gate == 1


def test_the_command_prints_one_document(data: Path) -> None:
    options = ["gate", str(data / "checkpoint"), "--data", str(data), "--data", str(data / "sounds")]
    result = CliRunner().invoke(commands, options)
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"checkpoint", "texts", "held_out_right_percent"}
