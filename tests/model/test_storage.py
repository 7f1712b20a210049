"""Stored weights: saving what was loaded gives the same numbers, and words keep their meaning as int8 rows."""

import torch

from model.storage import SCALE, narrowed, widened

WORDS = "text.embeddings.word_embeddings.weight"
WIDE = ("coarse.gist.wide", "coarse.widened.out", "coarse.glance.out", "video.glance.wide")


def state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    rows = torch.randn(40, 16, generator=draw) * torch.logspace(-3, 1, 40).unsqueeze(1)
    rows[7] = 0.0
    return {
        WORDS: rows,
        **{f"{name}.weight": rows.flip(0) for name in WIDE},
        "video.summary.wide.weight": rows.flip(0),
        "fusion.cls": torch.randn(16, generator=draw),
        "steps": torch.arange(3),
    }


def test_what_was_loaded_is_stored_as_before() -> None:
    stored = narrowed(state())
    again = narrowed(widened(stored))
    assert stored.keys() == again.keys() and all(torch.equal(stored[name], again[name]) for name in stored)
    by_rows = {name for name, value in stored.items() if value.dtype == torch.int8}
    assert by_rows == {WORDS, *(f"{name}.weight" for name in WIDE)} and stored["steps"].dtype == torch.int64


def test_each_row_keeps_its_direction_whatever_its_length() -> None:
    rows, found = state()[WORDS], widened(narrowed(state()))[WORDS]
    error = (rows - found).abs().amax(dim=1)
    assert bool((error <= rows.abs().amax(dim=1) / 127).all())
    assert bool((found[7] == 0).all())


def test_a_checkpoint_from_before_there_were_scales_loads() -> None:
    old = {name: value.half() if value.is_floating_point() else value for name, value in state().items()}
    found = widened(old)
    assert WORDS + SCALE not in found and torch.equal(found[WORDS], old[WORDS].float())
