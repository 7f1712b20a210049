"""Synthesised voices of animals (and babies): each call has its own dice, so that no two barks are alike."""

import numpy as np

from model.data.synthesis.tones import beats, call, hiss, scatter, seconds


def dog(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(260, 520)

    def bark(_: int) -> np.ndarray:
        top = pitch * generator.uniform(0.92, 1.1)
        breath = hiss(int(rate * 0.3), rate, generator, 500, 4000) * 0.7
        overtones = {1: 1.0, 2: 0.9, 3: 0.7, 4: 0.4, 5: 0.3}
        return call([top * 0.7, top * 1.25, top, top * 0.6], generator.uniform(0.13, 0.22), rate, overtones, breath)

    return scatter(count, rate, beats(count, rate, generator, 0.35, 0.7), bark)


def cat(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(420, 700)

    def meow(_: int) -> np.ndarray:
        contour = [pitch * 0.8, pitch * 1.25, pitch * 1.3, pitch * 1.1, pitch * 0.75]
        return call(contour, generator.uniform(0.55, 0.9), rate, {1: 1, 2: 0.8, 3: 0.5, 4: 0.25}, np.zeros(1))

    return scatter(count, rate, beats(count, rate, generator, 1.0, 1.6), meow)


def cow(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(110, 160)

    def moo(_: int) -> np.ndarray:
        overtones = {1: 1, 2: 0.9, 3: 0.7, 4: 0.5, 5: 0.35, 6: 0.2}
        breath = hiss(rate, rate, generator, 100, 900) * 0.25
        return call(
            [pitch * 0.85, pitch * 1.1, pitch * 1.15, pitch * 0.8], generator.uniform(1.0, 1.5), rate, overtones, breath
        )

    return scatter(count, rate, beats(count, rate, generator, 1.8, 2.4), moo)


def sheep(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(300, 420)

    def baa(_: int) -> np.ndarray:
        cry = call([pitch, pitch * 1.05, pitch * 0.9], 0.8, rate, {1: 1, 2: 0.8, 3: 0.8, 4: 0.5, 5: 0.3}, np.zeros(1))
        return cry * (0.6 + 0.4 * np.sign(np.sin(2 * np.pi * 9 * seconds(len(cry), rate))))

    return scatter(count, rate, beats(count, rate, generator, 1.1, 1.7), baa)


def rooster(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(600, 850)

    def crow(_: int) -> np.ndarray:
        notes = [(0.14, 1.0), (0.12, 1.25), (0.2, 1.1), (0.75, 1.45)]
        overtones = {1: 1, 2: 0.9, 3: 0.5, 4: 0.3}
        pieces = [
            call([pitch * n * 0.9, pitch * n, pitch * n * 0.85], t, rate, overtones, np.zeros(1)) for t, n in notes
        ]
        return np.concatenate(pieces)

    return scatter(count, rate, beats(count, rate, generator, 1.8, 2.4), crow)


def frog(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(180, 300)

    def croak(_: int) -> np.ndarray:
        cry = call([pitch, pitch * 1.2], 0.32, rate, {1: 1, 2: 1, 3: 0.7, 4: 0.6}, np.zeros(1))
        return np.asarray(cry * np.maximum(0, np.sin(2 * np.pi * 34 * seconds(len(cry), rate))) ** 2)

    return scatter(count, rate, beats(count, rate, generator, 0.5, 0.9), croak)


def bird(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(2400, 4200)

    def chirp(_: int) -> np.ndarray:
        contour = pitch * generator.uniform(0.8, 1.3, 3)
        return call(list(contour), generator.uniform(0.06, 0.16), rate, {1: 1, 2: 0.15}, np.zeros(1))

    starts = np.sort(generator.uniform(0, count / rate, int(count / rate * generator.uniform(3, 6)) + 1))
    return scatter(count, rate, starts, chirp)


def baby(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(380, 520)

    def wail(_: int) -> np.ndarray:
        overtones = {1: 1, 2: 1, 3: 0.9, 4: 0.5, 5: 0.4, 6: 0.2}
        return call(
            [pitch * 0.8, pitch * 1.2, pitch * 1.1, pitch * 0.7],
            generator.uniform(0.6, 0.9),
            rate,
            overtones,
            np.zeros(1),
        )

    return scatter(count, rate, beats(count, rate, generator, 0.95, 1.2), wail)
