"""Damage to a checkpoint: a missing file is named, an altered one refused, whichever bit it is (T6)."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.checkpoint import CheckpointError
from model.errors import HtavError
from model.retriever import Retriever
from tests.permissions import bound_by_permissions, open_to_all

FLIPS = 40


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        Retriever.from_pretrained(copy)
    assert name in caught.value.message and "git checkout" in caught.value.hint
    assert caught.value.code == "bad_checkpoint" and caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_single_flipped_bit_is_noticed(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    for query_only in (False, True):
        with pytest.raises(CheckpointError, match="was altered"):
            Retriever.from_pretrained(copy, query_only=query_only)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "3", '{"config": {}}', '{"config": null, "sha256": {}}', "\udcff"]
)
def test_a_config_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(HtavError, match=r"config") as caught:
        Retriever.from_pretrained(copy)
    assert caught.value.code in {"bad_checkpoint", "bad_config"} and caught.value.hint


def test_a_digest_that_was_struck_out_does_not_open_the_door(copy: Path) -> None:
    values = json.loads((copy / "config.json").read_text())
    del values["sha256"]["tokenizer.json"]
    (copy / "config.json").write_text(json.dumps(values))
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="was altered"):
        Retriever.from_pretrained(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    config, digests = checkpoint.read_config(copy)
    old_weights(copy)
    checkpoint.write_config(copy, replace(config, audio=replace(config.audio, lstm_hidden=8)), rehashed(copy, digests))
    with pytest.raises(CheckpointError, match="do not fit"):
        Retriever.from_pretrained(copy)


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / "config.json").read_text())
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


def old_weights(folder: Path) -> None:
    """Weights as they were saved before they held the digest of their config."""
    path = folder / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt"})


def rehashed(folder: Path, digests: dict[str, str]) -> dict[str, str]:
    return digests | {"model.safetensors": checkpoint.file_digest(folder / "model.safetensors")}


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["config"].update(dtw_gamma=0.2),
        lambda values: values["config"]["video"].update(frames=16),
        lambda values: values["config"]["confidence"].update(low=0.0),
        lambda values: values["sha256"].update({"config.json": "0" * 64}),
        lambda values: values["sha256"].pop("config.json"),
        lambda values: (values["sha256"].pop("config.json"), values["config"]["confidence"].update(low=0.0)),
    ],
)
def test_an_altered_config_is_told(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change_config(copy, change)
    with pytest.raises(CheckpointError, match=r"config.json was altered") as caught:
        Retriever.from_pretrained(copy, query_only=True)
    assert "htav calibrate" in caught.value.hint


def test_only_the_bands_of_a_saved_network_can_be_set(copy: Path) -> None:
    config, digests = checkpoint.read_config(copy)
    before = Retriever.from_pretrained(copy).fingerprint
    checkpoint.write_config(copy, replace(config, confidence=replace(config.confidence, high=0.9)), digests)
    loaded = Retriever.from_pretrained(copy)
    assert loaded.config.confidence.high == 0.9 and loaded.fingerprint == before
    checkpoint.write_config(copy, replace(config, dtw_gamma=0.2), digests)
    with pytest.raises(CheckpointError, match="was altered"):
        Retriever.from_pretrained(copy)


def test_a_checkpoint_from_before_there_were_digests_of_configs_loads(copy: Path) -> None:
    before, _ = checkpoint.read_config(copy)
    old_weights(copy)
    change_config(copy, lambda values: values.update(sha256=rehashed(copy, values["sha256"])))
    change_config(copy, lambda values: values["sha256"].pop("config.json"))
    config, digests = checkpoint.read_config(copy)
    assert Retriever.from_pretrained(copy).config == before == config
    checkpoint.write_config(copy, config, digests)  # calibrated, it has one, which then counts
    change_config(copy, lambda values: values["config"].update(dtw_gamma=0.2))
    with pytest.raises(CheckpointError, match="was altered"):
        Retriever.from_pretrained(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_told(copy: Path, name: str) -> None:
    open_to_all(copy)
    (copy / name).chmod(0)
    with bound_by_permissions(), pytest.raises(CheckpointError, match=f"{name} cannot be read") as caught:
        Retriever.from_pretrained(copy, query_only=True)
    assert "permission" in caught.value.hint


def flip_bit(path: Path, bit: int) -> None:
    """Twice is never: flipping again mends the file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_every_one_of_forty_flipped_bits_is_noticed(copy: Path, name: str) -> None:
    path, rng, missed = copy / name, random.Random(name), []
    for _ in range(FLIPS):
        bit = rng.randrange(path.stat().st_size * 8)
        flip_bit(path, bit)
        try:
            Retriever.from_pretrained(copy, query_only=True)
        except CheckpointError as err:
            assert name in err.message and err.hint
        else:
            missed.append(bit)
        flip_bit(path, bit)
    assert missed == []
    assert Retriever.from_pretrained(copy, query_only=True).fingerprint


def test_control_without_the_digest_flipped_weights_are_served(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Retriever.from_pretrained(copy).state_dict()
    flip_bit(copy / "model.safetensors", (copy / "model.safetensors").stat().st_size * 8 - 2)
    monkeypatch.setattr(checkpoint, "check_digests", lambda *_: None)
    after = Retriever.from_pretrained(copy).state_dict()
    assert any(not torch.equal(before[name], value) for name, value in after.items())
