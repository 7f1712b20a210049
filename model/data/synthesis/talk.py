"""Said sentences laid into a sound track: sentences by request, loudness, silence around, noise, true times."""

import random
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from model.data.synthesis.noise import COLOURS, Noise, level, make_noise, mix
from model.data.synthesis.request import Request
from model.data.synthesis.sentences import grammar_sentences, path_sentences
from model.data.synthesis.speech import Speech

CHATTERING = 4
GRAMMAR = "grammar"  # the name of the sentences that need no file


def request_sentences(request: Request) -> Iterator[str]:
    """The sentences a request says, its sources taking turns; each repeated for its sayers."""
    sources = [
        grammar_sentences(request.split, request.seed)
        if name == GRAMMAR
        else path_sentences(Path(name), request.split, request.seed)
        for name in request.sentences or (GRAMMAR,)
    ]
    for sentence in chain.from_iterable(zip(*sources, strict=True)):
        for _ in range(request.sayers):
            yield sentence


def lay(speech: Speech, random_source: random.Random) -> Speech:
    """The speech at an even loudness with a little silence before and after; word times move along."""
    before, after = random_source.uniform(0.1, 0.35), random_source.uniform(0.1, 0.35)
    samples = np.concatenate(
        [
            np.zeros(int(before * speech.rate), np.int16),
            level(speech.samples, random_source.uniform(-25, -19)),
            np.zeros(int(after * speech.rate), np.int16),
        ]
    )
    words = [(word, start + before, end + before) for word, start, end in speech.words]
    return Speech(samples, speech.rate, words, (before, before + speech.duration_s))


class NoiseMixer:
    """Adds the requested noise; babble is made of the sentences that other people said shortly before."""

    def __init__(self, noise: Noise, snr_db: float, seed: str) -> None:
        self.noise, self.snr_db = noise, snr_db
        self.generator = np.random.default_rng(np.frombuffer(seed.encode(), np.uint8))
        self.recent: deque[np.ndarray] = deque(maxlen=CHATTERING)

    def add(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """N, = samples.shape."""
        if self.noise == "none":
            return samples
        name: Noise = COLOURS[int(self.generator.integers(len(COLOURS)))] if self.noise == "mixed" else self.noise
        if name == "babble" and not self.recent:
            name = "pink"
        noise = make_noise(name, len(samples), rate, self.generator, list(self.recent))
        self.recent.append(samples)
        return mix(samples, noise, self.snr_db, rate)
