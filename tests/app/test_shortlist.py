"""The shortlist: at most five clips a video, grown until there are enough videos."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.shortlist import PER_VIDEO, pick, shortlist
from indexer.snapshot import ClipRow
from model.coarse import Wanted

VECTOR = np.zeros(3, np.float32)
SILENT = Wanted(VECTOR, "")


class Ranking:
    """A snapshot whose order is given: clip i is of video `owners[i]`, and earlier clips score higher."""

    def __init__(self, owners: Sequence[str], said: Sequence[int] = ()) -> None:
        self.owners = owners
        self.said = np.array(said, np.int64)
        self.clips = len(owners)
        self.asked: list[int] = []

    def search(
        self, vector: object, k: int, allow: NDArray[np.int64] | None = None
    ) -> tuple[object, NDArray[np.int64]]:
        assert vector is VECTOR
        self.asked.append(k)
        ids = np.arange(self.clips) if allow is None else allow
        return -ids[:k].astype(np.float32), ids[:k]

    def heard(self, letters: str, k: int, allow: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        found = self.said if allow is None else self.said[np.isin(self.said, allow)]
        return found[:k] if letters else found[:0]

    def clip_rows(self, ids: NDArray[np.int64]) -> list[ClipRow]:
        return [ClipRow(int(i), self.owners[i], 0.0, 1.0) for i in ids]


def choose(owners: Sequence[str], size: int, videos: int, allow: list[int] | None = None) -> list[ClipRow]:
    allowed = None if allow is None else np.array(allow, np.int64)
    return shortlist(Ranking(owners), SILENT, size=size, videos=videos, allow=allowed)  # type: ignore[arg-type]


def test_a_video_gives_at_most_five_clips() -> None:
    chosen = choose(["long"] * 50 + ["short"] * 3, 100, 2)
    assert Counter(row.video_id for row in chosen) == {"long": PER_VIDEO, "short": 3}


def test_the_order_of_the_index_is_kept() -> None:
    chosen = choose([f"v{i % 7}" for i in range(70)], 20, 5)
    assert [row.clip_id for row in chosen] == sorted(row.clip_id for row in chosen)
    assert len(chosen) == 20


def test_it_grows_until_there_are_enough_videos() -> None:
    owners = [f"v{i // 4}" for i in range(400)]
    chosen = choose(owners, 10, 20)
    assert len({row.video_id for row in chosen}) == 20
    assert len(chosen) == 77, "nothing is taken beyond the twentieth video's first clip"


def test_it_reaches_behind_a_wall_of_one_video() -> None:
    owners = ["wall"] * 5000 + [f"v{i}" for i in range(10)]
    assert len({row.video_id for row in choose(owners, 10, 11)}) == 11


def test_it_never_holds_more_than_500_clips() -> None:
    assert len(choose([f"v{i // 5}" for i in range(3000)], 500, 600)) == 500


def test_one_long_video_is_not_read_to_its_end() -> None:
    ranking = Ranking(["only"] * 20_000)
    chosen = shortlist(ranking, SILENT, size=100, videos=1, allow=None)  # type: ignore[arg-type]
    assert len(chosen) == PER_VIDEO
    assert max(ranking.asked) <= 1600


def test_only_allowed_clips_are_chosen() -> None:
    assert [row.clip_id for row in choose([f"v{i}" for i in range(50)], 10, 10, allow=[3, 7, 9])] == [3, 7, 9]
    assert choose(["a"] * 5, 10, 1, allow=[]) == []


@pytest.mark.parametrize("size", [1, 5, 10])
def test_pick_stops_at_its_size(size: int) -> None:
    rows = [ClipRow(i, f"v{i}", 0, 1) for i in range(30)]
    assert pick(rows, size, 1) == rows[:size]


def test_every_fourth_place_is_for_clips_that_say_the_words() -> None:
    ranking = Ranking([f"v{i}" for i in range(50)], said=[40, 1, 41, 42])
    chosen = shortlist(ranking, Wanted(VECTOR, "dog"), size=12, videos=1, allow=None)  # type: ignore[arg-type]
    assert [row.clip_id for row in chosen] == [0, 1, 2, 40, 3, 4, 5, 6, 7, 8, 41, 9]


def test_the_words_are_looked_for_among_allowed_clips_alone() -> None:
    ranking = Ranking([f"v{i}" for i in range(50)], said=[40, 41])
    allowed = np.array([1, 2, 41], np.int64)
    chosen = shortlist(ranking, Wanted(VECTOR, "dog"), size=8, videos=1, allow=allowed)  # type: ignore[arg-type]
    assert sorted(row.clip_id for row in chosen) == [1, 2, 41]
