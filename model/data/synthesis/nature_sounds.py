"""Synthesised weather, water and fire."""

import numpy as np

from model.data.synthesis.noise import coloured
from model.data.synthesis.tones import band, hiss, ring, scatter, seconds


def rain(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    starts = np.sort(generator.uniform(0, count / rate, int(count / rate * 90)))
    length = int(rate * 0.012)
    drops = scatter(
        count,
        rate,
        starts,
        lambda _: generator.uniform(0.2, 1.2) * ring(generator.uniform(2500, 6500), length, rate, 300, (1,)),
    )
    return np.asarray(0.5 * hiss(count, rate, generator, 900, 9000) + drops)


def thunder(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    moments = seconds(count, rate)
    start = generator.uniform(0, 0.4)
    shape = (
        np.exp(-1.1 * np.maximum(0, moments - start))
        * (moments >= start)
        * (0.6 + 0.4 * np.abs(coloured(count, 1.0, rate, generator)) * 4)
    )
    return np.asarray(band(coloured(count, 0.7, rate, generator), rate, 25, 500) * shape, np.float32)


def waves(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    roll = (
        0.25
        + np.maximum(
            0, np.sin(2 * np.pi * generator.uniform(0.18, 0.3) * seconds(count, rate) + generator.uniform(0, 6))
        )
        ** 2
    )
    return hiss(count, rate, generator, 150, 4500) * roll


def wind(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    gust = 0.5 + 0.5 * np.sin(2 * np.pi * generator.uniform(0.2, 0.4) * seconds(count, rate) + generator.uniform(0, 6))
    return band(coloured(count, 0.5, rate, generator), rate, 120, 700) * (0.3 + gust)


def fire(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    starts = np.sort(generator.uniform(0, count / rate, int(count / rate * 22)))
    length = int(rate * 0.01)
    snaps = scatter(
        count, rate, starts, lambda _: generator.exponential(1.0) * hiss(length, rate, generator, 800, 9000)
    )
    return snaps * 2 + 0.12 * hiss(count, rate, generator, 60, 600)
