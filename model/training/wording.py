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
    "{0} says: {1}",
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


def joined_in_order(first: str, last: str, rng: np.random.Generator) -> str:
    """A query for two things, one after the other."""
    return _one(IN_ORDER, rng).format(_clause(first), _clause(last))


def seen_and_heard(seen: str, heard: str, said: bool, rng: np.random.Generator) -> str:
    """A query for pictures and sound together."""
    return _one(SAYING if said else SOUNDING, rng).format(_clause(seen), _clause(heard))


def one_word_changed(sentence: str, others: Sequence[str], rng: np.random.Generator) -> str | None:
    """The sentence with one word replaced by one of about its length out of the other sentences; None if none fits."""
    words = sentence.split()
    places = [place for place, word in enumerate(words) if len(word) >= SHORTEST and word.isalpha()]
    if not places:
        return None
    place = places[int(rng.integers(len(places)))]
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
    return " ".join([*words[:place], _one(fitting, rng), *words[place + 1 :]]) if fitting else None


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _clause(text: str) -> str:
    """A sentence as part of another: without its full stop and capital."""
    text = text.strip().rstrip(".").rstrip()
    return text[:1].lower() + text[1:]
