"""Readings: the fewest edits between a query's letters and a part of what is heard, in all clips at once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.readings import LONGEST, Readings

few_letters = st.text("abc", max_size=30)
many = settings(max_examples=300, deadline=None, derandomize=True, database=None)
HEARD = ["themitingmofdtotusday", "", "adogbarks", "themeetingismoved", "x" * 90, "rain"]


def built(readings: list[str]) -> Readings:
    return Readings.build([reading.encode() for reading in readings])


def slow_edits(query: str, heard: str) -> int:
    """Sellers' columns, cell by cell."""
    column = list(range(len(query) + 1))
    fewest = column[-1]
    for letter in heard:
        left_above, column[0] = column[0], 0
        for place, wanted in enumerate(query, 1):
            best = min(left_above + (letter != wanted), column[place] + 1, column[place - 1] + 1)
            left_above, column[place] = column[place], best
        fewest = min(fewest, column[-1])
    return fewest


@many
@given(st.text("abc", min_size=1, max_size=LONGEST), st.lists(few_letters, max_size=6))
def test_edits_are_those_of_the_slow_twin(query: str, readings: list[str]) -> None:
    assert built(readings).edits(query.encode()).tolist() == [slow_edits(query, heard) for heard in readings]


def test_the_clip_that_says_it_comes_first_however_misheard() -> None:
    assert built(HEARD).search("themeetingmovedtotuesday", 3).tolist() == [0, 3]
    assert built(HEARD).search("dogbark", 1).tolist() == [2]
    assert built(HEARD).search("jazzquizjukeboxq", 6).tolist() == [], "what is hardly heard is not listed"


def test_only_what_is_allowed_is_found() -> None:
    allowed = np.array([1, 3, 4], np.int64)
    assert built(HEARD).search("themeetingmovedtotuesday", 3, allowed).tolist() == [3]
    assert built(HEARD).search("dogbark", 3, np.empty(0, np.int64)).tolist() == []


def test_of_a_long_query_the_first_letters_are_compared() -> None:
    assert built(HEARD).search("x" * 200, 2).tolist() == [4]


@pytest.mark.parametrize("readings", [[], ["", ""]])
def test_nothing_heard_or_asked_finds_nothing(readings: list[str]) -> None:
    assert built(readings).search("dog", 5).tolist() == []
    assert built(HEARD).search("", 5).tolist() == []


@pytest.mark.parametrize("letters", ["a", "he"])
def test_letters_that_any_sentence_has_find_nothing(letters: str) -> None:
    assert (built(HEARD).edits(letters.encode()) == 0).any()
    assert built(HEARD).search(letters, 5).tolist() == []


@pytest.mark.parametrize("readings", [HEARD, [], ["", ""]])
def test_a_file_gives_back_what_was_written(tmp_path: Path, readings: list[str]) -> None:
    (tmp_path / "readings.bin").write_bytes(built(readings).to_bytes())
    again = Readings.open(tmp_path / "readings.bin", len(readings))
    assert again.to_bytes() == built(readings).to_bytes()
    assert again.edits(b"meeting").tolist() == built(readings).edits(b"meeting").tolist()
