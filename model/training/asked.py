"""What is asked of composed films, and which of them answers: derived from what was put into each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.data.augment import Waveform
from model.data.manifest import normalised
from model.training.batch import Sense
from model.training.wording import joined_in_order, one_word_changed, seen_and_heard

SENSES: Final = ("seen", "heard")


def silence() -> Waveform:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Part:
    """Pictures or sounds of a clip, one or two of them in order, with what is asked for each."""

    keys: tuple[str, ...]  # what is asked for, for the truth
    texts: tuple[str, ...]
    known: tuple[frozenset[str], ...] = ()  # of each, all keys that are true of it, if it answers more than its own
    maps: Sequence[Tensor] = ()  # of pictures: a level [T, channels, rows, columns]
    wave: Waveform = field(default_factory=silence)
    said: bool = False
    behind: str = ""  # the key of what sounds behind speech
    behind_text: str = ""

    @cached_property
    def facts(self) -> frozenset[str]:
        """Each key, every two in order, and what is behind."""
        known = self.known or tuple(frozenset({key}) for key in self.keys)
        both = {in_order(*pair) for pair in product(*known)} if len(known) > 1 else set()
        return frozenset({*both, self.behind}.union(*known) - {""})


Shown = tuple[Part, Part]  # the pictures and the sound of a clip


@dataclass(frozen=True)
class Asked:
    """A query, and what a clip must show and let hear to answer it. A wrong one is only like that: nothing answers."""

    text: str
    seen: str = ""
    heard: str = ""
    said: tuple[str, ...] | None = None  # the pieces of the text that are said; None where that is not known
    wrong: bool = False


def ask(seen: Part, heard: Part, rng: np.random.Generator) -> Asked:
    """One of the queries that a clip answers: what is seen, heard or said, in order, or together."""
    kind = rng.random()
    if kind < 0.3:
        text, key = _one_or_order(seen, rng)
        return Asked(text, seen=key)
    if heard.behind and kind < 0.4:
        return Asked(heard.behind_text, heard=heard.behind)
    said = heard.texts if heard.said else None
    if kind < 0.65:
        text, key = _one_or_order(heard, rng)
        return Asked(text, heard=key, said=said)
    (text_seen, key_seen), (text_heard, key_heard) = _one_of(seen, rng), _one_of(heard, rng)
    return Asked(seen_and_heard(text_seen, text_heard, heard.said, rng), seen=key_seen, heard=key_heard, said=said)


def ask_wrong(seen: Part, heard: Part, clips: Sequence[Shown], rng: np.random.Generator) -> Asked | None:
    """A query that nothing in the batch answers: what is said, or seen, with one word exchanged; None if none fits."""
    part, sense = (heard, "heard") if heard.said and rng.random() < 0.7 else (seen, "seen")
    others = [text for pair in clips for other in pair if other.said == part.said for text in other.texts]
    changed = one_word_changed(part.texts[0], others, rng)
    if changed is None:
        return None
    key = said_key(changed) if sense == "heard" else normalised(changed)
    if any(key in other.facts for pair in clips for other in pair):
        return None  # what is not true of this clip is true of another
    own = part.keys[0]
    return Asked(changed, seen=own if sense == "seen" else "", heard=own if sense == "heard" else "", wrong=True)


def _one_of(part: Part, rng: np.random.Generator) -> tuple[str, str]:
    """A text of the part and the fact that it asks for."""
    place = int(rng.integers(len(part.keys)))
    return part.texts[place], part.keys[place]


def _one_or_order(part: Part, rng: np.random.Generator) -> tuple[str, str]:
    """The same, or both of two in order."""
    if len(part.keys) == 1 or rng.random() < 0.3:
        return _one_of(part, rng)
    return joined_in_order(part.texts[0], part.texts[1], rng), in_order(*part.keys)


def said_key(sentence: str) -> str:
    """The key of a sentence that is said."""
    return f"says {normalised(sentence)}"


def in_order(first: str, last: str) -> str:
    """The key of two in this order."""
    return f"{first} > {last}"


def truth(asked: Sequence[Asked], clips: Sequence[Shown], senses: Sequence[str] = SENSES) -> Tensor:
    """Bool [B, C]: which clip gives the senses what the query asks of them."""
    facts = [{"seen": seen.facts, "heard": heard.facts} for seen, heard in clips]
    rows = [
        [
            not query.wrong and all(not (key := getattr(query, sense)) or key in found[sense] for sense in senses)
            for found in facts
        ]
        for query in asked
    ]
    return torch.tensor(rows, dtype=torch.bool)


def of_sense(sense: str, asked: Sequence[Asked], clips: Sequence[Shown]) -> Sense:
    asks = torch.tensor([bool(getattr(query, sense)) for query in asked])
    return Sense(truth(asked, clips, [sense]), asks)
