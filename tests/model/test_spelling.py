"""Spelling as a part of the retriever: what it adds to a pair's score, and when it adds nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.clips import collate
from model.explain import explain
from model.fusion import LIFTS
from model.letters import SYMBOLS
from model.retriever import Retriever
from model.spelling import FRAMES, Spelling
from model.tokens import TokenSet, quantise
from tests.model.samples import CELLS, WIDTH, clip, fresh_tiny, tiny, token_set

SOUNDS = [token_set(1), token_set(2, 0, 12), token_set(3, 2, 0)]  # both, sound alone, pictures alone


def spelling(retriever: Retriever) -> Spelling:
    assert retriever.spelling is not None
    return retriever.spelling


def test_letters_are_distributions_two_a_token() -> None:
    clips = collate(SOUNDS, CELLS, WIDTH)
    found = spelling(tiny()).letters(clips.audio)
    assert found.shape == (3, FRAMES * 12, len(SYMBOLS))
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(3, FRAMES * 12))


def test_a_clip_without_sound_and_a_query_without_letters_are_not_spelled() -> None:
    text = tiny().encode_text(["a red dog", "?!"])
    heard, share = spelling(tiny())(text, collate(SOUNDS, CELLS, WIDTH))
    assert bool((heard[0, :2] > 0).all()) and heard[:, 2].tolist() == [0.0, 0.0] and heard[1].tolist() == [0.0] * 3
    assert float(share[0].detach()) > 0 and float(share[1].detach()) == 0.0


def test_a_pair_is_scored_alike_in_any_company() -> None:
    texts = ["a red dog", "woman says xylophone", "?"]
    text, clips = tiny().encode_text(texts), collate(SOUNDS, CELLS, WIDTH)
    with torch.no_grad():
        together = tiny().pair_scores(text, clips)
        for row, words in enumerate(texts):
            for column, item in enumerate(SOUNDS):
                alone = tiny().pair_scores(tiny().encode_text([words]), collate([item], CELLS, WIDTH))
                torch.testing.assert_close(alone.fused[0, 0], together.fused[row, column], rtol=0, atol=1e-5)


def test_the_share_leads_from_the_fusion_to_what_is_spelled() -> None:
    text, clips = tiny().encode_text(["a red dog"]), collate(SOUNDS, CELLS, WIDTH)
    retriever = fresh_tiny()
    retriever.load_state_dict(tiny().state_dict())
    part = spelling(retriever)
    with torch.no_grad():
        part.share.share.weight.zero_()
        part.share.offset.fill_(-30.0)
        plain = retriever.pair_scores(text, clips)
        part.share.offset.fill_(30.0)
        spelled = retriever.pair_scores(text, clips)
        heard = part(text, clips).heard
        retriever.spelling = None
        without = retriever.pair_scores(text, clips)
    torch.testing.assert_close(plain.fused, without.fused)
    for lifted, score in ((spelled.fused, without.fused), (spelled.audio, without.audio)):
        torch.testing.assert_close(lifted, 1.0 - (1.0 - score) * (1.0 - heard) ** LIFTS)
    assert bool((spelled.fused <= 1.0).all()) and torch.equal(spelled.fused[:, 2], without.video[:, 2])
    torch.testing.assert_close(spelled.video, without.video)


def test_pictures_alone_are_searched_without_it() -> None:
    text, clips = tiny().encode_text(["a red dog"]), collate(SOUNDS, CELLS, WIDTH).only(("video",))
    pairs = tiny().pair_scores(text, clips)
    assert pairs.spelled_share is None


def test_chance_is_kept_with_the_tokens_and_counts_as_if_measured_when_asked() -> None:
    (item,) = tiny().encode_clips([clip(1)])
    text = tiny().encode_text(["a red dog"])
    kept, measured = (collate([one], CELLS, WIDTH) for one in (item, replace(item, chance=math.nan)))
    assert math.isfinite(item.chance)
    with torch.no_grad():
        torch.testing.assert_close(tiny().pair_scores(text, kept).fused, tiny().pair_scores(text, measured).fused)
        louder = tiny().pair_scores(text, collate([replace(item, chance=item.chance - 1.0)], CELLS, WIDTH)).fused
    assert bool((louder > tiny().pair_scores(text, kept).fused).all())


def test_a_shortlist_gets_the_letters_heard_and_those_of_the_words_that_are_said() -> None:
    retriever, both = fresh_tiny(), [clip(1), clip(2, seconds=0)]
    heard, silent = retriever.readings(retriever.encode_clips(both))
    assert set(heard) <= set("abcdefghijklmnopqrstuvwxyz'0123456789") and silent == ""
    text = retriever.encode_text(["?", "a dog says: Let's go!"])
    part = spelling(retriever)
    with torch.no_grad():
        part.said.weight.zero_()
    assert retriever.wanted(text, 1).letters == "adogsayslet'sgo" and retriever.wanted(text, 0).letters == ""
    assert retriever.wanted(text, 1, ("video",)).letters == ""
    quoted = retriever.encode_text(['a dog says: "" :)', "“a dog says”", "?!"])
    assert [retriever.wanted(quoted, row).letters for row in range(3)] == ["adogsays", "adogsays", ""]
    with torch.no_grad():
        part.said.weight.copy_(text.tokens[1, 1] - text.tokens[1].mean(dim=0))
        part.said.weight.mul_(30.0 / part.said.weight.norm())
    assert retriever.wanted(text, 1).letters not in ("", "adogsayslet'sgo")


def hears(retriever: Retriever, words: str) -> TokenSet:
    """A clip of 24 tokens, in whose last tokens but two the retriever, from now on, hears two letters each."""
    part = spelling(retriever)
    pairs = [words[place : place + FRAMES] for place in range(0, len(words), FRAMES)]
    audio = np.zeros((24, WIDTH), np.float32)
    with torch.no_grad():
        part.symbols.weight.zero_()
        part.symbols.bias.copy_(torch.tensor([8.0] + [0.0] * (len(SYMBOLS) - 1)).repeat(FRAMES))
        for dimension, pair in enumerate(pairs):
            audio[22 - len(pairs) + dimension, dimension] = 1.0
            for frame, letter in enumerate(pair):
                part.symbols.weight[frame * len(SYMBOLS) + SYMBOLS.index(letter), dimension] = 16.0
    quantised, scale = quantise(audio)
    times = 30.0 + 0.08 * (np.arange(24, dtype=np.float32) + 0.5)
    return replace(token_set(1, 0, 24), audio=quantised, audio_scale=scale, audio_times=times, chance=math.nan)


def test_a_moment_of_words_is_when_they_are_said() -> None:
    retriever = fresh_tiny()
    item = hears(retriever, "thezebra")
    found, other = retriever.relevances(retriever.encode_text(["the zebra"]), 0, [item, token_set(3, 2, 0)])
    assert found.said == pytest.approx((30.0 + 18 * 0.08, 30.0 + 22 * 0.08), abs=1e-3)
    assert other.said is None
    for asked, modalities in (("a mountain lake", ("video", "audio")), ("the zebra", ("video",)), ("?", ("audio",))):
        assert retriever.relevance(retriever.encode_text([asked]), 0, item, modalities).said is None


def test_an_explanation_says_what_share_it_has() -> None:
    text, clips = tiny().encode_text(["a red dog"]), collate(SOUNDS[:1], CELLS, WIDTH)
    with torch.no_grad():
        pair = tiny().pair_scores(text, clips)
    share = explain(pair, text, SOUNDS[0]).gates["spelled"]
    assert 0 < share < 1 and share == round(float(pair.spelled_share), 4)  # type: ignore[arg-type]


def test_a_checkpoint_without_it_is_given_one() -> None:
    from model.training.start import deepened

    with torch.random.fork_rng():
        older = Retriever(replace(tiny().config, spelling=0), tiny().text.tokenizer)
    assert older.spelling is None and deepened(older, seed=0).spelling is not None
