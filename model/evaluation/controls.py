"""Controls: the same evaluation with the sound taken away, exchanged, or nothing but its length known.

What a control still finds, the sound did not find: it was the picture, the length of the file, or luck.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.containers import MediaError
from model.data.items import look
from model.data.manifest import Item, normalised
from model.evaluation.gallery import EncodedGallery
from model.evaluation.queries import Gallery, Query
from model.tokens import TokenSet

Control = Literal["none", "shuffled", "removed", "duration"]
LETTERS_A_SECOND = 14.0  # of spoken English, blanks included

Float32 = NDArray[np.float32]


def without_sound(clip: TokenSet) -> TokenSet:
    return replace(
        clip,
        audio=clip.audio[:0],
        audio_scale=clip.audio_scale[:0],
        audio_times=clip.audio_times[:0],
        chance=math.nan,
    )


def with_sound_of(clip: TokenSet, donor: TokenSet) -> TokenSet:
    return replace(
        clip,
        audio=donor.audio,
        audio_scale=donor.audio_scale,
        audio_times=donor.audio_times,
        chance=donor.chance,
    )


def sound_removed(encoded: EncodedGallery) -> EncodedGallery:
    """The gallery as if nothing had sound."""
    return replace(encoded, clips=[without_sound(clip) for clip in encoded.clips])


def sound_shuffled(items: Sequence[Item], encoded: EncodedGallery, gallery: Gallery, seed: int) -> EncodedGallery:
    """Every item with the sound of another one of its gallery, none with its own; alone in its gallery it is silent."""
    clips = list(encoded.clips)
    for numbers in _galleries(items, gallery):
        sounding = [number for number in numbers if any(len(clips[row].audio) for row in encoded.clips_of([number]))]
        for number, donor in _deranged(sounding, seed).items():
            given = [] if donor == number else [encoded.clips[row] for row in encoded.clips_of([donor])]
            for place, row in enumerate(encoded.clips_of([number])):
                clip = clips[row]
                clips[row] = with_sound_of(clip, given[place % len(given)]) if given else without_sound(clip)
    return replace(encoded, clips=clips)


def _galleries(items: Sequence[Item], gallery: Gallery) -> list[list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        found[item.group if gallery == "group" else ""].append(number)
    return list(found.values())


def _deranged(numbers: Sequence[int], seed: int) -> dict[int, int]:
    """A random cycle through all numbers: nothing stays where it was."""
    order = list(numbers)
    random.Random(f"shuffled sound {seed} {len(order)}").shuffle(order)
    return dict(zip(order, order[1:] + order[:1], strict=True))


def duration_scores(items: Sequence[Item], queries: Sequence[Query]) -> list[Float32]:
    """For each query a score of every item, [items]: the nearer its length to the time that saying the query takes."""
    lengths = np.asarray([_duration_s(item) for item in items], np.float32)
    return [-np.abs(lengths - len(normalised(query.text)) / LETTERS_A_SECOND) for query in queries]


def _duration_s(item: Item) -> float:
    """Infinite, and so last, where the item cannot be opened."""
    try:
        spans = look(item).spans
    except MediaError:
        return float("inf")
    return spans[-1][1] - spans[0][0]
