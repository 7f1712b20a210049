"""The rerank: equal to the slow reference; a pair's score is its own; masks, not zeros, say what is missing."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.chance import chance_costs
from model.clip_tokens import ClipTokens
from model.clips import collate, step_places
from model.coarse import CoarseEncoder
from model.fusion import LIFTS, FusionHead
from model.letters import alignment_costs, heard_letters, query_letters
from model.share import QueryShare
from model.spelling import AT_LEAST, BEYOND, CLEARLY, FORGIVEN, KEENNESS, LACKING, LESS_IN_ALL, STEEPLY, USUAL
from model.text import TextEncoding
from model.tokens import TokenSet, dequantise
from tests.model import slow_reference
from tests.model.samples import CELLS, WIDTH, fresh_tiny, query, saying, scramble, tiny, token_set

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
many = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def head(dtype: torch.dtype = torch.float32) -> FusionHead:
    return tiny(dtype).fusion


def fuse(
    text: TextEncoding,
    token_sets: Sequence[TokenSet],
    dtype: torch.dtype = torch.float32,
    pad: tuple[int, int] = (0, 0),
) -> list[torch.Tensor]:
    """Fused, video and audio scores and means [B, C]; `pad` adds that many invalid tokens of both kinds, all noise."""
    clips = padded(collate(list(token_sets), CELLS, WIDTH), *pad)
    clips = dataclasses.replace(clips, video=clips.video.to(dtype), audio=clips.audio.to(dtype))
    with torch.inference_mode():
        return list(tiny(dtype).pair_scores(text, clips)[:4])


def padded(clips: ClipTokens, video: int, audio: int) -> ClipTokens:
    C, d = len(clips), clips.video.shape[2]
    return ClipTokens(
        torch.cat([clips.video, torch.randn(C, video, d)], dim=1),
        torch.cat([clips.video_mask, torch.zeros(C, video, dtype=torch.bool)], dim=1),
        torch.cat([clips.video_levels, torch.ones(C, video, dtype=torch.long)], dim=1),
        torch.cat([clips.video_places, torch.rand(C, video)], dim=1),
        torch.cat([clips.audio, torch.randn(C, audio, d)], dim=1),
        torch.cat([clips.audio_mask, torch.zeros(C, audio, dtype=torch.bool)], dim=1),
        clips.chance,
        clips.glance,
        clips.silent,
        clips.lasting,
    )


def reference(text: TextEncoding, row: int, item: TokenSet, dtype: torch.dtype) -> tuple[float, ...]:
    """The equations by loops, and the coarse vectors' share from the vectors that the index holds; the mean last."""
    n = int(text.mask[row].sum())
    clip = slow_reference.Clip(
        torch.from_numpy(dequantise(item.video, item.video_scale)).to(dtype),
        item.video_levels.tolist(),
        step_places(len(item.video), CELLS).tolist(),
        torch.from_numpy(dequantise(item.audio, item.audio_scale)).to(dtype),
    )
    network = head(dtype)

    def summed(heat: float) -> tuple[list[float], float]:
        words = slow_reference.scores(network, text.tokens[row, :n], text.pooled[row], clip, heat)
        whole, share, weight = coarse_reference(text.row(row), item, dtype, heat)
        parts = zip(words, whole, strict=True)
        return [(1 - share) * one + share * other for one, other in parts], 1 - share + share * weight

    with torch.no_grad():
        taught, weights = summed(1.0)
        _, video, audio = taught
        fused = summed(network.gate_temperature)[0][0] if len(item.video) else taught[0]
        lift = spelled_reference(text.row(row), item, dtype)
    kept, mean = (1 - lift) ** LIFTS, taught[0] / weights
    return 1 - (1 - fused) * kept, video, 1 - (1 - audio) * kept, mean + lift * (1 - mean)


