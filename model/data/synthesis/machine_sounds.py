"""Synthesised sounds of vehicles, signals and people at work."""

import numpy as np

from model.data.synthesis.tones import beats, glide, hiss, ring, scatter, seconds, swell, thud


def engine(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(45, 90) * (
        1 + 0.12 * np.sin(2 * np.pi * generator.uniform(0.1, 0.3) * seconds(count, rate))
    )
    overtones = {partial: 1 / partial**0.7 for partial in range(1, 14)}
    return glide(pitch, rate, overtones) + 0.5 * hiss(count, rate, generator, 80, 1200)


def chainsaw(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(110, 160) * (1 + 0.2 * np.sign(np.sin(2 * np.pi * 0.7 * seconds(count, rate))))
    return np.asarray(
        glide(pitch, rate, {partial: 1 / partial**0.4 for partial in range(1, 20)})
        + hiss(count, rate, generator, 1500, 6000)
    )


def helicopter(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    chop = np.maximum(0, np.sin(2 * np.pi * generator.uniform(10, 16) * seconds(count, rate))) ** 3
    return hiss(count, rate, generator, 40, 1400) * (0.15 + chop) + 0.1 * hiss(count, rate, generator, 2000, 5000)


def siren(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    turn = np.sin(2 * np.pi * generator.uniform(0.3, 1.2) * seconds(count, rate))
    wave = np.sign(turn) if generator.random() < 0.4 else turn
    return glide(generator.uniform(700, 900) * (1 + 0.32 * wave), rate, {1: 1, 2: 0.4, 3: 0.3})


def car_horn(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(330, 460)

    def honk(_: int) -> np.ndarray:
        length = int(rate * generator.uniform(0.25, 0.6))
        tone = {1: 1.0, 2: 0.7, 3: 0.6, 5: 0.3}
        both = glide(np.full(length, pitch), rate, tone) + glide(np.full(length, pitch * 1.26), rate, tone)
        return np.asarray(both * swell(length, 0.03, 0.05))

    return scatter(count, rate, beats(count, rate, generator, 0.7, 1.2), honk)


def train_whistle(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(300, 380)
    chord = np.sum(
        [glide(np.full(count, pitch * ratio), rate, {1: 1, 2: 0.4}) for ratio in (1, 1.19, 1.5, 1.78)], axis=0
    )
    rhythm = np.maximum(0, np.sin(2 * np.pi * 2.2 * seconds(count, rate))) ** 4
    blow = np.sin(2 * np.pi * 0.45 * seconds(count, rate)) > -0.2
    return np.asarray(
        chord * np.convolve(blow, np.ones(600) / 600, "same") + 2 * rhythm * hiss(count, rate, generator, 200, 3000)
    )


def phone(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    moments, pitch = seconds(count, rate), generator.uniform(900, 1500)
    trill = np.where(np.sin(2 * np.pi * 14 * moments) > 0, pitch, pitch * 1.25)
    return np.asarray(glide(trill, rate, {1: 1, 3: 0.2}) * (np.mod(moments, 1.4) < 0.85))


def alarm(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    moments = seconds(count, rate)
    tone = glide(np.full(count, generator.uniform(1800, 2600)), rate, {1: 1, 3: 0.3})
    return np.asarray(tone * (np.mod(moments, 0.6) < 0.4) * (np.mod(moments, 0.1) < 0.055))


def whistle(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(2200, 2900) * (1 + 0.03 * np.sin(2 * np.pi * 28 * seconds(count, rate)))
    return np.asarray(
        (glide(pitch, rate, {1: 1, 2: 0.2}) + 0.3 * hiss(count, rate, generator, 2000, 6000))
        * (np.mod(seconds(count, rate), 1.1) < 0.7)
    )


def knock(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch, group = generator.uniform(140, 220), generator.integers(3, 5)
    starts = np.concatenate([first + 0.2 * np.arange(group) for first in np.arange(0.05, count / rate, 1.5)])
    return scatter(count, rate, starts, lambda _: thud(0.14, pitch, rate, generator, 1.6))


def footsteps(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    return scatter(
        count, rate, beats(count, rate, generator, 0.42, 0.62), lambda _: thud(0.1, 95, rate, generator, 2.2)
    )


def clock(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    pitch = generator.uniform(1800, 3200)
    tick = [ring(pitch * ratio, int(rate * 0.05), rate, 90, (1, 2.3, 3.1)) for ratio in (1, 0.8)]
    return scatter(count, rate, np.arange(0.05, count / rate, 0.5), lambda index: tick[index % 2])


def clap(count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    starts = np.sort(generator.uniform(0, count / rate, int(count / rate * 70)))
    length = int(rate * 0.03)
    return scatter(
        count,
        rate,
        starts,
        lambda _: (
            generator.uniform(0.2, 1) * hiss(length, rate, generator, 700, 4500) * np.exp(-120 * seconds(length, rate))
        ),
    )
