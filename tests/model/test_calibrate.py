"""Confidence: chosen so that queries about nothing say so, written without touching what the tokens depend on."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from model import bars
from model.cli import commands
from model.confidence import band, evidence, usual_score, weigh
from model.config import ConfidenceConfig, ConfigError, RetrieverConfig
from model.data.manifest import load_manifest
from model.errors import HtavError
from model.evaluation.calibrate import REFUSED, Outcomes, calibrate, choose, fit, ranking, report
from model.evaluation.evaluate import EvaluationError, QueryScores
from model.evaluation.logistic import logistic
from model.evaluation.reliability import calibration_error
from model.retriever import Retriever
from tests.model.samples import fresh_tiny
from tests.model.small_data import photographs


def made(seed: int = 0, count: int = 2000, spread: float = 0.15, gap: float = 0.25) -> Outcomes:
    """Queries of which each scores by chance what its direction says: only what stands above that is worth anything."""
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((count, 4))
    usual = 0.3 + spread * queries[:, 0] / np.linalg.norm(queries, axis=1)
    right = rng.random(count) < 0.6
    absent = usual + rng.normal(0.1, 0.05, count)
    score = np.where(right, usual + rng.normal(0.1 + gap, 0.05, count), absent)
    scored = np.full(count, 100.0)
    return Outcomes(queries, usual, scored, score, right, absent, usual, scored)


def test_low_makes_both_mistakes_equally_likely_where_few_right_answers_are_lost() -> None:
    found = made(spread=0.08)
    _, _, low = choose(found.score, found.right, found.absent)
    refused, offered = (found.score[found.right] < low).mean(), (found.absent >= low).mean()
    assert abs(refused - offered) < 0.01 and refused < REFUSED


def test_low_refuses_few_right_answers_however_alike_the_wrong_ones_are() -> None:
    found = made(gap=0.02)
    _, _, low = choose(found.score, found.right, found.absent)
    assert (found.score[found.right] < low).mean() == pytest.approx(REFUSED, abs=0.005)
    assert (found.absent >= low).mean() > 0.5


def test_first_results_above_high_are_right_often_enough() -> None:
    found = made()
    bands = fit(found)
    first, _ = found.weighed(bands)
    assert bands.low <= bands.medium <= bands.high
    assert found.right[first >= bands.high].mean() >= 0.85 and found.right[first >= bands.medium].mean() >= 0.6


def test_what_a_query_scores_by_chance_is_taken_off() -> None:
    bands, fresh = fit(made(0)), made(1)
    np.testing.assert_allclose(usual_score(bands, fresh.queries), fresh.median, atol=0.02)
    told = report([(bands, fresh)])
    plain = choose(fresh.score, fresh.right, fresh.absent)[-1]
    by_score_alone = 100 * (fresh.absent < plain).mean()
    assert told["absent_called_none_percent"] > by_score_alone + 5 and told["right_called_none_percent"] < 5


def test_what_a_search_scored_counts_more_the_more_it_is() -> None:
    config = ConfidenceConfig(score=0.0, above=1.0, usual=(0.1, 0.0, 0.0))
    few, many = np.full(2, 0.3), np.full(1000, 0.3)
    assert evidence(config, np.ones(2), few)[0] == pytest.approx(0.3 - (2 * 0.3 + 10 * 0.1) / 12)
    assert 0 < evidence(config, np.ones(2), many)[0] < 0.01 < 0.1 < evidence(config, np.ones(2), few)[0]
    assert evidence(config, np.ones(2), np.zeros(0)).tolist() == []


def test_evidence_is_the_log_odds_of_being_right(tmp_path: Path) -> None:
    bands, fresh = fit(made(0, gap=0.07)), made(1, gap=0.07)
    told = report([(bands, fresh)], tmp_path / "reliability.png")
    assert told["calibration_error"] < 0.04 and (tmp_path / "reliability.png").stat().st_size > 5000
    wrong = dataclasses.replace(bands, bias=bands.bias + 3.0)
    assert report([(wrong, fresh)])["calibration_error"] > 0.1


def test_each_query_is_judged_by_bands_that_do_not_know_it() -> None:
    """Halves that need other bands: what each sets is measured on the other, and both are told together."""
    one, other = made(0, gap=0.3), made(1, gap=0.3)
    raised = dataclasses.replace(other, **{name: getattr(other, name) + 1.0 for name in ("score", "absent", "median")})
    told = report([(fit(one), raised), (fit(raised), one)])
    apart = [report([(fit(one), raised)]), report([(fit(raised), one)])]
    for name in ("right_called_none_percent", "absent_called_none_percent"):
        assert told[name] == pytest.approx(sum(part[name] for part in apart) / 2, abs=2.0)
    assert told["queries"] == 4000


def test_logistic_regression_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20000, 2))
    truth = rng.random(20000) < 1 / (1 + np.exp(-(0.5 + features @ [-2.0, 1.0])))
    assert logistic(features, truth) == pytest.approx((0.5, -2.0, 1.0), abs=0.1)
    apart = features[:, 0] > 0  # which any weight tells, the larger the better
    assert 1 < logistic(features, apart, 100.0)[1] < logistic(features, apart, 10.0)[1] < 20


def test_evidence_is_what_stands_above_chance_wherever_scores_lie() -> None:
    """A gallery of photographs scores higher than one of films, and neither is surer for it."""
    found = made()
    bands = fit(found)
    first, absent = found.weighed(bands)
    lifted = {name: getattr(found, name) + 0.3 for name in ("median", "score", "absent", "absent_median")}
    config = dataclasses.replace(bands, usual=(bands.usual[0] + 0.3, *bands.usual[1:]))
    again, without = dataclasses.replace(found, **lifted).weighed(config)
    np.testing.assert_allclose(again, first, atol=1e-6)
    np.testing.assert_allclose(without, absent, atol=1e-6)


def test_more_evidence_stands_higher_and_earlier_calibrations_keep_their_weights() -> None:
    scores = np.linspace(-0.5, 1.0, 31)
    bands = ConfidenceConfig(bias=-3.0, score=0.0, above=8.0)
    assert (np.diff(weigh(bands, scores, 0.2)) > 0).all() and weigh(bands, np.array([0.7]), 0.2) == pytest.approx(1.0)
    earlier = ConfidenceConfig(bias=-5.0, score=-3.0, above=14.0)
    assert weigh(earlier, np.array([0.5]), 0.2) == pytest.approx(-5.0 - 1.5 + 4.2)


def test_items_are_ranked_by_their_best_clips_and_judged_by_the_means_of_these() -> None:
    fused, mean = np.array([0.3, 0.9, 0.5, 0.6], np.float32), np.array([0.1, 0.2, 0.8, 0.4], np.float32)
    ranked, means = ranking(QueryScores(fused, mean), np.array([0, 1, 1, 2]))
    assert ranked.tolist() == [1, 2, 0] and means == pytest.approx([0.2, 0.4, 0.1])


def test_calibration_error_of_known_cases() -> None:
    truth = np.array([True, False] * 50)
    assert calibration_error(np.full(100, 0.5), truth) == 0.0
    assert calibration_error(np.full(100, 0.9), truth) == pytest.approx(0.4)


def test_a_model_that_is_never_right_gives_no_confident_band() -> None:
    found = dataclasses.replace(made(), right=np.zeros(2000, bool))
    bands = fit(found)
    first, absent = found.weighed(bands)
    assert (first < bands.medium).all() and (absent < bands.low).all()


def test_uncalibrated_evidence_is_the_score_itself() -> None:
    config = ConfidenceConfig()
    assert evidence(config, np.ones(3), np.array([0.2, 0.7])).tolist() == [0.2, 0.7]
    assert [band(config, value) for value in (0.7, 0.5, 0.3, 0.29)] == ["high", "medium", "low", "none"]


def test_a_checkpoint_is_calibrated_in_its_config_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    photographs(tmp_path / "p", 2)
    fresh_tiny().save_pretrained(tmp_path / "model")
    before = Retriever.from_pretrained(tmp_path / "model")
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("a cat in the green man\n\nthe dog says of\n")
    told = calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0, tmp_path / "plot.png", nothing)
    after = Retriever.from_pretrained(tmp_path / "model")
    assert after.fingerprint == before.fingerprint and after.config.confidence != before.config.confidence
    assert len(after.config.confidence.usual) == after.config.width + 1
    assert told["nothing_queries"] == 2 and told["nothing_called_none_percent"] in (0.0, 50.0, 100.0)
    assert told["queries"] == 16 and (tmp_path / "plot.png").is_file()
    assert told["failed"] == []


def test_gates_are_tempered_before_confidence_is_set_and_stay_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    photographs(tmp_path / "p", 2)
    fresh_tiny().save_pretrained(tmp_path / "model")
    before = Retriever.from_pretrained(tmp_path / "model")
    assert before.config.gate_temperature == 1.0
    calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0, gate_temperature=2.0)
    after = Retriever.from_pretrained(tmp_path / "model")
    assert after.fusion.gate_temperature == after.coarse.gate_temperature == after.config.gate_temperature == 2.0
    assert after.fingerprint == before.fingerprint and after.scoring != before.scoring
    calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0)
    assert Retriever.from_pretrained(tmp_path / "model").config.gate_temperature == 2.0
    written = (tmp_path / "model" / "config.json").read_text()
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="divides nothing"):
            calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0, gate_temperature=wrong)
        with pytest.raises(ConfigError, match="divides nothing"):
            RetrieverConfig.from_json(json.loads(written)["config"] | {"gate_temperature": wrong})
    assert (tmp_path / "model" / "config.json").read_text() == written


def test_a_folder_for_nothing_that_cannot_be_read_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    fresh_tiny().save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_bytes()
    data = [photographs(tmp_path / "broken", 1), photographs(tmp_path / "whole", 2)]
    for path in data[0].glob("*.jpg"):
        path.write_bytes(b"no picture")
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("a volcano\n")
    with pytest.raises(EvaluationError, match="nothing of .*broken can be read"):
        calibrate(tmp_path / "model", data, "val", 100, 0, None, nothing)
    assert (tmp_path / "model" / "config.json").read_bytes() == before


def test_a_calibration_says_in_a_log_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(bars, "EVERY", 0.0)
    photographs(tmp_path / "p", 2)
    fresh_tiny().save_pretrained(tmp_path / "model")
    commands(["calibrate", str(tmp_path / "model"), "--data", str(tmp_path / "p")], standalone_mode=False)
    said = capsys.readouterr()
    assert "encode the gallery: 1 of 16" in said.err.splitlines()
    assert json.loads(said.out)["queries"] == 16


def test_what_cannot_be_read_sets_no_confidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    photographs(tmp_path / "p", 2)
    fresh_tiny().save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_bytes()
    pictures = sorted({str(item.paths()[0]) for item in load_manifest(tmp_path / "p", "val")})
    for path in pictures[:3]:
        Path(path).unlink()
    told = calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0)
    assert len(told["failed"]) == 3 and told["queries"] == 14, "two of sixteen have no answer left"
    after = (tmp_path / "model" / "config.json").read_bytes()
    assert after != before
    for path in pictures[3:]:
        Path(path).unlink()
    with pytest.raises(EvaluationError, match="only 0 queries") as caught:
        calibrate(tmp_path / "model", [tmp_path / "p"], "val", 100, 0)
    assert "jpg" in caught.value.hint and (tmp_path / "model" / "config.json").read_bytes() == after


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("empty", "holds no query"), ("latin-1", "no UTF-8 text"), ("plot", "no plot can be written"),
        ("second folder", "no manifest.jsonl"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_before_anything_is_scored(tmp_path: Path, wrong: str, said: str) -> None:
    fresh_tiny().save_pretrained(tmp_path / "tiny")
    before = (tmp_path / "tiny" / "config.json").read_bytes()
    data, nothing = [photographs(tmp_path / "data", 1)], tmp_path / "nothing.txt"
    nothing.write_bytes({"empty": b"\n", "latin-1": b"caf\xe9\n"}.get(wrong, b"a volcano\n"))
    plot = tmp_path / "there is no such folder" / "plot.png" if wrong == "plot" else None
    if wrong == "second folder":
        (tmp_path / "bare").mkdir()
        data.append(tmp_path / "bare")

    def never(what: str, _done: int, _of: int) -> None:
        raise AssertionError(what)

    with pytest.raises(HtavError, match=said):
        calibrate(tmp_path / "tiny", data, "val", 500, 0, plot, nothing, never)
    assert (tmp_path / "tiny" / "config.json").read_bytes() == before
