"""What is heard in each clip, letter by letter: the shortlist's second look, for words that coarse vectors do not know.

A query's letters are laid over each clip's reading; the cost is the edit distance between the query and a part of the
reading, since what is heard before and after is free (Sellers, 1980). All clips are compared at once, a bit for each
letter of the query (Myers, 1999). It works on rows, as the coarse index does.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SHORTEST = 3  # letters of a query that are looked for: "a" is found in nine sentences of ten
LONGEST = 64  # letters of a query that are compared: the bits of a word

Rows = NDArray[np.int64]
Word = np.unsignedinteger[Any]


def bar(letters: int) -> float:
    """The edits a letter that a find may have: no more than a few in a hundred readings of other sentences have as few.

    Few letters are found anywhere, hence the square root; fitted on readings of training speech (docs/training-log.md).
    """
    return max(0.9 - 1.4 / math.sqrt(letters), 0.0)


class Readings:
    """The readings of n clips, ASCII letters without spaces; a clip in which nothing is said has an empty one."""

    def __init__(self, lengths: NDArray[np.uint32], letters: NDArray[np.uint8]) -> None:
        self._lengths, self._letters = lengths, letters

    @classmethod
    def build(cls, readings: list[bytes]) -> Self:
        lengths = np.array([len(reading) for reading in readings], np.uint32)
        return cls(lengths, np.frombuffer(b"".join(readings), np.uint8))

    @classmethod
    def open(cls, path: Path, rows: int) -> Self:
        """Of a file whose digests have been checked, with this many rows."""
        lengths = np.fromfile(path, "<u4", rows)
        return cls(lengths, np.fromfile(path, np.uint8, offset=lengths.nbytes))

    def to_bytes(self) -> bytes:
        return self._lengths.astype("<u4").tobytes() + self._letters.tobytes()

    def search(self, letters: str, k: int, allow: Rows | None = None) -> Rows:
        """The at most k rows, among `allow` if given, with the fewest edits to a query's letters; none above `bar`."""
        query = letters[:LONGEST].encode("ascii")
        if not k or len(query) < SHORTEST or not len(self._letters):
            return np.empty(0, np.int64)
        costs = self.edits(query)
        if allow is not None:
            kept = np.full(len(costs), len(query), costs.dtype)
            kept[allow] = costs[allow]
            costs = kept
        best = np.argsort(costs, kind="stable")[:k]
        return best[costs[best] <= bar(len(query)) * len(query)].astype(np.int64)

    def edits(self, query: bytes) -> NDArray[np.int16]:
        """The fewest edits between the query (up to LONGEST letters) and a part of each reading, [n]."""
        word: type[Word] = np.uint32 if len(query) <= 32 else np.uint64
        one, last = word(1), word(len(query) - 1)
        places: NDArray[Word] = np.zeros(256, word)  # of each letter in the query, a bit each
        for place, letter in enumerate(query):
            places[letter] |= word(1 << place)
        # Where a column's cost grows and where it falls by one, a bit each.
        up: NDArray[Word] = np.full(len(self._lengths), np.iinfo(word).max, word)
        down = np.zeros_like(up)
        cost = np.full(len(self._lengths), len(query), np.int16)
        fewest = cost.copy()
        for column in self._columns:  # the next letter of each reading that has one
            n = len(column)
            same, plus, minus = places[column], up[:n], down[:n]
            vertical = same | minus
            diagonal = (((same & plus) + plus) ^ plus) | same
            grows, falls = minus | ~(diagonal | plus), plus & diagonal
            cost[:n] += ((grows >> last) & one).astype(np.int16) - ((falls >> last) & one).astype(np.int16)
            grows, falls = grows << one, falls << one
            up[:n], down[:n] = falls | ~(vertical | grows), grows & vertical
            np.minimum(fewest[:n], cost[:n], out=fewest[:n])
        found = np.empty_like(fewest)
        found[self._longest_first] = fewest
        return found

    @cached_property
    def _longest_first(self) -> Rows:
        return np.argsort(-self._lengths.astype(np.int64), kind="stable").astype(np.int64)

    @cached_property
    def _columns(self) -> list[NDArray[np.uint8]]:
        """The first letters of all readings, longest first, then the second ones of those that have two, and so on."""
        starts = (np.cumsum(self._lengths) - self._lengths).astype(np.int64)[self._longest_first]
        lengths = self._lengths.astype(np.int64)
        having = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(lengths.max(initial=0)), side="right")
        return [self._letters[starts[:n] + place] for place, n in enumerate(having.tolist())]
