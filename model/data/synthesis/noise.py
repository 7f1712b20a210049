"""Background noise at a signal-to-noise ratio measured where the ear (and the network) listens, 50 to 8000 Hz.

A broadband ratio would flatter brown noise, nearly all of whose energy lies below 50 Hz.
"""

from typing import Literal

import numpy as np

Noise = Literal["none", "white", "pink", "brown", "music", "babble", "mixed"]
COLOURS: tuple[Noise, ...] = ("white", "pink", "brown", "music", "babble")
SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}


def level(samples: np.ndarray, decibels: float = -22.0) -> np.ndarray:
    """The samples brought to one loudness, without clipping; N, = samples.shape."""
    values = samples.astype(np.float32)
    loudness = float(np.sqrt(np.mean(values**2))) + 1e-6
    gain = 32768 * 10 ** (decibels / 20) / loudness
    peak = float(np.abs(values).max()) + 1e-6
    return (values * min(gain, 31000 / peak)).astype(np.int16)


def band_energy(samples: np.ndarray, rate: int) -> float:
    """Mean energy between 50 and 8000 Hz; N, = samples.shape."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float32))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    return float(spectrum[(frequencies >= 50) & (frequencies <= 8000)].sum()) / len(samples) ** 2


def coloured(count: int, slope: float, rate: int, generator: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency ** slope."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    frequencies = np.maximum(np.fft.rfftfreq(count, 1 / rate), 10.0)
    shaped: np.ndarray = np.fft.irfft(spectrum / frequencies**slope, count)
    return shaped.astype(np.float32)


def music(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    """Four chords of decaying tones on a pentatonic scale."""
    samples = np.zeros(count, np.float32)
    step = int(rate * generator.uniform(0.18, 0.35))
    length = step * 3
    moments = np.arange(length) / rate
    decay = np.exp(-moments * 5)
    for start in range(0, count, step):
        for note in generator.choice([0, 2, 4, 7, 9, 12, 14, 16], size=2, replace=False):
            pitch = 220 * 2 ** (note / 12)
            tone = [np.sin(2 * np.pi * pitch * partial * moments) / partial**1.5 for partial in (1, 2, 3)]
            end = min(count, start + length)
            samples[start:end] += (np.sum(tone, axis=0) * decay)[: end - start]
    return samples


def make_noise(
    name: Noise, count: int, rate: int, generator: np.random.Generator, chatter: list[np.ndarray]
) -> np.ndarray:
    """One kind of noise, `count` samples; babble is the sum of `chatter`, other people's sentences."""
    if name == "music":
        return music(count, rate, generator)
    if name == "babble":
        voices = [np.roll(np.resize(voice, count), int(generator.integers(count))) for voice in chatter]
        total = np.zeros(count, np.float32)
        for voice in voices:
            total += voice
        return total
    return coloured(count, SLOPES[name], rate, generator)


def mix(samples: np.ndarray, noise: np.ndarray, snr_db: float, rate: int) -> np.ndarray:
    """int16 samples with the noise `snr_db` below (or above) them; N, = samples.shape = noise.shape."""
    signal_energy, noise_energy = band_energy(samples, rate), band_energy(noise, rate)
    if signal_energy <= 0 or noise_energy <= 0:
        return samples
    gain = np.sqrt(signal_energy / (noise_energy * 10 ** (snr_db / 10)))
    mixed = samples.astype(np.float32) + np.float32(gain) * noise.astype(np.float32)
    mixed *= min(1.0, 32000 / float(np.abs(mixed).max()))
    return np.asarray(mixed, np.int16)
