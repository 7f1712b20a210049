"""What the trunks say of photographs and sentences, computed once, so that a run of an ablation trains heads alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.audio import AudioTokens
from model.data import augment
from model.data.items import Shape, decode, look
from model.data.manifest import Item, load_manifest
from model.progress import Progress
from model.retriever import Retriever
from model.training.frozen_text import freeze_text_trunk
from model.transforms import log_mel

TRUNKS: Final = ("text.embeddings.", "text.layers.", "text.characters.", "video.trunk.")
SOUND_TRUNK: Final = ("audio.stem.", "audio.position.", "audio.blocks.", "audio.norm.", "audio.temporal.")
NOISE_DB: Final = (-5.0, 10.0)  # how far the speech of the benchmark `noise` stands above it
BATCH: Final = 32


@dataclass(frozen=True, eq=False)
class Photograph:
    """The trunk's maps of one photograph, each [channels, rows, columns] in half precision, and its captions."""

    maps: list[Tensor]
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Sentence:
    """The spectrogram transformer's states of one recording [S, width], clean and in noise, and what is said in it."""

    clean: Tensor
    noisy: Tensor
    text: str


@torch.inference_mode()
def photographs(retriever: Retriever, folder: Path, split: str, most: int, progress: Progress) -> list[Photograph]:
    """The first `most` captioned photographs of a split."""
    items = [item for item in load_manifest(folder, split) if item.form == "still" and item.texts][:most]
    shape, found = Shape(1, retriever.config.video.image_size), []
    for batch in _batches(items):
        pictures = np.stack([np.asarray(decode(item, (0.0, 1.0), shape).frames) for item in batch])
        frames = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 1, 4, 2, 3)))
        maps = retriever.video.trunk_features(frames)
        found += [
            Photograph([level[row, 0].half().clone() for level in maps], item.texts) for row, item in enumerate(batch)
        ]
        progress(f"see the {split} photographs", len(found), len(items))
    return found


@torch.inference_mode()
def sentences(retriever: Retriever, folder: Path, split: str, most: int, progress: Progress) -> list[Sentence]:
    """The first `most` recordings of a split whose words are known."""
    items = [item for item in load_manifest(folder, split) if item.spoken()][:most]
    rng = np.random.default_rng([0, 6])
    found: list[Sentence] = []
    for batch in _batches(items):
        waves = [_wave(item) for item in batch]
        noisy = [_in_noise(wave, waves, rng) for wave in waves]
        states = zip(_states(retriever, waves), _states(retriever, noisy), batch, strict=True)
        found += [Sentence(clean, muddy, item.spoken() or "") for clean, muddy, item in states]
        progress(f"hear the {split} sentences", len(found), len(items))
    return found


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _wave(item: Item) -> augment.Waveform:
    samples = decode(item, look(item).spans[0], Shape(1, 8)).audio
    return np.zeros(400, np.float32) if samples is None else samples.astype(np.float32) / np.float32(32768)


def _in_noise(wave: augment.Waveform, voices: Sequence[augment.Waveform], rng: np.random.Generator) -> augment.Waveform:
    """White, pink or brown noise, or other voices."""
    others = [voice for voice in voices if voice is not wave]
    kind = int(rng.integers(len(augment.NOISES) + 1))
    if kind < len(augment.NOISES) or not others:
        noise = augment.colour(augment.NOISES[kind % len(augment.NOISES)], len(wave), rng)
    else:
        noise = augment.babble(others, len(wave), rng)
    return augment.mix(wave, noise, float(rng.uniform(*NOISE_DB)))


def _states(retriever: Retriever, waves: Sequence[augment.Waveform]) -> list[Tensor]:
    audio = retriever.audio
    mels = [log_mel(torch.from_numpy(wave), audio.config.mel_bins) for wave in waves]
    lengths = torch.tensor([len(mel) for mel in mels])
    states, lengths = audio.spectral(torch.nn.utils.rnn.pad_sequence(mels, batch_first=True), lengths)
    return [states[row, : int(length)].half().clone() for row, length in enumerate(lengths)]


def with_kept_trunks(fresh: Retriever, trained: Retriever) -> Retriever:
    """`fresh` with the trunks of `trained`, which do not learn; its sound is given as kept states, not as samples."""
    trunks = {name: value for name, value in trained.state_dict().items() if name.startswith((*TRUNKS, *SOUND_TRUNK))}
    fresh.load_state_dict(trunks, strict=False)
    for name, parameter in fresh.named_parameters():
        parameter.requires_grad_(name not in trunks)
    freeze_text_trunk(fresh.text, len(fresh.text.layers))

    def heard(states: list[Tensor]) -> AudioTokens:
        lengths = torch.tensor([len(state) for state in states])
        padded = torch.nn.utils.rnn.pad_sequence([state.float() for state in states], batch_first=True)
        return fresh.audio.finish(padded, lengths)

    fresh.audio.forward = heard  # type: ignore[method-assign, assignment]
    return fresh
