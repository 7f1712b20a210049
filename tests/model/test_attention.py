"""The two cross-attention blocks, beside their equations: groups, exact zeros, the null token, what is left out."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from entmax import entmax_bisect
from torch import Tensor

from model.attention import AudioTextAttention, VideoTextAttention, temporal_scales
from model.clip_tokens import ClipTokens
from model.clips import collate
from model.threshold import entmax
from tests.model import slow_reference
from tests.model.samples import CELLS, WIDTH, fresh_tiny, query, scramble, token_set

LEVELS = 3


def clips(*shapes: tuple[int, int], dtype: torch.dtype = torch.float64) -> ClipTokens:
    """Collated clips of (time steps, sounds)."""
    batch = collate([token_set(seed, steps, sounds) for seed, (steps, sounds) in enumerate(shapes)], CELLS, WIDTH)
    return dataclasses.replace(batch, video=batch.video.to(dtype), audio=batch.audio.to(dtype))


def video_block() -> VideoTextAttention:
    block = VideoTextAttention(WIDTH, LEVELS).double()
    scramble(block)
    return block.eval().requires_grad_(False)


def audio_block() -> AudioTextAttention:
    block = AudioTextAttention(WIDTH, 0.1).double()
    scramble(block)
    return block.eval().requires_grad_(False)


def test_temporal_scales_are_frames_thirds_and_the_whole_clip_of_each_level() -> None:
    batch = clips((4, 0), (1, 0), (0, 0))
    keys, membership, shares = temporal_scales(batch, LEVELS)
    V = batch.video.shape[1]
    assert keys.shape[1] == V + 3 * LEVELS + LEVELS and membership.shape[2] == 3 * LEVELS
    coarse = batch.video_levels[0] == 2
    torch.testing.assert_close(keys[0, -1], batch.video[0, coarse].mean(dim=0))
    in_third = coarse & ((batch.video_places[0] * 3).long() == 1)
    torch.testing.assert_close(keys[0, V + 3 * 2 + 1], batch.video[0, in_third].mean(dim=0))
    assert membership.sum(dim=2).unique().tolist() == [0.0, 1.0]  # a key belongs to one group, an absent one to none
    torch.testing.assert_close(shares.sum(dim=2), membership.sum(dim=2).to(shares.dtype))
    assert float(membership[2].sum()) == 0.0
    third_groups = membership[1].sum(dim=0)[LEVELS : 2 * LEVELS]
    assert third_groups.tolist() == [1.0] * LEVELS  # a still lies in one third alone


def test_video_weights_are_a_softmax_in_each_group_gated_by_the_span() -> None:
    block, batch, text = video_block(), clips((4, 0), (2, 0)), query([3, 2], dtype=torch.float64)
    found = block(text.tokens, text.mask, batch)
    keys, membership, _ = temporal_scales(batch, LEVELS)
    for b in range(2):
        for c in range(2):
            for n in range(int(text.mask[b].sum())):
                cosine = F.cosine_similarity(block.query(text.tokens[b, n]).unsqueeze(0), keys[c], dim=-1)
                present = [group for group in range(block.groups) if membership[c, :, group].any()]
                span = block.span(text.tokens[b, n])[present].softmax(dim=0)
                expected = torch.zeros_like(cosine)
                for group, share in zip(present, span, strict=True):
                    members = membership[c, :, group].bool()
                    temperature = block.log_temperature[group].exp()
                    expected[members] = share * (cosine[members] / temperature).softmax(dim=0)
                torch.testing.assert_close(found.key_weights[b, c, n], expected)
                torch.testing.assert_close(found.affinity[b, c, n], (expected * cosine).sum())


def test_where_a_word_was_seen_sums_to_one_over_the_valid_tokens() -> None:
    batch = clips((4, 0), (2, 0), (0, 3))
    text = query([3, 2], dtype=torch.float64)
    weights = video_block()(text.tokens, text.mask, batch).weights()
    torch.testing.assert_close(weights.sum(dim=-1)[:, :2], torch.ones(2, 2, 3, dtype=torch.float64))
    assert float((weights * ~batch.video_mask[None, :, None, :]).abs().sum()) == 0.0
    assert float(weights[:, 2].abs().sum()) == 0.0


def test_temperatures_have_a_floor_so_that_no_weight_underflows() -> None:
    block, batch, text = video_block().float(), clips((4, 0), dtype=torch.float32), query([3])
    with torch.no_grad():
        block.log_temperature.fill_(-20.0)
    batch = dataclasses.replace(batch, video=-F.normalize(text.tokens[0, :1], dim=-1).expand(1, 24, WIDTH).contiguous())
    weights = block(text.tokens, text.mask, batch).key_weights
    assert bool(weights.isfinite().all())
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 1, 3))


def kept(block: AudioTextAttention, cosine: Tensor, mask: Tensor) -> Tensor:
    return block.threshold(cosine[None, None], mask[None])[0, 0]


def test_threshold_equals_a_slow_entmax_with_exact_zeros() -> None:
    block = audio_block()
    cosine = torch.empty(4, 10, dtype=torch.float64).uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    found = kept(block, cosine, torch.ones(10, dtype=torch.bool))
    for row, expected in zip(found, cosine.tolist(), strict=True):
        values = [float(block.scale) * value for value in expected] + [float(block.null)]
        torch.testing.assert_close(row, row.new_tensor(slow_reference.entmax(values, float(block.alpha))[:-1]))
    assert int((found == 0.0).sum()) > 20  # not merely small


@pytest.mark.parametrize("alpha", [1.05, 1.2, 1.5, 1.9, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_in_service_equals_that_of_training(alpha: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    for spread in (0.0, 1.0, 10.0, 40.0):
        scores = spread * torch.randn(20, 65, generator=generator, dtype=torch.float64)
        scores[:, 40:50] = -1e4  # padding
        expected = entmax_bisect(scores, torch.tensor(alpha, dtype=torch.float64), dim=-1, n_iter=80)
        found = entmax(scores.to(dtype), alpha).double()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-9)
        assert float(found[:, 40:50].abs().sum()) == 0.0


def test_the_null_token_takes_the_mass_when_nothing_is_relevant() -> None:
    block = audio_block()
    mask = torch.ones(6, dtype=torch.bool)
    assert kept(block, torch.full((1, 6), -0.9, dtype=torch.float64), mask).tolist() == [[0.0] * 6]
    certain = kept(block, torch.tensor([[0.99, -0.9, -0.9, -0.9, -0.9, -0.9]], dtype=torch.float64), mask)
    assert float(certain[0, 0]) == pytest.approx(1.0) and certain[0, 1:].tolist() == [0.0] * 5


def test_threshold_never_keeps_padding() -> None:
    mask = torch.tensor([True, True, False])
    weights = kept(audio_block(), torch.tensor([[-0.5, 0.2, 1.0]], dtype=torch.float64), mask)
    assert float(weights[0, 2]) == 0.0 and float(weights[0, 1]) > 0.5


def test_alpha_runs_from_almost_softmax_to_sparsemax_and_starts_at_one_and_a_half() -> None:
    block = AudioTextAttention(WIDTH, 0.1).requires_grad_(False)
    assert float(block.alpha) == pytest.approx(1.5, abs=0.005)
    for logit, expected in ((-50.0, 1.05), (50.0, 2.0)):
        with torch.no_grad():
            block.alpha_logit.fill_(logit)
        assert float(block.alpha) == pytest.approx(expected)


def test_audio_weights_never_exceed_one_and_alignment_rows_sum_to_one() -> None:
    batch, text = clips((2, 9), (2, 1), (2, 30), (2, 0)), query([3, 1, 5], dtype=torch.float64)
    heard = audio_block()(text.tokens, text.mask, text.pooled, batch)
    valid = text.mask.unsqueeze(1) & batch.audio_mask.any(dim=1).view(1, -1, 1)
    for weights in (heard.weights, heard.kept):
        assert float(weights.sum(dim=-1).max()) <= 1.0 + 1e-9 and float(weights.min()) >= 0.0
    torch.testing.assert_close(heard.aligned.sum(dim=-1), valid.double())
    torch.testing.assert_close(heard.weights, _mixed(heard.order, heard.kept, heard.aligned))


def _mixed(order: Tensor, first: Tensor, second: Tensor) -> Tensor:
    share = order.unsqueeze(-1)
    return (1.0 - share) * first + share * second


def test_order_gate_depends_on_the_query_alone() -> None:
    block, text = audio_block(), query([3, 2, 4], dtype=torch.float64)
    one = block(text.tokens, text.mask, text.pooled, clips((2, 9)))
    many = block(text.tokens, text.mask, text.pooled, clips((2, 4), (2, 30)))
    torch.testing.assert_close(one.order, many.order)
    assert float(one.order.std()) > 1e-3


def dense_output(seed: int, valid: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A block's output, a CLS vector and weights to pool with."""
    text = query([4, 2], seed, dtype=torch.float64)
    batch = clips((3, 6), (0, 0) if not valid else (1, 2), (2, 4))
    return video_block()(text.tokens, text.mask, batch).output, text.pooled[0], torch.rand(2, 3, 4, dtype=torch.float64)