def spelled_reference(text: TextEncoding, item: TokenSet, dtype: torch.dtype) -> float:
    """How far the spelling lifts one pair's score; its alignment has a slow twin in test_letters.py."""
    network = tiny(dtype)
    assert network.spelling is not None
    letters = query_letters(text.spelled[0], torch.sigmoid(network.spelling.said(text.tokens[0])).flatten())
    if letters is None or not len(item.audio):
        return 0.0
    tokens = torch.from_numpy(dequantise(item.audio, item.audio_scale)).to(dtype).unsqueeze(0)
    sound = heard_letters(network.spelling.letters(tokens), torch.tensor([2 * len(item.audio)]))
    count = float(letters.weights.sum() ** 2 / (letters.weights**2).sum())
    usual = USUAL.chance * float(chance_costs(sound)) + USUAL.frames * float(sound.room()) + USUAL.always
    cost = float(alignment_costs(letters, sound))
    found = slow_reference.sigmoid(count**0.5 * (cost - usual) - USUAL.few - BEYOND)
    words: list[list[float]] = []
    for first, weight in zip(letters.first, letters.weights.tolist(), strict=True):
        words += [[]] if first else []
        words[-1].append(weight)
    clearest = max(map(max, words))
    unsaid = sum(sum(word) for word in words if max(word) < CLEARLY * clearest) / sum(map(sum, words))
    allowed = max(LACKING - LESS_IN_ALL / count, AT_LEAST)
    understood = slow_reference.sigmoid(STEEPLY * count**0.5 * (cost + FORGIVEN * unsaid + allowed))
    said = (float(letters.weights.mean()) / float(letters.weights.max())) ** 2
    heard = found * understood * (1 + KEENNESS * said * cost)
    share = network.spelling.share
    return heard * slow_reference.sigmoid(float(share.share.weight[0] @ text.pooled[0] + share.offset))


def coarse_reference(
    text: TextEncoding, item: TokenSet, dtype: torch.dtype, heat: float
) -> tuple[list[float], float, float]:
    """Cosines of the parts of one query's and one clip's coarse vectors, the share that they have, and their weight."""
    network, clip = tiny(dtype), collate([item], CELLS, WIDTH)
    assert network.late is not None
    clip = dataclasses.replace(clip, video=clip.video.to(dtype), audio=clip.audio.to(dtype))
    query, vector = network.coarse.parts(text)[0], network.coarse.clips(clip)[0].view(3, WIDTH)
    seen, heard = float(query[0] @ vector[0]), float(query[1] @ vector[1])
    if len(item.video) and network.coarse.glance is not None:
        whole = network.coarse.glance(text.gist)[0]
        seen += float(whole / whole.norm() @ torch.from_numpy(item.glance).to(dtype))
    gates = [float(gate) for gate in (network.coarse.gate(text.pooled)[0, :2] / heat).exp()]
    gates = [gate * bool(tokens) for gate, tokens in zip(gates, (len(item.video), len(item.audio)), strict=True)]
    both = (gates[0] * seen + gates[1] * heard) / sum(gates)
    share = slow_reference.sigmoid(float(network.late.share.weight[0] @ text.pooled[0] + network.late.offset))
    return [both, seen, heard], share, 1 + gates[0] / sum(gates)


@pytest.fixture(params=[1.0, 2.5])
def tempered(request: pytest.FixtureRequest) -> Iterator[None]:
    """The shared networks with this temperature of their gates, for as long as a test lasts."""
    networks = [tiny(dtype) for dtype in (torch.float32, torch.float64)]
    for network in networks:
        network.temper(request.param)
    yield
    for network in networks:
        network.temper(1.0)


