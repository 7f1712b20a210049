"""The shortlist of `htav evaluate --mode service` is the service's: bounded, spread over items, best first."""

import numpy as np

from app.evaluation import PAGE, SHORTLIST, service_shortlist
from app.shortlist import PER_VIDEO
from model.coarse import Offered, Wanted


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_large_gallery_is_cut_to_the_best_and_no_item_floods_it() -> None:
    rng = np.random.default_rng(3)
    clips, item_of = unit(rng, 600, 24), np.repeat(np.arange(60), 10)
    queries = unit(rng, 5, 24)
    offered, wanted = Offered(clips, [""] * 600), [Wanted(vector, "dog") for vector in queries]
    everything = [np.arange(600)] * 5
    for vector, rows in zip(queries, service_shortlist(offered, item_of, wanted, everything), strict=True):
        assert len(rows) == len(set(rows.tolist())) == SHORTLIST
        assert np.bincount(item_of[rows]).max() <= PER_VIDEO
        assert len(np.unique(item_of[rows])) >= PAGE
        assert rows[0] == (clips.astype(np.float16).astype(np.float32) @ vector).argmax()


def test_only_what_is_allowed_is_listed() -> None:
    rng = np.random.default_rng(4)
    clips, item_of = unit(rng, 50, 24), np.arange(50)
    allowed = [np.arange(10, 20), np.asarray([7])]
    wanted = [Wanted(vector, "dog") for vector in unit(rng, 2, 24)]
    first, second = service_shortlist(Offered(clips, ["dog"] * 50), item_of, wanted, allowed)
    assert sorted(first.tolist()) == list(range(10, 20))
    assert second.tolist() == [7]


def test_what_is_said_is_listed_although_its_vector_is_far() -> None:
    rng = np.random.default_rng(5)
    clips, item_of, vector = unit(rng, 600, 24), np.arange(600), unit(rng, 24)
    farthest = int((clips @ vector).argmin())
    readings = [""] * 600
    readings[farthest] = "andthemeetinkmuvedtotusday"
    offered = Offered(clips, readings)
    for letters, listed in (("themeetingmoved", True), ("", False), ("twodogsrun", False)):
        (rows,) = service_shortlist(offered, item_of, [Wanted(vector, letters)], [np.arange(600)])
        assert len(rows) == SHORTLIST and (farthest in rows) == listed


def test_a_long_video_that_says_it_everywhere_leaves_room_for_others() -> None:
    rng = np.random.default_rng(6)
    clips, vector = unit(rng, 600, 24), unit(rng, 24)
    order = np.argsort(clips @ vector, kind="stable")
    item_of = np.arange(600)
    item_of[order[:80]] = 600  # one lecture, far from the query as another video is
    readings = [""] * 600
    for row in (*order[:80], order[80]):
        readings[row] = "themeetingmoved"
    (rows,) = service_shortlist(
        Offered(clips, readings), item_of, [Wanted(vector, "themeetingmoved")], [np.arange(600)]
    )
    assert np.bincount(item_of[rows])[600] == PER_VIDEO and order[80] in rows
