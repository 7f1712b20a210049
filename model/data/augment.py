"""Changes that leave a text true: another crop of the photograph, another level, speed or background of the sound.

Each takes its own random generator, so that an example is the same whenever and wherever it is made.
"""

import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.sound_format import SAMPLE_RATE

BAND_HZ = (50.0, 8000.0)
EQUALISER_HZ = (100.0, 300.0, 700.0, 1500.0, 3000.0, 6000.0)
SIDES = re.compile(r"\b(left|right|east|west|clockwise|counterclockwise)\b", re.IGNORECASE)
NOISES = ("white", "pink", "brown")

Waveform = NDArray[np.float32]


def may_mirror(texts: tuple[str, ...]) -> bool:
    """A mirrored picture makes 'left' and 'right' untrue."""
    return not any(SIDES.search(text) for text in texts)


def pictures(frames: NDArray[np.uint8], rng: np.random.Generator, *, mirror: bool = True) -> NDArray[np.uint8]:
    """One crop, flip and colour change for all frames of a clip, uint8 [T, S, S, 3]."""
    T, S, _, _ = frames.shape
    area, aspect = rng.uniform(0.5, 1.0), np.exp(rng.uniform(-0.25, 0.25))
    height, width = (min(round(S * float(np.sqrt(area * ratio))), S) for ratio in (1 / aspect, aspect))
    top, left = int(rng.integers(S - height + 1)), int(rng.integers(S - width + 1))
    cut = torch.from_numpy(frames[:, top : top + height, left : left + width].copy())
    pixels = F.interpolate(cut.permute(0, 3, 1, 2).float(), size=(S, S), mode="bilinear", antialias=True)
    if mirror and rng.random() < 0.5:
        pixels = pixels.flip(-1)
    brightness, contrast, saturation = rng.uniform(0.7, 1.3, 3)
    pixels = pixels * brightness
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (pixels - mean) * contrast + mean
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = (pixels - grey) * saturation + grey
    changed: NDArray[np.uint8] = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return changed


def sound(wave: Waveform, rng: np.random.Generator, voices: list[Waveform] | None = None) -> Waveform:
    """Another speed (0.85 to 1.15) and level (+-6 dB); at times a room, a microphone, a noise 20 to -5 dB below."""
    if len(wave) < 2:
        return wave
    changed = speed(wave, float(rng.uniform(0.85, 1.15)))
    if rng.random() < 0.3:
        changed = reverberate(changed, rng)
    if rng.random() < 0.5:
        changed = microphone(changed, rng)
    if rng.random() < 0.65:
        use_babble = bool(voices) and rng.random() < 0.75
        noise = (
            babble(voices or [], len(changed), rng)
            if use_babble
            else colour(str(rng.choice(NOISES)), len(changed), rng)
        )
        changed = mix(changed, noise, float(rng.triangular(-5.0, 0.0, 20.0)))
    level = np.float32(10 ** (rng.uniform(-6, 6) / 20))
    return np.asarray(np.clip(changed * level, -1.0, 1.0), np.float32)


def speed(wave: Waveform, factor: float) -> Waveform:
    """The sound `factor` times as fast (and as high)."""
    places = np.arange(max(int(len(wave) / factor), 1)) * factor
    return np.asarray(np.interp(places, np.arange(len(wave)), wave), np.float32)


def reverberate(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """The sound in a room: an impulse and exponentially decaying noise behind it, 0.1 to 0.6 s to -60 dB."""
    decay = float(rng.uniform(0.1, 0.6))
    times = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(times), np.float32) * np.float32(10.0) ** (-3 * times / decay).astype(np.float32)
    room *= np.float32(rng.uniform(0.1, 0.7) / (np.sqrt(np.sum(room**2)) + 1e-12))
    room[0] = 1.0
    size = _fast(len(wave) + len(room))
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(room, size), size)[: len(wave)]
    return np.asarray(wet * (_level(wave) / (_level(wet) + 1e-12)), np.float32)


def microphone(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """The sound through another channel: bands up to 10 dB up or down, and half the time no highs (3 to 7 kHz)."""
    size = _fast(len(wave))
    spectrum = np.fft.rfft(wave, size)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum *= 10 ** (np.interp(frequencies, EQUALISER_HZ, rng.uniform(-10.0, 10.0, len(EQUALISER_HZ))) / 20)
    if rng.random() < 0.5:
        spectrum /= np.sqrt(1 + (frequencies / rng.uniform(3000.0, 7000.0)) ** 16)  # Butterworth of order 8
    heard = np.fft.irfft(spectrum, size)[: len(wave)]
    return np.asarray(heard * (_level(wave) / (_level(heard) + 1e-12)), np.float32)


def mix(wave: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Noise added so that the wave stands `snr_db` above it between 50 and 8000 Hz.

    Counted over all frequencies, brown noise would be all rumble: it would hide nothing.
    """
    power, disturbance = _power(wave), _power(noise)
    if power == 0.0 or disturbance == 0.0:
        return wave
    scale = np.sqrt(power / disturbance / 10 ** (snr_db / 10))
    return np.asarray(wave + np.float32(scale) * noise, np.float32)


def colour(name: str, samples: int, rng: np.random.Generator) -> Waveform:
    """White, pink (1/f) or brown (1/f^2) noise of unit power."""
    size = _fast(samples)
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[name]
    spectrum /= np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 20.0) ** slope
    noise = np.fft.irfft(spectrum, size)[:samples]
    return np.asarray(noise / (noise.std() + 1e-12), np.float32)


def babble(others: list[Waveform], samples: int, rng: np.random.Generator) -> Waveform:
    """One to six other voices at once, each repeated to the length."""
    chosen = rng.choice(len(others), size=min(int(rng.integers(1, 7)), len(others)), replace=False)
    heard = [np.resize(np.roll(others[index], int(rng.integers(len(others[index]) or 1))), samples) for index in chosen]
    return np.asarray(np.sum(heard, axis=0), np.float32)


def _fast(samples: int) -> int:
    """A length that the Fourier transform takes quickly: a prime one takes a hundred times as long."""
    return 1 << max(samples - 1, 1).bit_length()


def _level(wave: NDArray[Any]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(wave))))


def _power(wave: Waveform) -> float:
    """Mean power within the band."""
    if not len(wave):
        return 0.0
    size = _fast(len(wave))
    spectrum = np.abs(np.fft.rfft(wave, size)) ** 2
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    inside = (frequencies >= BAND_HZ[0]) & (frequencies <= BAND_HZ[1])
    return float(spectrum[inside].sum()) / (size * len(wave))
