"""Soft-DTW in closed form: equal to the recursion and to counting paths, with exact gradients, blind to padding."""

import math

import pytest
import torch
from torch import Tensor

from model.alignment import alignment_rows, expected_alignment, monotone_score, soft_dtw
from tests.model import slow_reference

SIZES = [(1, 1), (1, 7), (6, 1), (3, 5), (5, 3), (4, 4)]


def lengths(*values: int) -> Tensor:
    return torch.tensor(values)


def costs(*shape: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "a"), SIZES)
@pytest.mark.parametrize("gamma", [0.05, 0.1, 1.0])
def test_value_and_alignment_equal_the_recursion(n: int, a: int, gamma: float) -> None:
    D = costs(1, n, a, seed=n * 10 + a)
    E = expected_alignment(D, lengths(n), lengths(a), gamma)[0]
    assert math.isclose(
        float(soft_dtw(D, lengths(n), lengths(a), gamma)), slow_reference.soft_dtw(D[0].tolist(), gamma)
    )
    torch.testing.assert_close(E, E.new_tensor(slow_reference.expected_alignment(D[0].tolist(), gamma)))


def test_alignment_is_the_weight_of_the_paths_through_each_cell() -> None:
    D = costs(1, 3, 4, seed=3)
    E = expected_alignment(D, lengths(3), lengths(4), 0.3)[0]
    torch.testing.assert_close(E, E.new_tensor(slow_reference.expected_alignment_by_paths(D[0].tolist(), 0.3)))
    assert float(E[0, 0]) == pytest.approx(1.0) and float(E[-1, -1]) == pytest.approx(1.0)  # every path starts and ends


def test_single_precision_stays_close_for_the_largest_tables() -> None:
    D = costs(8, 62, 64, seed=5)
    sizes = torch.full((8,), 62), torch.full((8,), 64)
    rows = alignment_rows(expected_alignment(D.float(), *sizes, 0.1))
    torch.testing.assert_close(rows.double(), alignment_rows(expected_alignment(D, *sizes, 0.1)), rtol=0, atol=2e-4)


def test_half_precision_is_computed_in_single() -> None:
    D = costs(2, 12, 40).to(torch.bfloat16)
    sizes = lengths(12, 9), lengths(40, 31)
    E = expected_alignment(D, *sizes, 0.1)
    assert E.dtype == torch.float32
    torch.testing.assert_close(E, expected_alignment(D.float(), *sizes, 0.1))
    assert soft_dtw(D, *sizes, 0.1).dtype == torch.float32


def test_gradients_of_the_value() -> None:
    D = costs(3, 4, 5).requires_grad_()
    sizes = lengths(4, 2, 0), lengths(5, 3, 4)
    assert torch.autograd.gradcheck(lambda d: soft_dtw(d, *sizes, 0.2), (D,))


def test_gradients_of_the_alignment() -> None:
    D = costs(4, 4, 5).requires_grad_()
    sizes = lengths(4, 2, 1, 0), lengths(5, 3, 5, 2)
    assert torch.autograd.gradcheck(lambda d: expected_alignment(d, *sizes, 0.2), (D,))


