"""From a draw of examples to the tensors of a step, made ahead by one thread while the step before is computed.

Every choice (which text, which window, which change) comes from a generator of its own, seeded by the run's seed and
the example's place in its epoch: no batch depends on what was made before it.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data import augment
from model.data.batches import BatchSampler, Draw
from model.data.examples import Example, Source, views_of
from model.data.features import FeatureStore
from model.data.items import ClipCache
from model.data.manifest import TimedWord, normalised
from model.training.batch import Sense, TrainBatch

SEEN, HEARD = frozenset({"seen"}), frozenset({"said", "heard"})  # the kinds of text that one sense can answer
MAIN_TEXTS = 0.75  # how often an example is asked for by its own queries rather than by any kind of text


@dataclass(frozen=True)
class Choice:
    """What one step takes of one example."""

    example: Example
    rng: np.random.Generator
    text: str
    clip: int


class Step(NamedTuple):
    """A batch, and where the sampler stands once it was used."""

    batch: TrainBatch
    source: str
    after: dict[str, Any]


class BatchMaker(Protocol):
    """Makes the batches of sources whose examples are put together or changed."""

    def batch(self, draw: Draw, source: Source) -> TrainBatch: ...


class Feed:
    """Makes the batches of a run. `features` replaces pixels where the trunk is frozen, `makers` serve their forms."""

    def __init__(
        self,
        sources: Sequence[Source],
        cache: ClipCache,
        seed: int,
        *,
        features: FeatureStore | None = None,
        views: int = 1,
        change: bool = True,
        captions: int = 1,
        makers: Mapping[str, BatchMaker] | None = None,
    ) -> None:
        self.sources, self.cache, self.seed = sources, cache, seed
        self.features, self.views, self.change, self.captions = features, views, change, captions
        self.makers = makers or {}

    def batch(self, draw: Draw) -> TrainBatch:
        """The tensors of a draw."""
        source = self.sources[draw.source]
        if maker := self.makers.get(source.form):
            return maker.batch(draw, source)
        choices = [self._choose(source.examples[row], draw, row) for row in draw.rows]
        waves, timings = (None, None) if source.form == "still" else self._sounds(choices)
        asked = choices if source.form != "still" else [more for choice in choices for more in self._captions(choice)]
        truth = positives(asked, choices)
        return TrainBatch(
            texts=[choice.text for choice in asked],
            positives=truth,
            frames=None if source.form == "sound" or self.features is not None else self._frames(choices),
            video_features=None if source.form == "sound" or self.features is None else self._maps(choices),
            waveforms=waves,
            transcripts=None if waves is None else [_transcript(choice.example) for choice in choices],
            timings=timings,
            said=None if waves is None else [_said(choice) for choice in asked],
            seen=Sense(truth, torch.tensor([_asks(choice, SEEN) for choice in asked])),
            heard=Sense(truth, torch.tensor([_asks(choice, HEARD) for choice in asked])),
        )

    def steps(self, sampler: BatchSampler, ahead: int = 2) -> Iterator[Step]:
        """Batches without end, `ahead` of them in the making."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
            pending: deque[tuple[Draw, dict[str, Any], Future[TrainBatch]]] = deque()
            while True:
                while len(pending) < max(ahead, 1):
                    draw = sampler.next()
                    pending.append((draw, sampler.state(), thread.submit(self.batch, draw)))
                draw, after, future = pending.popleft()
                yield Step(future.result(), self.sources[draw.source].name, after)

    def _choose(self, example: Example, draw: Draw, row: int) -> Choice:
        rng = np.random.default_rng([self.seed, 3, draw.source, draw.epoch, row])
        groups = [group for group in example.item.parts.values() if group] or [example.texts]
        group = groups[int(rng.integers(len(groups)))]  # kinds of text count alike, however many each has
        if example.item.texts and rng.random() < MAIN_TEXTS:
            group = example.item.texts
        return Choice(example, rng, group[int(rng.integers(len(group)))], int(rng.integers(len(example.spans))))

    def _captions(self, choice: Choice) -> list[Choice]:
        """A photograph with several of its texts, since another text costs far less than another photograph."""
        others = [text for text in choice.example.texts if text != choice.text]
        places = choice.rng.permutation(len(others))[: self.captions - 1]
        return [choice, *(replace(choice, text=others[place]) for place in places)]

    def _frames(self, choices: Sequence[Choice]) -> Tensor:
        """uint8 [C, T, 3, S, S]."""
        made = [self._pixels(choice) for choice in choices]
        return torch.from_numpy(np.ascontiguousarray(np.stack(made).transpose(0, 1, 4, 2, 3)))

    def _pixels(self, choice: Choice) -> NDArray[np.uint8]:
        example = choice.example
        frames = self.cache.clip(example.item, choice.clip, example.spans[choice.clip]).frames
        if frames is None:
            raise RuntimeError(f"{example.item.name} had pictures when it was decoded first")
        return augment.pictures(frames, choice.rng, mirror=example.mirror) if self.change else frames

    def _maps(self, choices: Sequence[Choice]) -> list[Tensor]:
        """The trunk's maps, each [C, T, channels, rows, columns], of one view of each clip."""
        if self.features is None:
            raise RuntimeError("there are no kept features")
        keys = []
        for choice in choices:
            views = views_of(choice.example, self.views) if self.change else 1
            keys.append(choice.example.feature_key(choice.clip, int(choice.rng.integers(views))))
        return self.features.get(keys)

    def _sounds(self, choices: Sequence[Choice]) -> tuple[list[Tensor] | None, list[list[TimedWord]] | None]:
        """The sounds, each float [samples], and when their words are said; None when no clip has any."""
        waves = []
        for choice in choices:
            example = choice.example
            samples = self.cache.sound(example.item, choice.clip, example.spans[choice.clip])
            waves.append((np.zeros(0, np.int16) if samples is None else samples).astype(np.float32) / 32768.0)
        if not any(len(wave) for wave in waves):
            return None, None
        lengths = [max(len(wave), 1) for wave in waves]
        if self.change:
            others = [wave for wave in waves if len(wave)]
            waves = [augment.sound(wave, choice.rng, others) for wave, choice in zip(waves, choices, strict=True)]
        timings = [
            _timings(choice.example, len(wave) / length)  # another speed is another length
            for choice, wave, length in zip(choices, waves, lengths, strict=True)
        ]
        return [torch.from_numpy(np.ascontiguousarray(wave, np.float32)) for wave in waves], timings


