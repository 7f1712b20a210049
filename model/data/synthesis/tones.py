"""What sound events are made of: gliding tones, bands of hiss, envelopes, strikes, and their placing in time."""

from collections.abc import Callable

import numpy as np


def seconds(count: int, rate: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32) / rate


def glide(pitches: np.ndarray, rate: int, partials: dict[int, float]) -> np.ndarray:
    """A tone whose pitch follows `pitches` (N, = pitches.shape, Hz), with overtones."""
    phase = 2 * np.pi * np.cumsum(pitches) / rate
    total = np.zeros(len(pitches), np.float32)
    for partial, weight in partials.items():
        total += np.float32(weight) * np.sin(partial * phase).astype(np.float32)
    return total


def swell(count: int, attack: float = 0.1, release: float = 0.3) -> np.ndarray:
    """An envelope that rises and falls; attack and release are shares of the length."""
    shape = np.ones(count, np.float32)
    first, last = max(1, int(count * attack)), max(1, int(count * release))
    shape[:first] = np.linspace(0, 1, first)
    shape[-last:] *= np.linspace(1, 0, last)
    return shape


def band(samples: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """Only the frequencies between low and high; N, = samples.shape."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def hiss(count: int, rate: int, generator: np.random.Generator, low: float, high: float) -> np.ndarray:
    return band(generator.standard_normal(count).astype(np.float32), rate, low, high)


def scatter(count: int, rate: int, starts: np.ndarray, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """Lay `make(i)` at each start (seconds)."""
    total = np.zeros(count, np.float32)
    for index, start in enumerate(starts):
        piece, first = make(index), int(start * rate)
        end = min(count, first + len(piece))
        if first < count:
            total[first:end] += piece[: end - first]
    return total


def beats(count: int, rate: int, generator: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Start times at a steady pace drawn between low and high seconds, with a little human error."""
    pace = generator.uniform(low, high)
    starts = np.arange(generator.uniform(0, 0.15), count / rate, pace)
    return np.maximum(0, starts + generator.normal(0, pace * 0.04, len(starts)))


def call(
    pitches: list[float], length_s: float, rate: int, partials: dict[int, float], breath: np.ndarray
) -> np.ndarray:
    """An animal's call: a pitch contour through the given points, with breath noise added."""
    count = int(length_s * rate)
    contour = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(pitches)), pitches)
    return np.asarray((glide(contour, rate, partials) + np.resize(breath, count)) * swell(count, 0.12, 0.35))


def ring(pitch: float, length: int, rate: int, decay: float, ratios: tuple[float, ...]) -> np.ndarray:
    """A struck metal: inharmonic partials that die away."""
    moments = seconds(length, rate)
    parts = [
        np.sin(2 * np.pi * pitch * r * moments) * np.exp(-decay * (1 + i * 0.6) * moments) / (1 + i * 0.3)
        for i, r in enumerate(ratios)
    ]
    return np.asarray(np.sum(parts, axis=0), np.float32)


def thud(length_s: float, pitch: float, rate: int, generator: np.random.Generator, edge: float) -> np.ndarray:
    """One hit: a falling low tone and a click of noise."""
    moments = seconds(int(length_s * rate), rate)
    body = np.sin(2 * np.pi * pitch * moments * (1 + 0.5 * np.exp(-40 * moments))) * np.exp(-5 / length_s * moments)
    click = hiss(len(moments), rate, generator, 300, 7000) * np.exp(-60 * moments)
    return np.asarray(body + edge * click, np.float32)


def pluck(pitch: float, length: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    """A plucked string (Karplus-Strong), worked out period by period."""
    period = max(2, int(rate / pitch))
    current = generator.uniform(-1, 1, period).astype(np.float32)
    periods = []
    for _ in range(length // period + 1):
        periods.append(current)
        current = 0.498 * (current + np.roll(current, 1))
    return np.concatenate(periods)[:length]