def test_gradients_reach_through_the_rows() -> None:
    D = costs(2, 3, 6).requires_grad_()
    sizes = lengths(3, 2), lengths(6, 4)
    assert torch.autograd.gradcheck(lambda d: alignment_rows(expected_alignment(d, *sizes, 0.15)), (D,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pair_is_blind_to_padding_and_to_other_pairs(dtype: torch.dtype) -> None:
    sizes = [(3, 4), (1, 9), (6, 2), (6, 9)]
    blocks = [costs(n, a, seed=place).to(dtype) for place, (n, a) in enumerate(sizes)]
    padded = torch.full((len(sizes), 7, 12), -5.0, dtype=dtype)  # padding that would attract every path
    for row, block in enumerate(blocks):
        padded[row, : block.shape[0], : block.shape[1]] = block
    text, audio = lengths(*(n for n, _ in sizes)), lengths(*(a for _, a in sizes))
    E, value = expected_alignment(padded, text, audio, 0.1), soft_dtw(padded, text, audio, 0.1)
    for row, (block, (n, a)) in enumerate(zip(blocks, sizes, strict=True)):
        alone = expected_alignment(block.unsqueeze(0), lengths(n), lengths(a), 0.1)[0]
        torch.testing.assert_close(E[row, :n, :a], alone, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(value[row : row + 1], soft_dtw(block.unsqueeze(0), lengths(n), lengths(a), 0.1))
        assert float(E[row, n:].abs().sum() + E[row, :, a:].abs().sum()) == 0.0


def test_rows_sum_to_one_or_zero() -> None:
    rows = alignment_rows(expected_alignment(costs(2, 5, 7), lengths(5, 3), lengths(7, 4), 0.1))
    torch.testing.assert_close(rows.sum(dim=2), torch.tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2], dtype=torch.float64))


@pytest.mark.parametrize(("n", "a"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_gives_zero(n: int, a: int) -> None:
    D = costs(1, 3, 3).requires_grad_()
    E, value = expected_alignment(D, lengths(n), lengths(a), 0.1), soft_dtw(D, lengths(n), lengths(a), 0.1)
    assert float(E.detach().abs().sum()) == 0.0 and float(value.detach()) == 0.0
    (E.sum() + value.sum()).backward()
    assert float(D.grad.abs().sum()) == 0.0


@pytest.mark.parametrize("shape", [(2, 0, 4), (2, 4, 0), (0, 3, 3)])
def test_a_table_without_cells_is_no_error(shape: tuple[int, int, int]) -> None:
    sizes = torch.full(shape[:1], shape[1]), torch.full(shape[:1], shape[2])
    assert expected_alignment(torch.zeros(shape), *sizes, 0.1).shape == shape
    assert soft_dtw(torch.zeros(shape), *sizes, 0.1).tolist() == [0.0] * shape[0]


@pytest.mark.parametrize("gamma", [0.0, -0.1])
def test_gamma_must_be_positive(gamma: float) -> None:
    for function in (expected_alignment, soft_dtw):
        with pytest.raises(ValueError, match="gamma must be positive"):
            function(costs(1, 2, 2), lengths(2), lengths(2), gamma)


def slow_monotone(similarity: list[list[float]], gamma: float) -> float:
    """Every placement of the words on tokens in order, one by one."""
    from itertools import combinations

    words, tokens = len(similarity), len(similarity[0])
    sums = [sum(similarity[n][j] for n, j in enumerate(chosen)) for chosen in combinations(range(tokens), words)]
    largest = max(sums)
    mean = sum(math.exp((total - largest) / gamma) for total in sums) / len(sums)
    return (largest + gamma * math.log(mean)) / words


@pytest.mark.parametrize(("n", "a"), [(1, 1), (1, 6), (3, 3), (3, 7), (4, 6)])
def test_monotone_score_equals_trying_every_placement(n: int, a: int) -> None:
    similarity = costs(1, n + 2, a + 3, seed=n + a) - 1.0
    found = monotone_score(similarity, lengths(n), lengths(a), 0.2)
    assert float(found) == pytest.approx(slow_monotone(similarity[0, :n, :a].tolist(), 0.2))


def test_monotone_score_needs_a_token_for_every_word() -> None:
    score = monotone_score(torch.rand(4, 3, 5), lengths(3, 0, 2, 3), lengths(2, 4, 0, 3), 0.1)
    assert score[:3].tolist() == [-1.0, -1.0, -1.0] and float(score[3]) > -1.0
    similarity = torch.rand(2, 3, 4, requires_grad=True)
    monotone_score(similarity, lengths(3, 3), lengths(4, 2), 0.1).sum().backward()
    assert bool(similarity.grad.isfinite().all()) and float(similarity.grad[1].abs().sum()) == 0.0


def test_gradients_of_the_monotone_score() -> None:
    similarity = costs(3, 3, 5).requires_grad_()
    sizes = lengths(3, 2, 3), lengths(5, 4, 2)
    assert torch.autograd.gradcheck(lambda s: monotone_score(s, *sizes, 0.3), (similarity,))