@pytest.mark.usefixtures("tempered")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_rerank_equals_the_slow_reference(dtype: torch.dtype) -> None:
    text = query([4, 1, 7], dtype=dtype)
    items = [token_set(1), token_set(2, 1, 3), token_set(3, 2, 0), token_set(4, 0, 5), token_set(5, 3, 14)]
    fast = fuse(text, items, dtype)
    for row in range(3):
        for place, item in enumerate(items):
            slow = reference(text, row, item, dtype)
            for found, expected in zip(fast, slow, strict=True):
                assert float(found[row, place]) == pytest.approx(expected, abs=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_rerank_equals_the_slow_reference_where_words_are_said(dtype: torch.dtype) -> None:
    """All of a query's words, most of them, and half: lifted nearly all the way, in between, and hardly."""
    text = query([12], dtype=dtype)
    letters = [symbol for word in text.spelled[0] for symbol in word.symbols]
    spoken = [saying(letters[:said] + letters[:1] * (24 - said)) for said in (24, 20, 18, 12)]
    fast = fuse(text, spoken, dtype)
    for place, item in enumerate(spoken):
        for found, expected in zip(fast, reference(text, 0, item, dtype), strict=True):
            assert float(found[0, place]) == pytest.approx(expected, abs=TOLERANCE[dtype])
    everything, most, less, half = (spelled_reference(text, item, dtype) for item in spoken)
    assert everything > most > 0.8 > less > 0.05 > 1e-3 > half


@torch.no_grad()
def test_a_clip_of_sound_alone_scores_as_it_did_whatever_the_temperature() -> None:
    network, text, items = fresh_tiny(), query([6]), [token_set(1, 0, 9), token_set(2)]
    before = network.pair_scores(text, network.collate(items)).fused
    network.temper(3.0)
    after = network.pair_scores(text, network.collate(items)).fused
    assert torch.equal(before[:, 0], after[:, 0]) and not torch.equal(before[:, 1], after[:, 1])


@torch.no_grad()
def test_the_hotter_the_gates_the_nearer_both_modalities_count_alike() -> None:
    network, text, items = fresh_tiny(), query([6]), [token_set(1)]
    network.fusion.modality_gate.weight.zero_()
    network.fusion.modality_gate.bias.fill_(2.0)
    network.coarse.gate.weight.zero_()
    network.coarse.gate.bias.copy_(torch.tensor([-2.0, 2.0, 0.0]))
    clips, found = network.collate(items), []
    for temperature in (1.0, 2.0, 1e6):
        network.temper(temperature)
        pairs, coarse = network.fusion(text, clips), network.coarse.compare(text, clips)
        asked = network.coarse.queries(text)
        same = (pairs.video, pairs.audio, pairs.mean, coarse.taught, asked)
        found.append((float(pairs.gate[0, 0].log()), float(coarse.both[0, 0]), *same))
    taught, warm, even = found
    assert warm[0] == pytest.approx(taught[0] / 2) and even[0] == pytest.approx(0.0, abs=1e-4)
    coarse = network.coarse.compare(text, clips)
    assert even[1] == pytest.approx(float(coarse.video + coarse.audio) / 2, abs=1e-5) and taught[1] != warm[1]
    for one in (taught, warm):  # one sense alone, confidence and the shortlist ask the gates as they were taught
        assert all(torch.equal(before, after) for before, after in zip(one[2:], even[2:], strict=True))


SHAPES = st.tuples(st.sampled_from([0, 1, 2, 4]), st.sampled_from([0, 1, 2, 5, 17]))


@many
@given(
    pair=SHAPES,
    mates=st.lists(SHAPES, min_size=1, max_size=4),
    words=st.integers(0, 6),
    other=st.integers(0, 9),
    pad=st.tuples(st.integers(0, 7), st.integers(0, 7)),
)
def test_a_score_depends_on_its_pair_alone(
    pair: tuple[int, int], mates: list[tuple[int, int]], words: int, other: int, pad: tuple[int, int]
) -> None:
    """Whatever else is in the batch, and however it is padded: alone and among others the same to 1e-5."""
    seed = hash((pair, words)) % 1000
    item = token_set(seed, *pair)
    text = query([words, other], seed)
    alone = fuse(text.row(0), [item])
    crowd = [token_set(seed + 1 + place, *shape) for place, shape in enumerate(mates)]
    at = seed % (len(crowd) + 1)
    together = fuse(text, [*crowd[:at], item, *crowd[at:]], pad=pad)
    for one, among in zip(alone, together, strict=True):
        assert bool(among.isfinite().all())
        assert abs(float(one[0, 0]) - float(among[0, at])) <= 1e-5
    if pair == (0, 0) or words == 0:
        assert [float(score) for score in alone] == [0.0] * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_of_texts_and_clips_does_not_move_the_cosine(dtype: torch.dtype) -> None:
    items = [token_set(seed, steps, sounds) for seed, (steps, sounds) in enumerate([(4, 9), (1, 1), (2, 30), (8, 60)])]
    text = query([5, 2], dtype=dtype)
    longer = query([5, 2, 12], seed=1, dtype=dtype)
    widened = TextEncoding(
        torch.cat([torch.cat([text.tokens, torch.randn(2, 7, WIDTH, dtype=dtype)], dim=1), longer.tokens[2:]]),
        torch.cat([torch.cat([text.mask, torch.zeros(2, 7, dtype=torch.bool)], dim=1), longer.mask[2:]]),
        torch.cat([text.pooled, longer.pooled[2:]]),
        torch.cat([text.gist, longer.gist[2:]]),
        *([], [], []),
        [*text.spelled, *longer.spelled[2:]],
    )
    for place, item in enumerate(items):
        alone = [fuse(text.row(row), [item], dtype) for row in range(2)]
        together = fuse(widened, items, dtype, pad=(11, 5))
        for row in range(2):
            for one, among in zip(alone[row], together, strict=True):
                assert abs(float(one[0, 0]) - float(among[row, place])) <= TOLERANCE[dtype]


def test_without_sound_an_item_scores_as_its_pictures_alone() -> None:
    text, silent = query([4, 2]), token_set(3, 4, 0)
    fused, video, audio, _ = fuse(text, [silent, token_set(4)])
    assert torch.equal(fused[:, 0], video[:, 0]) and audio[:, 0].tolist() == [0.0, 0.0]
    assert not torch.equal(fused[:, 1], video[:, 1])
    whole = token_set(3, 4, 9)
    masked = collate([whole], CELLS, WIDTH).only(("video",))
    with torch.inference_mode():
        torch.testing.assert_close(tiny().pair_scores(text, masked).fused[:, 0], fuse(text, [whole])[1][:, 0])


def test_without_pictures_an_item_scores_as_its_sound_alone() -> None:
    text, unseen = query([4, 2]), token_set(3, 0, 9)
    fused, video, audio, _ = fuse(text, [unseen, token_set(4)])
    assert torch.equal(fused[:, 0], audio[:, 0]) and video[:, 0].tolist() == [0.0, 0.0]


def test_when_all_is_masked_the_score_is_zero_and_gradients_are_finite() -> None:
    network = head()
    clips = collate([token_set(1), token_set(2)], CELLS, WIDTH).only(())
    text = query([3, 0])
    tokens = text.tokens.requires_grad_()
    pairs = network(dataclasses.replace(text, tokens=tokens), clips)
    assert pairs.fused.tolist() == pairs.video.tolist() == pairs.audio.tolist() == [[0.0, 0.0]] * 2
    (gradient,) = torch.autograd.grad(pairs.fused.sum(), tokens)
    assert bool(gradient.isfinite().all())


def test_permuting_queries_permutes_scores_and_nothing_else() -> None:
    text = query([4, 2, 6])
    order = torch.tensor([2, 0, 1])
    turned = TextEncoding(
        text.tokens[order],
        text.mask[order],
        text.pooled[order],
        text.gist[order],
        *([], [], []),
        [text.spelled[row] for row in order],
    )
    items = [token_set(1), token_set(2, 0, 4), token_set(3, 2, 0)]
    for before, after in zip(fuse(text, items), fuse(turned, items), strict=True):
        torch.testing.assert_close(before[order], after, rtol=0, atol=1e-6)


def test_scores_are_cosines() -> None:
    for scores in fuse(query([4, 2, 6]), [token_set(seed) for seed in range(5)]):
        assert float(scores.abs().max()) <= 1.0 + 1e-6 and float(scores.std()) > 0.0


def test_half_precision_never_reaches_the_fusion() -> None:
    text, clips = query([4, 2]), collate([token_set(1), token_set(2)], CELLS, WIDTH)
    halves = dataclasses.replace(clips, video=clips.video.bfloat16(), audio=clips.audio.bfloat16())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = head()(text, halves)
        whole = dataclasses.replace(halves, video=halves.video.float(), audio=halves.audio.float())
    with torch.inference_mode():
        torch.testing.assert_close(found.fused, head()(text, whole).fused)
    assert found.fused.dtype == torch.float32


def test_the_coarse_vectors_have_a_share_that_differs_by_query() -> None:
    late = tiny().late
    assert late is not None
    shares = late(query([3] * 40).pooled)
    assert 0.0 < float(shares.min()) < 0.5 < float(shares.max()) < 1.0
    torch.testing.assert_close(QueryShare(WIDTH, 0.2)(query([3, 2]).pooled), torch.full((2, 1), 0.2))


def test_the_gate_starts_at_one_and_every_word_counts_alike() -> None:
    network = FusionHead(WIDTH, 3, 0.1).requires_grad_(False)
    pairs = network(query([4, 2]), collate([token_set(1)], CELLS, WIDTH))
    assert pairs.gate.unique().tolist() == [1.0]
    torch.testing.assert_close(pairs.cls_weights[1], torch.tensor([0.5, 0.5, 0.0, 0.0]))


# Coarse vectors


def coarse() -> CoarseEncoder:
    encoder = CoarseEncoder(WIDTH)
    scramble(encoder)
    return encoder


def test_coarse_vectors_have_three_unit_parts_or_zeros() -> None:
    clips = collate([token_set(1), token_set(2, 0, 5), token_set(3, 2, 0), token_set(4, 0, 0)], CELLS, WIDTH)
    with torch.no_grad():
        lengths = coarse().clips(clips).view(4, 3, WIDTH).norm(dim=-1)
    expected = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(lengths, expected)


def test_coarse_vectors_are_blind_to_padding() -> None:
    items = [token_set(1, 1, 3), token_set(2, 8, 40)]
    with torch.no_grad():
        together = coarse().clips(padded(collate(items, CELLS, WIDTH), 5, 5))
        alone = [coarse().clips(collate([item], CELLS, WIDTH))[0] for item in items]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("modalities", "used"), [(("video", "audio"), [0, 1, 2]), (("video",), [0]), (("audio",), [1])]
)
def test_a_coarse_query_uses_the_parts_of_its_modalities(modalities: tuple[str, ...], used: list[int]) -> None:
    with torch.no_grad():
        parts = coarse().queries(query([3, 2]), modalities).view(2, 3, WIDTH).norm(dim=-1).numpy()
    np.testing.assert_allclose(parts.sum(axis=1), [1.0, 1.0], rtol=1e-5)  # gates over unit vectors
    assert (parts > 0).tolist() == [[place in used for place in range(3)]] * 2


def test_what_roberta_says_of_a_text_moves_its_query_for_pictures_alone() -> None:
    encoder = CoarseEncoder(WIDTH, wide=24, gist_width=WIDTH).eval()
    text = query([3, 2])
    other = dataclasses.replace(text, gist=text.gist.flip(0))
    with torch.no_grad():
        assert torch.equal(encoder.parts(text), encoder.parts(other))  # nothing of it until it learns
        scramble(encoder)
        before, after = encoder.parts(text), encoder.parts(other)
    assert (before != after).any(dim=-1).tolist() == [[True, False, False]] * 2
