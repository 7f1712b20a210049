"""How training asks for what films show and let hear: in order, together, or with one word wrong."""

from collections.abc import Sequence
from typing import Final

import numpy as np

IN_ORDER: Final = (
    "first {0}, then {1}",
    "first {0}, then {1}",
    "{0}, then {1}",
    "{0} and then {1}",
    "{0}, followed by {1}",
    "first {0}, and after that {1}",
)
SAYING: Final = (
    "{0} says {1}",
    "{0} and somebody says {1}",
    "{0} while somebody says {1}",
    "{0} saying {1}",
    "{0}, and a voice says {1}",
    "{0}; {1}",
)
SOUNDING: Final = (
    "{0} and {1}",
    "{0} while {1} is heard",
    "{0} with the sound of {1}",
    "{0}, and one hears {1}",
    "{1} is heard and {0} is seen",
)
SHORTEST: Final = 4  # letters of a word that is exchanged; shorter ones seldom carry a meaning
LENGTHS_APART: Final = 2


class Wording:
    """Draws of templates and words."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def one(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]


def joined_in_order(first: str, last: str, wording: Wording) -> str:
    """A query for two things, one after the other."""
    return wording.one(IN_ORDER).format(_clause(first), _clause(last))


def seen_and_heard(seen: str, heard: str, said: bool, wording: Wording) -> str:
    """A query for pictures and sound together."""
    return wording.one(SAYING if said else SOUNDING).format(_clause(seen), _clause(heard))


def one_word_changed(sentence: str, others: Sequence[str], wording: Wording) -> str | None:
    """The sentence with one word replaced by one of about its length out of the other sentences; None if none fits."""
    words = sentence.split()
    places = [place for place, word in enumerate(words) if len(word) >= SHORTEST and word.isalpha()]
    if not places:
        return None
    place = places[int(wording.rng.integers(len(places)))]
    known = {word.lower() for word in words}
    fitting = sorted(
        {
            word.lower()
            for other in others
            for word in other.split()
            if word.isalpha() and abs(len(word) - len(words[place])) <= LENGTHS_APART and len(word) >= SHORTEST
        }
        - known
    )
    return " ".join([*words[:place], wording.one(fitting), *words[place + 1 :]]) if fitting else None


def _clause(text: str) -> str:
    """A sentence as part of another: without its full stop and capital."""
    text = text.strip().rstrip(".").rstrip()
    return text[:1].lower() + text[1:]
