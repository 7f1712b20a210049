"""Networks, texts and clips for the model's tests, the same on every machine and with every version of the libraries.

Weights are drawn a tensor at a time from its name, not by a library: golden tensors survive upgrades,
and gates that start at zero are open, so that no test passes because a path is shut.
"""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from model.clips import ClipInput
from model.config import RetrieverConfig
from model.letters import BLANK, SYMBOLS, SpelledToken
from model.retriever import Retriever
from model.text import TextEncoding
from model.tokens import TokenSet, quantise
from model.training.start import tiny_tokenizer

WIDTH = 32  # of the tiny preset
CELLS = 6  # its video tokens a time step
TEXTS = ["a red dog", "the woman says a word in the green car", "cat"]


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers that depend on the name alone."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape))


@torch.no_grad()
def scramble(module: nn.Module, gain: float = 1.0) -> nn.Module:
    """Give every tensor of a module numbers of a sensible size, drawn from its name."""
    for name, value in module.state_dict(keep_vars=True).items():
        if not value.is_floating_point():
            continue
        noise = draw(name, tuple(value.shape)).to(value.dtype)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif name.endswith("late.offset"):  # of a share that starts small: half open
            value.fill_(0.0)
        elif value.dim() > 1:
            value.copy_(noise * gain / max(value[0].numel(), 1) ** 0.5)
        elif "bias" in name or name.endswith("missing"):  # what libraries draw at random
            value.copy_(0.2 * noise)
        else:
            value.add_(0.2 * noise)  # norms, gates and temperatures: about where they start
    return module


@functools.cache
def tiny(dtype: torch.dtype = torch.float32) -> Retriever:
    """A scrambled retriever of the tiny preset, in evaluation mode. Shared: leave it as it is."""
    with torch.inference_mode(False):
        return fresh_tiny().to(dtype).requires_grad_(False)


def fresh_tiny() -> Retriever:
    """The same, one's own."""
    config = RetrieverConfig.from_preset("tiny")
    retriever = Retriever(config, tiny_tokenizer(config.text.vocab_size))
    scramble(retriever)
    return retriever.eval()


def token_set(seed: int, steps: int = 4, sounds: int = 9, width: int = WIDTH, cells: int = CELLS) -> TokenSet:
    """A clip of `steps` seconds and `sounds` audio tokens over all of them; 0 leaves the modality out."""
    rng = np.random.default_rng(seed)
    video = rng.standard_normal((steps * cells, width)).astype(np.float32)
    audio = rng.standard_normal((sounds, width)).astype(np.float32)
    times = np.repeat(np.arange(steps, dtype=np.float32) + 0.5, cells)
    levels = np.tile(np.array([0, 1, 1, 1, 1, 2], np.uint8)[:cells], steps)
    sound_times = (np.arange(sounds, dtype=np.float32) + 0.5) * (steps / max(sounds, 1) if steps else 1 / 12.5)
    glance = rng.standard_normal(width if steps else 0)
    glance = (glance / max(np.linalg.norm(glance), 1e-9)).astype(np.float16)
    return TokenSet(*quantise(video), times, levels, *quantise(audio), sound_times, glance=glance)


def saying(symbols: Sequence[int]) -> TokenSet:
    """A clip without pictures in whose sounds the tiny retriever hears these symbols, one a sound token."""
    spelling = tiny().spelling
    assert spelling is not None
    first, second = spelling.symbols.weight.numpy().reshape(-1, len(SYMBOLS), WIDTH)
    audio, scale = quantise(10 * (first[list(symbols)] + second[BLANK]))
    return replace(token_set(0, steps=0, sounds=len(audio)), audio=audio, audio_scale=scale)


def query(lengths: list[int], seed: int = 0, width: int = WIDTH, dtype: torch.dtype = torch.float32) -> TextEncoding:
    """Encoded queries of these lengths, padded to the longest; padding is noise, to be masked and not to be trusted."""
    rng = np.random.default_rng(seed)
    B, N = len(lengths), max(1, *lengths)
    tokens = torch.from_numpy(rng.standard_normal((B, N, width))).to(dtype)
    mask = torch.arange(N) < torch.tensor(lengths).unsqueeze(1)
    pooled = torch.from_numpy(rng.standard_normal((B, width))).to(dtype)
    gist = torch.from_numpy(rng.standard_normal((B, width))).to(dtype)
    words = [[f"word{n}" for n in range(length)] for length in lengths]
    spelled = [[SpelledToken((2 + n % 26, 3 + n % 26), False) for n in range(length)] for length in lengths]
    understood = [length > 0 for length in lengths]
    return TextEncoding(tokens, mask, pooled, gist, words, [[] for _ in lengths], understood, spelled)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """A chirp with noise, int16 at 16 kHz."""
    count = round(seconds * 16_000)
    rng = np.random.default_rng(seed)
    time = np.arange(count) / 16_000
    wave = 0.4 * np.sin(2 * np.pi * (200 + 300 * seed + 150 * time) * time) + 0.05 * rng.standard_normal(count)
    return (wave * 32767).clip(-32768, 32767).astype(np.int16)


def wave(seconds: float, seed: int = 0) -> torch.Tensor:
    """The same as the encoders take it: float in [-1, 1]."""
    return torch.from_numpy(sound(seconds, seed).astype(np.float32) / 32768.0)


def pictures(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 [count, size, size, 3]: a moving gradient with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size]
    base = [(rows * (seed + 1) + columns * (t + 1)) % 256 for t in range(count)]
    frames = np.stack(base)[..., None] + rng.integers(0, 40, (count, size, size, 3))
    return (frames % 256).astype(np.uint8)


def clip(seed: int, frames: int = 4, seconds: float = 1.0, size: int = 64) -> ClipInput:
    """A clip to encode; 0 frames or 0 seconds leave the modality out."""
    shown = pictures(frames, size, seed) if frames else None
    times = np.arange(frames, dtype=np.float32) + 0.5 if frames else None
    return ClipInput(shown, times, sound(seconds, seed) if seconds else None)