@pytest.mark.parametrize("valid", [True, False])
def test_factors_equal_the_dense_output(valid: bool) -> None:
    output, vector, weights = dense_output(5, valid)
    dense = output.dense()
    torch.testing.assert_close(output.dot(vector), dense @ vector)
    torch.testing.assert_close(output.pool(weights), torch.einsum("bcn,bcnd->bcd", weights, dense))


def test_audio_factors_equal_the_dense_output() -> None:
    batch, text = clips((2, 9), (2, 0), (2, 3)), query([3, 2], dtype=torch.float64)
    output = audio_block()(text.tokens, text.mask, text.pooled, batch).output
    dense = output.dense()
    assert float(dense[:, 1].abs().sum()) == 0.0 and float(dense[1, :, 2].abs().sum()) == 0.0
    torch.testing.assert_close(output.dot(text.pooled[1]), dense @ text.pooled[1])
    torch.testing.assert_close(output.pool(text.mask.double().unsqueeze(1).expand(2, 3, 3)), dense.sum(dim=2))


def test_gradients_are_finite_with_padding_and_missing_modalities() -> None:
    head = fresh_tiny().fusion
    batch = clips((4, 9), (0, 3), (2, 0), (0, 0), dtype=torch.float32)
    tokens = [batch.video.requires_grad_(), batch.audio.requires_grad_()]
    text = query([3, 1, 0])
    pairs = head(text, batch)
    scores = (pairs.fused + pairs.video + pairs.audio).sum()
    gradients = torch.autograd.grad(scores, [*tokens, *head.parameters()], allow_unused=True)
    assert sum(gradient is not None for gradient in gradients) > 20  # all but the loss's scale
    assert all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)
    assert float(gradients[0][~batch.video_mask].abs().sum() + gradients[1][~batch.audio_mask].abs().sum()) == 0.0
    assert float(gradients[1][batch.audio_mask].abs().sum()) > 0.0
