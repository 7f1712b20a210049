"""Said sentences, and what every speech synthesiser can do; each is a program of its own and never imported.

Their licences differ from ours, eSpeak NG's is GPL-3 (see NOTICE).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import ClassVar, Literal, Self

import av
import numpy as np

from model.errors import HtavError

Engine = Literal["espeak", "flite", "festival"]
USUAL_RATE = 165  # words a minute at which the durations of flite and Festival are the voice's own


class SpeechError(HtavError):
    """Nothing can speak, or a sentence could not be said."""

    code: ClassVar[str] = "speech_unavailable"


@dataclass(frozen=True)
class Utterance:
    """What to say and how."""

    text: str
    voice: str
    rate: int = USUAL_RATE
    pitch: int = 50
    range: int = 50
    engine: Engine = "espeak"


@dataclass(frozen=True)
class Speech:
    """A said sentence: mono samples, when the speaking begins and ends, and each word (if the synthesiser tells)."""

    samples: np.ndarray
    rate: int
    words: list[tuple[str, float, float]] = field(default_factory=list)
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


def resample(samples: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    """int16 mono samples at another rate, by FFmpeg's resampler."""
    if source_rate == rate:
        return samples
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate = source_rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pieces = [piece.to_ndarray()[0] for piece in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(pieces).astype(np.int16)


def trim(samples: np.ndarray, rate: int) -> np.ndarray:
    """int16 mono samples without the silence around them; 30 ms stay on either side."""
    there = np.flatnonzero(np.abs(samples.astype(np.int32)) > 0.02 * np.abs(samples.astype(np.int32)).max(initial=1))
    margin = int(0.03 * rate)
    return samples[max(0, there[0] - margin) : there[-1] + margin] if len(there) else samples


class Synthesiser(ABC):
    """One running engine whose speeches have `rate` samples a second."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def close(self) -> None:
        """End whatever runs."""
        return

    @abstractmethod
    def say_many(self, utterances: Iterable[Utterance]) -> Iterator[Speech]:
        """The speeches in order. Raises SpeechError when a sentence or a voice is not possible."""


# name: the module and its class; imported, and the engine started, when the first utterance asks for it
ENGINES: dict[Engine, tuple[str, str]] = {
    "espeak": ("model.data.synthesis.espeak", "Espeak"),
    "flite": ("model.data.synthesis.flite", "Flite"),
    "festival": ("model.data.synthesis.festival", "Festival"),
}


class Speaker:
    """Says utterances, each by its engine; leaving its context ends the engines."""

    def __init__(self, rate: int = 24000) -> None:
        self.rate = rate
        self.running: dict[Engine, Synthesiser] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for synthesiser in self.running.values():
            synthesiser.close()
        self.running.clear()

    def engine(self, name: Engine) -> Synthesiser:
        """The running engine of that name, started if need be. Raises SpeechError where it is not installed."""
        if name not in self.running:
            module, kind = ENGINES[name]
            self.running[name] = getattr(import_module(module), kind)(self.rate)
        return self.running[name]

    def say(self, utterance: Utterance) -> Speech:
        return next(self.say_many([utterance]))

    def say_many(self, utterances: Iterable[Utterance]) -> Iterator[Speech]:
        """The speeches in order; some are made ahead, so that no engine waits for us."""
        for name, run in groupby(utterances, key=attrgetter("engine")):
            yield from self.engine(name).say_many(run)
