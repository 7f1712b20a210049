"""The figures are what they say, ties and resampling included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation.metrics import _median, _weights, figures, rank, summary


def test_rank_counts_greater_and_half_of_the_equal_others() -> None:
    scores = np.asarray([0.9, 0.5, 0.5, 0.5, 0.1], np.float32)
    assert rank(scores, np.asarray([1, 0, 0, 0, 0], bool)) == 1.0
    assert rank(scores, np.asarray([0, 1, 0, 0, 0], bool)) == 1 + 1 + 0.5 * 2
    assert rank(scores, np.asarray([0, 0, 0, 0, 1], bool)) == 5.0


def test_the_best_relevant_item_counts() -> None:
    scores = np.asarray([0.9, 0.8, 0.7], np.float32)
    assert rank(scores, np.asarray([0, 1, 1], bool)) == 2.0


def test_relevant_items_that_tie_do_not_stand_in_each_others_way() -> None:
    """A copy of the right video scores as it does; whichever of them comes first, the answer is right."""
    scores = np.asarray([0.9, 0.9, 0.9, 0.1], np.float32)
    assert rank(scores, np.asarray([1, 1, 1, 0], bool)) == 1.0
    assert rank(scores, np.asarray([1, 1, 0, 0], bool)) == 1.5


def test_a_scorer_that_says_nothing_gets_the_middle_rank() -> None:
    """Equal scores for all must not count as a hit, as they do when ties go by position."""
    assert rank(np.zeros(101, np.float32), np.eye(101, dtype=bool)[0]) == 51.0


def test_what_was_not_scored_comes_last() -> None:
    scores = np.asarray([np.nan, 0.1, -np.inf, 0.3], np.float32)
    assert rank(scores, np.asarray([1, 0, 0, 0], bool)) == 3.5
    assert rank(scores, np.asarray([0, 1, 0, 0], bool)) == 2.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=30), st.data())
def test_rank_is_the_mean_over_orders_of_the_ties(scores: list[float], data: st.DataObject) -> None:
    own = data.draw(st.integers(0, len(scores) - 1))
    array = np.asarray(scores, np.float32)
    ahead, tied = (array > array[own]).sum(), (array == array[own]).sum()
    assert rank(array, np.arange(len(scores)) == own) == pytest.approx(np.mean([ahead + 1 + i for i in range(tied)]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=50))
def test_recalls_are_nested_and_agree_with_the_median(ranks: list[int]) -> None:
    found = summary(np.asarray(ranks, np.float64))
    assert found["r1"] <= found["r5"] <= found["r10"]
    assert found["mdr"] == 1 if found["r1"] > 50 else found["mdr"] >= 1


def test_figures_on_a_known_case() -> None:
    found = figures([1, 2, 6, 20], [[0], [1], [2], [3]], 4)
    assert found["queries"] == 4
    assert [found[name]["value"] for name in ("r1", "r5", "r10", "mdr", "mnr")] == [25.0, 50.0, 75.0, 4.0, 7.25]
    for name in ("r1", "r5", "r10", "mdr", "mnr"):
        low, high = found[name]["ci95"]
        assert low <= found[name]["value"] <= high


def test_the_interval_is_over_items_not_over_queries() -> None:
    """Ten texts of one item are one piece of evidence: the interval must be as wide as with one text each."""
    hits = [1.0, 50.0] * 20
    alone = figures(hits, [[item] for item in range(40)], 40)["r1"]["ci95"]
    repeated = figures([hit for hit in hits for _ in range(10)], [[i] for i in range(40) for _ in range(10)], 40)["r1"][
        "ci95"
    ]
    as_if_independent = figures([hit for hit in hits for _ in range(10)], [[i] for i in range(400)], 400)["r1"]["ci95"]
    width = alone[1] - alone[0]
    assert repeated[1] - repeated[0] == pytest.approx(width, rel=0.05)
    assert as_if_independent[1] - as_if_independent[0] < 0.5 * width


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        ranks = np.where(rng.random(120) < 0.4, 1.0, 30.0)
        low, high = figures(ranks.tolist(), [[item] for item in range(120)], 120, trial, 200)["r1"]["ci95"]
        covered += low <= 40.0 <= high
    assert 0.85 <= covered / 100 <= 0.99


def test_equal_seeds_give_equal_intervals() -> None:
    arguments = ([1.0, 7.0, 3.0, 90.0], [[0], [1, 2], [2], [3]], 5)
    assert figures(*arguments, seed=1) == figures(*arguments, seed=1)
    assert figures(*arguments, seed=1) != figures(*arguments, seed=2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=12))
def test_weighted_median_is_the_median_of_the_repeated_values(pairs: list[tuple[int, int]]) -> None:
    values, weights = np.asarray([p[0] for p in pairs], float), np.asarray([[p[1] for p in pairs]], float)
    if weights.sum() == 0:
        return
    assert _median(values, weights)[0] == np.median(np.repeat(values, weights[0].astype(int)))


def test_a_query_of_several_items_counts_as_often_as_they_are_drawn_on_average() -> None:
    weights = _weights([[0], [1], [0, 1]], 3, 0, 50)
    np.testing.assert_allclose(weights[:, 2], (weights[:, 0] + weights[:, 1]) / 2)
    assert weights[:, 0].mean() == pytest.approx(1.0, abs=0.4)
