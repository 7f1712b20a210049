"""Stored weights: saving what was loaded gives the same numbers, and words keep their meaning as int8 rows."""

import torch

from model.storage import BY_ROWS, SCALES, narrowed, widened


def state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    rows = torch.randn(40, 16, generator=draw) * torch.logspace(-3, 1, 40).unsqueeze(1)
    rows[7] = 0.0
    return {BY_ROWS: rows, "fusion.cls": torch.randn(16, generator=draw), "steps": torch.arange(3)}


def test_what_was_loaded_is_stored_as_before() -> None:
    stored = narrowed(state())
    again = narrowed(widened(stored))
    assert stored.keys() == again.keys() and all(torch.equal(stored[name], again[name]) for name in stored)
    assert stored[BY_ROWS].dtype == torch.int8 and stored["steps"].dtype == torch.int64


def test_each_row_keeps_its_direction_whatever_its_length() -> None:
    rows, found = state()[BY_ROWS], widened(narrowed(state()))[BY_ROWS]
    error = (rows - found).abs().amax(dim=1)
    assert bool((error <= rows.abs().amax(dim=1) / 127).all())
    assert bool((found[7] == 0).all())


def test_a_checkpoint_from_before_there_were_scales_loads() -> None:
    old = {name: value.half() if value.is_floating_point() else value for name, value in state().items()}
    found = widened(old)
    assert SCALES not in found and torch.equal(found[BY_ROWS], old[BY_ROWS].float())
