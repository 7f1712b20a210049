"""Synthesised instruments."""

import numpy as np

from model.data.synthesis.tones import beats, glide, hiss, pluck, ring, scatter, seconds, swell, thud

SCALE = (0, 2, 4, 5, 7, 9, 11, 12)


def guitar(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    root = generator.uniform(110, 165)
    return scatter(
        count,
        rate,
        beats(count, rate, generator, 0.2, 0.4),
        lambda _: pluck(root * 2 ** (generator.choice(SCALE) / 12), rate, rate, generator),
    )


def piano(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    root = generator.uniform(220, 300)
    return scatter(
        count, rate, beats(count, rate, generator, 0.25, 0.45),
        lambda _: ring(root * 2 ** (generator.choice(SCALE) / 12), rate, rate, 3.5, (1, 2, 3, 4.02, 5.05)),
    )  # fmt: skip


def trumpet(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    root = generator.uniform(260, 350)

    def note(_: int) -> np.ndarray:
        length = int(rate * 0.34)
        pitch = root * 2 ** (generator.choice(SCALE) / 12)
        return np.asarray(
            glide(np.full(length, pitch), rate, {1: 0.6, 2: 1, 3: 0.9, 4: 0.7, 5: 0.5, 6: 0.3})
            * swell(length, 0.15, 0.3)
        )

    return scatter(count, rate, np.arange(0.02, count / rate, 0.38), note)


def drum(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pace = generator.uniform(0.2, 0.32)
    starts = np.arange(0, count / rate, pace)

    def hit(index: int) -> np.ndarray:
        if index % 2:
            return np.asarray(
                hiss(int(rate * 0.16), rate, generator, 800, 9000) * np.exp(-22 * seconds(int(rate * 0.16), rate))
            )
        return 1.5 * thud(0.3, 70, rate, generator, 0.4)

    return scatter(count, rate, starts, hit)


def bell(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(350, 900)
    strike = ring(pitch, int(rate * 2.5), rate, 1.8, (0.5, 1, 1.19, 1.5, 2, 2.74, 3.76))
    return scatter(count, rate, beats(count, rate, generator, 0.7, 1.2), lambda _: strike)
