"""The noise of the test: several people of other voices who talk on. Training's voices and sentences are others."""

import random
from collections.abc import Sequence

import numpy as np

from model.data.synthesis.noise import level, mix
from model.data.synthesis.speech import Speaker
from model.data.synthesis.voices import Voice
from model.evaluation.testsets.voices import ALL_VOICES, RATE, said

TALKING = 6
SENTENCES_EACH = 8


class Babble:
    """Each of the test's voices with a monologue of its own, of sentences that no test query asks for."""

    def __init__(self, speaker: Speaker, sentences: Sequence[str]) -> None:
        self.monologues: dict[Voice, np.ndarray] = {}
        for number, voice in enumerate(ALL_VOICES):
            own = sentences[number * SENTENCES_EACH : (number + 1) * SENTENCES_EACH]
            speeches = [level(speech.samples) for speech in said(speaker, voice, own)]
            self.monologues[voice] = np.concatenate(speeches).astype(np.float32)

    def over(self, samples: np.ndarray, voice: Voice, snr_db: float, dice: random.Random) -> np.ndarray:
        """Speech of one voice with six others behind it, `snr_db` above them between 50 and 8000 Hz.

        N, = samples.shape
        """
        others = [one for one in self.monologues if one != voice]
        behind = np.zeros(len(samples), np.float32)
        for one in dice.sample(others, TALKING):
            monologue = self.monologues[one]
            start = dice.randrange(len(monologue))
            behind += np.take(monologue, range(start, start + len(samples)), mode="wrap")
        return mix(samples, behind, snr_db, RATE)