def positives(asked: Sequence[Choice], clips: Sequence[Choice]) -> Tensor:
    """Bool [B, C]: clip c has text b among its own, or is of the same video or relevance key as text b's clip."""
    shown = [(clip.example.item.content, clip.example.item.relevance_key, clip.example.known) for clip in clips]
    truth = []  # a list: to set a tensor's cells one by one takes a second for 512 texts and clips
    for query in asked:
        text, own = normalised(query.text), query.example.item
        content, of_key = own.content, own.relevance_key
        truth.append(
            [text in known or video == content or (key is not None and key == of_key) for video, key, known in shown]
        )
    return torch.tensor(truth, dtype=torch.bool).view(len(asked), len(clips))


def _asks(choice: Choice, kinds: frozenset[str]) -> bool:
    """Whether a text is of one of these kinds alone, or of a kind that the manifest does not tell."""
    named = {name for name, texts in choice.example.item.parts.items() if choice.text in texts}
    return not named or bool(named & kinds)


def _transcript(example: Example) -> str | None:
    """What is said in a clip; of an item cut into several clips nobody knows which words are in which."""
    return example.item.spoken() if len(example.spans) == 1 else None


def _timings(example: Example, stretched: float) -> list[TimedWord]:
    """When the words of a clip are said, as far as its manifest says so of the whole file."""
    if len(example.spans) != 1 or example.item.start_s:
        return []
    return [TimedWord(said.word, stretched * said.start_s, stretched * said.end_s) for said in example.item.words]


def _said(choice: Choice) -> tuple[str, ...] | None:
    """What of a text is said: the sentence of its item, where the text has it."""
    sentence = choice.example.item.spoken()
    return (sentence,) if sentence and normalised(sentence) in normalised(choice.text) else None
