"""Queries that tell an order: which do, and what the order of events in a clip does to their score."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.clips import collate
from model.fusion import PairScores
from model.order import Order, event_order, events
from model.retriever import Retriever
from model.tokens import TokenSet, quantise
from tests.model.samples import CELLS, WIDTH, fresh_tiny, tiny, token_set

FIRST, SECOND, THIRD = "a red dog", "the green car", "a cat"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("first a drum beats, then rain falls", ["a drum beats", "rain falls"]),
        ("First, a dog; then a cat, and finally a bird.", ["a dog", "a cat", "a bird"]),
        ("a dog barks and then a bell rings", ["a dog barks", "a bell rings"]),
        ("a man shuts the door then walks away", ["a man shuts the door", "walks away"]),
        ("a red car, followed by a blue one", ["a red car", "a blue one"]),
        ("at first it rains. After that the sun shines", ["it rains", "the sun shines"]),
        ("After the dog barks, a man with a hat runs", ["the dog barks", "a man with a hat runs"]),
        ("a dog runs after a ball", []),
        ("after a dog barks, a bell rings, then a cat meows", ["a dog barks", "a bell rings", "a cat meows"]),
        ("After a dog barks, then\na  bell rings", ["a dog barks", "a bell rings"]),
        ("a child before a house", []),
        ("the team finally wins the cup", []),
        ("a man is followed by the police", []),
        ("if it rains then we leave", []),
        ("after dark, cars drive", []),
        ("first aid is given", []),
        ("a dog then " * 5 + "a cat", []),
        ("now and then a dog barks", []),
        ("a dog runs from then on", []),
        ("the then president speaks", []),
        ("before then a man walks", []),
        ("and then there were none", []),
        ("First lady Michelle Obama then waves", ["First lady Michelle Obama", "waves"]),
        ("first a dog", []),
        ("first aid then", []),
        ("the man says: first open the box, then close it", []),
        ("a woman saying first this, then that", []),
        ("then", []),
        ("", []),
    ],
)
def test_events_are_told_in_so_many_words(text: str, told: list[str]) -> None:
    assert events(text) == told


def shows(retriever: Retriever, seen: list[str], heard: list[str]) -> TokenSet:
    """A clip whose pictures and sound are, one after the other, what the words of these texts look for."""

    def instants(texts: list[str], map_to: torch.nn.Linear, each: int) -> np.ndarray:
        with torch.no_grad():
            found = [map_to(retriever.encode_text([text]).tokens[0]) for text in texts]
        return np.concatenate([np.resize(3.0 * words.numpy(), (each, WIDTH)) for words in found]).astype(np.float32)

    item = token_set(1, 2 * len(seen), 12 * len(heard))
    if seen:
        video, scale = quantise(instants(seen, retriever.fusion.video_text.query, 2 * CELLS))
        item = replace(item, video=video, video_scale=scale)
    if heard:
        audio, scale = quantise(instants(heard, retriever.fusion.audio_text.query, 12))
        item = replace(item, audio=audio, audio_scale=scale)
    return item


def order(text: str, *clips: TokenSet) -> Order:
    retriever = tiny()
    with torch.no_grad():
        encoded = retriever.encode_text([text])
        return event_order(retriever.fusion, retriever.coarse, encoded, collate(list(clips), CELLS, WIDTH))


@pytest.mark.parametrize("sense", ["video", "audio"])
def test_a_query_prefers_the_clip_that_shows_its_order(sense: str) -> None:
    told = [[FIRST, SECOND], [SECOND, FIRST]]
    clips = [shows(tiny(), one, []) if sense == "video" else shows(tiny(), [], one) for one in told]
    found = order(f"first {FIRST}, then {SECOND}", *clips)
    right, reverse = getattr(found, sense)[0].tolist()
    assert right > 0.05 and reverse < -0.05
    torch.testing.assert_close(found.both, getattr(found, sense))
    text = tiny().encode_text([f"first {FIRST}, then {SECOND}", f"first {SECOND}, then {FIRST}", FIRST])
    fused = torch.stack([torch.from_numpy(tiny().rerank(text, row, clips).fused) for row in range(3)])
    plain = replace(text, events=[None] * 3)
    unled = torch.stack([torch.from_numpy(tiny().rerank(plain, row, clips).fused) for row in range(3)])
    led = fused - unled
    assert led[0, 0] > 0 > led[0, 1] and led[1, 1] > 0 > led[1, 0]
    assert led[2].tolist() == [0.0, 0.0]


def test_of_three_events_each_must_follow_the_one_before() -> None:
    orders = [[FIRST, SECOND, THIRD], [SECOND, FIRST, THIRD], [THIRD, SECOND, FIRST]]
    right, swapped, reverse = (
        order(f"first {FIRST}, then {SECOND}, then {THIRD}", *(shows(tiny(), one, []) for one in orders))
        .both[0]
        .tolist()
    )
    assert right > 0 > max(swapped, reverse)


def told_apart(clip: TokenSet, *texts: str) -> list[float]:
    """How far each of the texts is in order, where pictures and sound are compared as they are."""
    retriever = fresh_tiny()
    with torch.no_grad():
        for one in (retriever.coarse.video_pool, retriever.coarse.audio_pool):
            one.score.weight.zero_()
            one.out.weight.copy_(torch.eye(WIDTH))
        text = retriever.encode_text(list(texts))
        found = event_order(retriever.fusion, retriever.coarse, text, collate([clip], CELLS, WIDTH))
    return [float(score) for score in found.both[:, 0]]


SILENCE = "?"  # whose words look for nothing that the others do


def test_what_is_seen_may_come_before_what_is_heard() -> None:
    clip = shows(fresh_tiny(), [FIRST, SILENCE], [SILENCE, SECOND])
    right, reverse = told_apart(clip, f"{FIRST}, then {SECOND}", f"{SECOND}, then {FIRST}")
    assert right > 0 > reverse


def test_the_end_of_a_sound_that_ends_early_comes_before_what_is_seen_then() -> None:
    whole = shows(fresh_tiny(), [SILENCE, FIRST], [SILENCE, SECOND])
    short = replace(whole, audio_times=whole.audio_times / 4)
    (together,), (apart,) = (told_apart(clip, f"{SECOND}, then {FIRST}") for clip in (whole, short))
    assert apart > together + 0.02 and apart > 0


@pytest.mark.parametrize("text", ["\u200b, then a red dog", "a red dog, then 犬", "a red dog, then ?!"])
def test_an_event_that_means_nothing_is_not_asked(text: str) -> None:
    assert tiny().encode_text([text]).events == [None]


def test_each_event_has_instants_of_its_own() -> None:
    clip = shows(tiny(), [FIRST, SECOND], [])
    text = tiny().encode_text([f"first {FIRST}, then {SECOND}", FIRST])
    first, second = tiny().relevance(text, 0, clip).events
    assert first.times[first.scores.argmax()] < 2.0 < second.times[second.scores.argmax()]
    np.testing.assert_allclose(first.scores, tiny().relevance(text, 1, clip).scores, atol=1e-5)
    assert tiny().relevance(text, 1, clip).events == ()


def test_order_does_not_depend_on_the_batch_and_keeps_scores_in_bounds() -> None:
    clips = [token_set(1), token_set(2, 0, 12), token_set(3, 2, 0), token_set(4, 0, 0)]
    texts = [f"first {FIRST}, then {SECOND}", "a mountain lake", f"{SECOND}, then {FIRST}, then {THIRD}"]
    together = tiny().encode_text(texts)
    with torch.no_grad():
        pairs = tiny().pair_scores(together, collate(clips, CELLS, WIDTH))
        for row, text in enumerate(texts):
            for column, item in enumerate(clips):
                one = tiny().pair_scores(tiny().encode_text([text]), collate([item], CELLS, WIDTH))
                torch.testing.assert_close(one.fused[0, 0], pairs.fused[row, column], rtol=0, atol=1e-5)
        assert pairs.fused[:, 3].tolist() == [0.0, 0.0, 0.0]  # a clip that holds nothing
        heard_only = tiny().rerank(together, 0, clips[1:2], ("video",)).fused
        assert heard_only.tolist() == [0.0]
    ends = torch.tensor([[-1.0, -0.5, 0.5, 1.0]])
    scores = PairScores(ends, ends, ends, ends, *[None] * 4)  # type: ignore[arg-type]
    for lead in (-1.0, -0.4, 0.4, 1.0):
        led = scores.ordered(*[torch.full((1, 4), lead)] * 3).fused
        assert bool((led.abs() <= 1.0).all()) and bool(((led - ends) * lead >= 0).all())
