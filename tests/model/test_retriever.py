"""The retriever as the other rooms use it: encode, shortlist, rerank, moments, explanations."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from model.clips import ClipInput, collate
from model.config import ConfigError, RetrieverConfig
from model.letters import SYMBOLS
from model.retriever import Retriever
from model.tokens import TokenSet, dequantise
from tests.model.samples import CELLS, TEXTS, WIDTH, clip, fresh_tiny, pictures, sound, tiny, token_set


def encoded() -> list[TokenSet]:
    return tiny().encode_clips([clip(1), clip(2, frames=1), clip(3, frames=0), clip(4, seconds=0)])


def test_clips_become_token_sets_with_true_times() -> None:
    shown = clip(1)
    late = ClipInput(shown.frames, np.array([8.1, 9.4, 11.0, 11.9], np.float32), sound(2.0, 1), audio_start_s=8.0)
    (found,) = tiny().encode_clips([late])
    np.testing.assert_allclose(found.video_times.reshape(4, CELLS)[:, 0], [8.1, 9.4, 11.0, 11.9], rtol=1e-6)
    assert found.video_levels.reshape(4, CELLS).tolist() == [[0, 1, 1, 1, 1, 2]] * 4
    np.testing.assert_allclose(found.audio_times, 8.0 + (np.arange(25) + 0.5) / 12.5, rtol=1e-6)
    assert found.video.dtype == found.audio.dtype == np.int8 and found.video.shape[1] == WIDTH


def test_a_missing_modality_has_no_tokens() -> None:
    both, still, unseen, silent = encoded()
    assert (len(both.video), len(still.video), len(unseen.video), len(silent.video)) == (24, 6, 0, 24)
    assert len(both.audio) == 13 and len(silent.audio) == 0
    short = dataclasses.replace(clip(5), audio=sound(0.02))
    assert len(tiny().encode_clips([short])[0].audio) == 0


def test_a_clip_has_its_own_tokens_whatever_the_batch() -> None:
    for number, together in enumerate(encoded()):
        kinds = [clip(1), clip(2, frames=1), clip(3, frames=0), clip(4, seconds=0)]
        (alone,) = tiny().encode_clips([kinds[number]])
        for part in ("video", "audio"):
            first, second = (
                dequantise(getattr(item, part), getattr(item, f"{part}_scale")) for item in (together, alone)
            )
            np.testing.assert_allclose(first, second, atol=0.05)  # a step of int8
    assert tiny().encode_clips([]) == []


def test_frames_without_times_are_an_error() -> None:
    with pytest.raises(ValueError, match="need"):
        tiny().encode_clips([ClipInput(pictures(4), None, None)])


def test_two_frames_a_step_share_the_mean_of_their_times() -> None:
    from model.clips import _step_times

    assert _step_times(np.array([0.0, 1.0, 2.0, 3.0], np.float32), 2).tolist() == [0.5, 2.5]
    assert _step_times(np.array([0.0, 1.0, 5.0], np.float32), 2).tolist() == [0.5, 5.0]
    assert _step_times(np.array([4.0], np.float32), 1).tolist() == [4.0]


def test_rerank_gives_cosines_and_nan_for_what_a_clip_lacks() -> None:
    text, items = tiny().encode_text(TEXTS), encoded()
    scores = tiny().rerank(text, 1, items)
    assert scores.fused.dtype == np.float32 and scores.fused.shape == (4,)
    assert np.isnan(scores.video).tolist() == [False, False, True, False]
    assert np.isnan(scores.audio).tolist() == [False, False, False, True]
    assert float(scores.fused[2]) == pytest.approx(float(scores.audio[2])) and not np.isnan(scores.fused).any()
    pairs = tiny().pair_scores(text.row(1), tiny().collate(items))
    np.testing.assert_allclose(scores.mean, pairs.mean[0].detach(), atol=1e-5)
    assert not np.allclose(scores.mean, scores.fused)
    assert all(part.shape == (0,) for part in tiny().rerank(text, 0, []))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_rerank_by_one_modality_is_that_branch_alone(modality: str) -> None:
    text, items = tiny().encode_text(TEXTS), encoded()
    whole, part = tiny().rerank(text, 0, items), tiny().rerank(text, 0, items, (modality,))
    expected = np.nan_to_num(getattr(whole, modality))  # a clip without the modality asked for scores 0
    np.testing.assert_allclose(part.fused, expected, atol=1e-5)
    other = "audio" if modality == "video" else "video"
    assert np.isnan(getattr(part, other)).all()


def test_a_query_without_words_scores_zero_everywhere() -> None:
    text, items = tiny().encode_text(["", "a red dog"]), encoded()
    assert tiny().rerank(text, 0, items).fused.tolist() == [0.0] * 4
    moments = tiny().relevance(text, 0, items[0])
    assert len(moments.times) > 0 and np.isfinite(moments.scores).all()
    assert tiny().explain(text, 0, items[0]).to_json()["tokens"] == []


def test_the_shortlist_is_an_inner_product() -> None:
    text, items = tiny().encode_text(TEXTS), encoded()
    vectors, queries = tiny().coarse_vectors(items), tiny().coarse_query(text)
    assert vectors.shape == (4, 3 * WIDTH) and queries.shape == (3, 3 * WIDTH)
    assert vectors.dtype == queries.dtype == np.float32
    lengths = np.linalg.norm(vectors.reshape(4, 3, WIDTH), axis=2)
    np.testing.assert_allclose(lengths, [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1]], atol=1e-5)
    for modality in ("video", "audio"):  # what the shortlist adds for both has no bound
        assert float(np.abs(tiny().coarse_query(text, (modality,)) @ vectors.T).max()) <= 1.0 + 1e-5
    only = tiny().coarse_query(text, ("audio",)).reshape(3, 3, WIDTH)
    assert np.abs(only[:, [0, 2]]).sum() == 0.0


def test_relevance_runs_over_all_instants_in_order() -> None:
    text, (item, *_) = tiny().encode_text(TEXTS), encoded()
    found = tiny().relevance(text, 1, item)
    assert found.times.tolist() == sorted({*item.video_times.tolist(), *item.audio_times.tolist()})
    assert found.scores.shape == found.times.shape and float(found.scores.std()) > 0


def test_relevance_by_one_modality_ignores_the_other() -> None:
    text, item = tiny().encode_text(TEXTS), token_set(1, 4, 9)
    deaf, blind = token_set(1, 4, 0), TokenSet(*_nothing(), item.audio, item.audio_scale, item.audio_times)
    for modality, alone in (("video", deaf), ("audio", blind)):
        found, expected = tiny().relevance(text, 0, item, (modality,)), tiny().relevance(text, 0, alone)
        np.testing.assert_array_equal(found.times, expected.times)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    neither = tiny().relevance(text, 0, TokenSet(*_nothing(), *_nothing()[:3]))
    assert neither.times.shape == neither.scores.shape == (0,)


def _nothing() -> tuple[np.ndarray, ...]:
    return np.zeros((0, WIDTH), np.int8), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8)


def test_relevance_peaks_where_the_words_token_stands() -> None:
    text, item = tiny().encode_text(["cat"]), token_set(1, 4, 0)
    with torch.inference_mode():
        wanted = tiny().fusion.video_text.query(text.tokens[0, 0]).numpy()
    video = item.video.copy()
    video[2 * CELLS + 3] = np.clip(wanted / np.abs(wanted).max() * 127, -127, 127).astype(np.int8)
    found = tiny().relevance(text, 0, dataclasses.replace(item, video=video))
    assert int(found.scores.argmax()) == 2


def test_an_explanation_has_the_shape_of_the_contract() -> None:
    text, items = tiny().encode_text(TEXTS), encoded()
    found = tiny().explain(text, 1, items[0]).to_json()
    assert found["tokens"] == text.words[1]
    N = len(found["tokens"])
    assert [frame["t_s"] for frame in found["frames"]] == [0.5, 1.5, 2.5, 3.5]
    assert np.shape(found["video_attention"]) == (N, 4)
    np.testing.assert_allclose(np.sum(found["video_attention"], axis=1), 1.0, atol=1e-4)
    A = len(items[0].audio)
    assert (
        np.shape(found["audio_kept"]) == np.shape(found["audio_alignment"]) == (N, A) and len(found["audio_times"]) == A
    )
    np.testing.assert_allclose(np.sum(found["audio_alignment"], axis=1), 1.0, atol=1e-3)
    assert (np.sum(found["audio_kept"], axis=1) <= 1.0 + 1e-4).all() and (np.array(found["audio_kept"]) == 0.0).any()
    assert np.shape(found["gates"]["modality"]) == np.shape(found["gates"]["token"]) == (N,)
    assert set(found["heard_as"]) <= set(SYMBOLS) and 0.0 < found["gates"]["spelled"] < 1.0
    assert 0.0 < found["gates"]["order"] < 1.0 and 0.0 <= found["gates"]["coarse"] <= 0.8
    json.dumps(found, allow_nan=False)


def test_an_explanation_of_what_is_missing_is_empty() -> None:
    text, (_, _, unseen, silent) = tiny().encode_text(TEXTS), encoded()
    blind, deaf = tiny().explain(text, 0, unseen).to_json(), tiny().explain(text, 0, silent).to_json()
    assert blind["frames"] == [] and blind["video_attention"] == [[]] * 3 and len(blind["audio_times"]) > 0
    assert deaf["audio_times"] == [] and deaf["audio_kept"] == deaf["audio_alignment"] == [[]] * 3
    assert "order" not in deaf["gates"] and deaf["heard_as"] == ""


def test_an_explanation_is_of_the_modalities_that_were_scored() -> None:
    text, items = tiny().encode_text(TEXTS), encoded()
    deaf, blind = (tiny().explain(text, 0, items[0], (modality,)).to_json() for modality in ("video", "audio"))
    assert deaf["frames"] and deaf["audio_times"] == [] and deaf["audio_kept"] == deaf["audio_alignment"] == [[]] * 3
    assert deaf["heard_as"] == "" and not {"order", "spelled"} & deaf["gates"].keys()
    assert blind["frames"] == [] and blind["video_attention"] == [[]] * 3 and blind["heard_as"]
    assert blind["audio_kept"] == tiny().explain(text, 0, items[0]).to_json()["audio_kept"]


def test_collate_masks_what_is_missing() -> None:
    batch = collate([token_set(1, 4, 9), token_set(2, 0, 2), token_set(3, 1, 0)], CELLS, WIDTH)
    assert batch.video_mask.sum(dim=1).tolist() == [24, 0, 6] and batch.audio_mask.sum(dim=1).tolist() == [9, 2, 0]
    np.testing.assert_allclose(batch.video_places[0].unique(), [0.125, 0.375, 0.625, 0.875])
    assert len(batch.only(("audio",))) == 3 and not bool(batch.only(("audio",)).video_mask.any())
    assert len(collate([], CELLS, WIDTH)) == 0


@pytest.mark.parametrize(("steps", "sounds", "last"), [(4, 48, 0.99), (4, 25, 0.5), (3, 12, 0.3), (1, 9, 0.94)])
def test_a_sounds_place_is_one_of_the_clip(steps: int, sounds: int, last: float) -> None:
    """Of a sound that ends before the pictures; one that lacks a token or two goes on to the end."""
    item = token_set(1, steps, sounds)
    item = dataclasses.replace(item, audio_times=(np.arange(sounds, dtype=np.float32) + 0.5) / 12.5)
    places = collate([item], CELLS, WIDTH).audio_places()[0]
    assert float(places[-1]) == pytest.approx(last, abs=0.03) and bool((places.diff() > 0).all())


@pytest.mark.parametrize(
    ("score", "band"), [(0.9, "high"), (0.6, "high"), (0.5, "medium"), (0.31, "low"), (-1.0, "none")]
)
def test_confidence_bands_come_from_the_config(score: float, band: str) -> None:
    retriever = tiny()
    assert retriever.confidences(retriever.encode_text(["a dog"]), 0, [score]) == [band]


def test_no_result_is_surer_than_one_before_it() -> None:
    text = tiny().encode_text(["a dog"])
    assert tiny().confidences(text, 0, [0.5, 0.9, 0.4, 0.55, 0.1]) == ["medium", "medium", "low", "low", "none"]
    assert tiny().confidences(text, 0, []) == []


def test_the_same_seed_gives_the_same_network_and_leaves_the_callers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (Retriever.from_preset("tiny", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.name == f"htav-tiny@{first.fingerprint[:4]}"


# Configuration


def test_presets_are_whole_and_survive_json() -> None:
    for preset in ("compact", "paper", "tiny"):
        config = RetrieverConfig.from_preset(preset)
        assert config.preset == preset and config.video.max_tokens <= 64 and config.audio.max_tokens == 160
        assert RetrieverConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="compact, paper, tiny"):
        RetrieverConfig.from_preset("huge")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": "256"}, "config.width should be int"),
        ({"width": None}, "config.width should be int"),
        ({"width": True}, "config.width should be int"),
        ({"depth": 3}, "unknown entries: depth"),
        ({"text": 3}, "config.text should be TextConfig"),
        ({"video": {}}, "config.video is incomplete"),
        (
            {"audio": {"width": 1, "layers": 1, "heads": 1, "pretrained": 3}},
            "config.audio.pretrained should be str or None",
        ),
    ],
)
def test_a_config_that_cannot_be_understood_says_where(change: dict[str, object], said: str) -> None:
    values = json.loads(json.dumps(fresh_tiny().config.to_json())) | change
    with pytest.raises(ConfigError) as caught:
        RetrieverConfig.from_json(values)
    assert said in caught.value.message and caught.value.exit_code == 3
