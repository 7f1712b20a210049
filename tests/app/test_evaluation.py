"""The shortlist of `htav evaluate --mode service` is the service's: bounded, spread over items, best first."""

import numpy as np

from app.evaluation import PAGE, SHORTLIST, service_shortlist
from app.shortlist import PER_VIDEO


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_large_gallery_is_cut_to_the_best_and_no_item_floods_it() -> None:
    rng = np.random.default_rng(3)
    clips, item_of = unit(rng, 600, 24), np.repeat(np.arange(60), 10)
    queries = unit(rng, 5, 24)
    everything = [np.arange(600)] * 5
    for vector, rows in zip(queries, service_shortlist(clips, item_of, queries, everything), strict=True):
        assert len(rows) == len(set(rows.tolist())) == SHORTLIST
        assert np.bincount(item_of[rows]).max() <= PER_VIDEO
        assert len(np.unique(item_of[rows])) >= PAGE
        assert rows[0] == (clips.astype(np.float16).astype(np.float32) @ vector).argmax()


def test_only_what_is_allowed_is_listed() -> None:
    rng = np.random.default_rng(4)
    clips, item_of = unit(rng, 50, 24), np.arange(50)
    allowed = [np.arange(10, 20), np.asarray([7])]
    first, second = service_shortlist(clips, item_of, unit(rng, 2, 24), allowed)
    assert sorted(first.tolist()) == list(range(10, 20))
    assert second.tolist() == [7]
