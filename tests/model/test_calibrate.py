"""Confidence bands: chosen so that queries about nothing say so, written without touching what the tokens depend on."""

import numpy as np

from model.evaluation.calibrate import Outcomes, choose


def made(seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.2, 0.9, 2000)
    right = rng.random(2000) < (score - 0.2) / 0.7
    return Outcomes(score, right, rng.uniform(0.1, 0.5, 2000))


def test_low_makes_both_mistakes_equally_likely() -> None:
    found = made()
    low = choose(found).low
    right = found.score[found.right]
    assert abs((right < low).mean() - (found.absent >= low).mean()) < 0.01
    assert (right < low).mean() < 0.2


def test_first_results_above_high_are_right_often_enough() -> None:
    found = made()
    bands = choose(found)
    assert bands.low <= bands.medium <= bands.high
    assert found.right[found.score >= bands.high].mean() >= 0.85
    assert found.right[found.score >= bands.medium].mean() >= 0.6


def test_a_model_that_is_never_right_gives_no_confident_band() -> None:
    found = made()
    bands = choose(Outcomes(found.score, np.zeros_like(found.right), found.absent))
    assert (found.score < bands.medium).all() and (found.absent < bands.low).all()
