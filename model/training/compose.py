"""Films put together while training: photographs one after the other, under speech, sounds, or two in a row.

The few films that are made beforehand are soon learned by heart. What is put together here never repeats, and it is put
together so that nothing but the right part of a clip can answer: a batch is made of grids of clips, two pictures times
two sounds, or six times four sentences, and every second picture or sound may be the one before in reverse order.
Whoever only looks, only listens, or does not mind the order, finds several clips where one is right.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.data import augment
from model.data.augment import Waveform
from model.data.batches import Draw
from model.data.examples import Example, Source, views_of, weight_of
from model.data.features import FeatureStore
from model.data.items import ClipCache
from model.data.manifest import normalised
from model.media import WINDOW_S
from model.sound_format import SAMPLE_RATE
from model.training.asked import Part, Shown, ask, ask_wrong, of_sense, said_key, silence, truth
from model.training.batch import TrainBatch
from model.training.options import GRID, SQUARE, TrainingError

COMPOSED: Final = "composed"  # the form of a source of such films
LONGEST: Final = round(WINDOW_S * SAMPLE_RATE)  # samples of a window of the index
OWN_KIND: Final = 64  # photographs of a source from which on its films are composed apart
# How often; see where each is used. Half the frames cost half and teach as much, but those of the index must be known.
FULL, STILL, CUT, SPOKEN, TWO_SOUNDS, BEHIND, CHANGED, IN_LARGE = 0.3, 0.5, 0.4, 0.5, 0.35, 0.5, 0.3, 0.5
LARGE = (6, 4)  # pictures times sounds, as SQUARE


class Composer:
    """Makes batches of composed films out of photographs' kept maps, utterances and sounds."""

    def __init__(
        self, sources: Sequence[Source], store: FeatureStore, cache: ClipCache, *, seed: int, frames: int, views: int
    ) -> None:
        """`sources` are those of the run; sounds are drawn by their weights. See `composed` for what they must hold."""
        self.store, self.cache, self.seed, self.frames, self.views = store, cache, seed, frames, views
        sounds = [(source, _spoken(source)) for source in sources if source.form == "sound"]
        self.speech = [(source.weight, said) for source, said in sounds if said]
        self.effects = [(source.weight, source.examples) for source, said in sounds if not said]

    def batch(self, draw: Draw, source: Source) -> TrainBatch:
        """One clip for each row of the draw, out of the source's photographs, rounded down to whole grids."""
        rng = np.random.default_rng([self.seed, 5, draw.step, draw.rows[0]])
        frames = self.frames if rng.random() < FULL else max(self.frames // 2, 2)
        clips: list[Shown] = []
        photographs = [source.examples[row] for row in draw.rows]
        large = bool(self.speech) and len(photographs) >= LARGE[0] * LARGE[1] and rng.random() < IN_LARGE
        wide, high = LARGE if large else SQUARE
        size = wide * high
        for start in range(0, len(photographs) - size + 1, size):
            pairs = [photographs[place : place + 2] for place in range(start, start + wide, 2)]
            pictures = [part for pair in pairs for part in self._pictures(pair, frames, rng)]
            spoken = bool(self.speech) and (large or not self.effects or rng.random() < SPOKEN)
            sounds = [part for _ in range(0, high, 2) for part in self._sounds(spoken, rng)]
            clips += [(seen, heard) for seen in pictures for heard in sounds]
        asked = [ask(*clip, rng) for clip in clips]
        wrong = [ask_wrong(*clip, clips, rng) for clip in clips if rng.random() < CHANGED]
        asked += [query for query in wrong if query is not None]
        return TrainBatch(
            texts=[query.text for query in asked],
            positives=truth(asked, clips),
            video_features=self._stacked([seen for seen, _ in clips]),
            waveforms=self._waves([heard for _, heard in clips], rng),
            transcripts=[" ".join(heard.texts) if _is_whole(heard) and heard.said else None for _, heard in clips],
            said=[query.said for query in asked],
            seen=of_sense("seen", asked, clips),
            heard=of_sense("heard", asked, clips),
        )

    # ---- pictures ----------------------------------------------------------------------------------------------------

    def _pictures(self, photographs: Sequence[Example], frames: int, rng: np.random.Generator) -> tuple[Part, Part]:
        """Two picture parts of so many frames: two photographs, or two in both orders."""
        first, last = photographs
        if rng.random() < CUT:
            least = max(frames // 4, 1)
            cut = int(rng.integers(least, frames - least + 1))
            lengths = (cut, frames - cut)
            return self._film([first, last], lengths, rng), self._film([last, first], lengths[::-1], rng)
        return self._film([first], (frames,), rng), self._film([last], (frames,), rng)

    def _film(self, photographs: Sequence[Example], lengths: Sequence[int], rng: np.random.Generator) -> Part:
        """The photographs one after the other, each for its number of frames; the camera moves now and then, or not."""
        frames: list[list[Tensor]] = []
        for photograph, length in zip(photographs, lengths, strict=True):
            views = views_of(photograph, self.views)
            chosen = rng.integers(views, size=length)
            if rng.random() < STILL:
                chosen[:] = chosen[0]
            maps = self.store.get([photograph.feature_key(0, int(view)) for view in chosen])
            frames.append([level[:, 0] for level in maps])
        texts = tuple(photograph.texts[int(rng.integers(len(photograph.texts)))] for photograph in photographs)
        known = tuple(photograph.known for photograph in photographs)
        levels = [torch.cat(parts) for parts in zip(*frames, strict=True)]
        return Part(tuple(map(normalised, texts)), texts, known, maps=levels)

    @staticmethod
    def _stacked(pictures: Sequence[Part]) -> list[Tensor]:
        return [torch.stack(level) for level in zip(*(part.maps for part in pictures), strict=True)]

    # ---- sounds ------------------------------------------------------------------------------------------------------

    def _sounds(self, spoken: bool, rng: np.random.Generator) -> tuple[Part, Part]:
        """Two sentences or two sounds, or two of either in both orders."""
        first, last = self._sound(rng, spoken), self._sound(rng, spoken)
        gap = np.zeros(int(SAMPLE_RATE * rng.uniform(0.1, 0.6)), np.float32)
        fits = not spoken or len(first.wave) + len(gap) + len(last.wave) <= LONGEST
        if rng.random() < TWO_SOUNDS and first.keys != last.keys and fits:
            return _after(first, last, gap), _after(last, first, gap)
        return self._with_background(first, rng), self._with_background(last, rng)

    def _sound(self, rng: np.random.Generator, spoken: bool) -> Part:
        sources = self.speech if spoken else self.effects
        weights = np.asarray([weight for weight, _ in sources])
        _, source = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
        example = source[int(rng.integers(len(source)))]
        samples = self.cache.sound(example.item, 0, example.spans[0])
        wave = silence() if samples is None else samples.astype(np.float32) / 32768.0
        sentence = example.item.spoken()
        if spoken and sentence is not None:
            return Part((said_key(sentence),), (sentence,), wave=wave, said=True)
        text = example.texts[int(rng.integers(len(example.texts)))]
        return Part((f"sounds {example.item.relevance_key or normalised(text)}",), (text,), wave=wave)

    def _with_background(self, part: Part, rng: np.random.Generator) -> Part:
        """Some speech with a sound behind it, 20 to -5 dB below; what is well heard may be asked for."""
        if not part.said or not self.effects or rng.random() > BEHIND or not len(part.wave):
            return part
        sound, level = self._sound(rng, spoken=False), float(rng.uniform(-5.0, 20.0))
        if not len(sound.wave):
            return part
        noise = np.resize(sound.wave, len(part.wave))
        wave = augment.mix(part.wave, noise, level)
        audible = level < 6.0
        return Part(
            part.keys, part.texts, wave=wave, said=True,
            behind=sound.keys[0] if audible else "", behind_text=sound.texts[0] if audible else "",
        )  # fmt: skip

    @staticmethod
    def _waves(sounds: Sequence[Part], rng: np.random.Generator) -> list[Tensor]:
        waves = [part.wave[:LONGEST] for part in sounds]
        voices = [wave for part, wave in zip(sounds, waves, strict=True) if part.said and len(wave)]
        changed = [augment.sound(wave, rng, voices) for wave in waves]
        return [torch.from_numpy(np.ascontiguousarray(wave, np.float32)) for wave in changed]


def _is_whole(sound: Part) -> bool:
    """Whether all of it is heard: what is cut off is not asked for letter by letter."""
    return len(sound.wave) <= LONGEST


def composed(sources: Sequence[Source], share: float, world: int = 1) -> list[Source]:
    """The sources of films composed out of others, drawn for this share of steps together.

    There is one for each source of photographs, drawn alike whatever its weight, so that the pictures of a batch are of
    one kind and hard to tell apart; where none has many, one for all together. Raises TrainingError without parts, of
    which each of `world` processes needs a square.
    """
    photographs = [source for source in sources if source.form == "still"]
    stills = [source for source in photographs if len(source.examples) >= max(OWN_KIND, GRID * world)]
    if not stills:
        together = [example for source in photographs for example in source.examples]
        stills = [Source("photographs", "still", 1.0, together)] if len(together) >= GRID * world else []
    if not stills or not any(source.form == "sound" for source in sources):
        raise TrainingError(
            "films are composed of photographs and sounds, and --data has not both.",
            "Add such a folder, or leave out --compose.",
        )
    weight = weight_of(share, sources) / len(stills)
    return [Source(f"{COMPOSED} of {source.name}", COMPOSED, weight, source.examples) for source in stills]


def _spoken(source: Source) -> list[Example]:
    return [example for example in source.examples if len(example.spans) == 1 and example.item.spoken()]


def _after(first: Part, last: Part, gap: Waveform) -> Part:
    """Two parts in a row; of sounds that are long only so much that both are heard within a clip."""
    most = None if first.said else LONGEST // 2 - len(gap)
    wave = np.concatenate([first.wave[:most], gap, last.wave[:most]])
    return Part(first.keys + last.keys, first.texts + last.texts, wave=wave, said=first.said)
