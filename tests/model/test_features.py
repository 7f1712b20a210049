"""What a frozen trunk says of each frame is computed once, and survives a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.examples import compute_features
from model.data.features import FeatureStore
from model.data.items import ClipCache
from tests.model.small_data import SHAPE, mixed_sources, quiet


class Brightness:
    """A trunk whose map is the mean of each frame, so that a test can tell frames apart."""

    def keep(self, frames: torch.Tensor) -> list[torch.Tensor]:
        C, T = frames.shape[:2]
        mean = frames.float().mean(dim=(2, 3, 4)) / 255
        return [mean.view(C, T, 1, 1, 1).expand(C, T, 3, 2, 2), mean.view(C, T, 1, 1, 1)]


SHAPES = [(3, 2, 2), (1, 1, 1)]


def test_kept_features_are_what_the_trunk_gives(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources = mixed_sources(tmp_path, cache)
    store = FeatureStore(tmp_path / "s", SHAPES)
    assert not compute_features(sources, cache, Brightness(), store, 3, quiet)  # type: ignore[arg-type]
    stills, films_ = (next(s for s in sources if s.form == form).examples for form in ("still", "film"))
    assert all(example.feature_key(0, view) in store for example in stills for view in range(3))
    assert all(store.steps(example.feature_key(0, 0)) == 4 for example in films_)
    assert films_[0].feature_key(0, 1) not in store
    for reopened in (store, FeatureStore(tmp_path / "s", SHAPES)):
        levels = reopened.get([example.feature_key(0, 0) for example in films_])
        assert [tuple(level.shape) for level in levels] == [(4, 4, 3, 2, 2), (4, 4, 1, 1, 1)]
        for row, example in enumerate(films_):
            frames = cache.clip(example.item, 0, example.spans[0]).frames
            assert frames is not None
            expected = torch.from_numpy(frames.astype(np.float32)).mean(dim=(1, 2, 3)) / 255
            torch.testing.assert_close(levels[1][row].flatten(), expected, atol=1e-3, rtol=0)
    rows = store.rows
    compute_features(sources, cache, Brightness(), store, 3, quiet)  # type: ignore[arg-type]
    assert store.rows == rows  # nothing is computed twice


@pytest.mark.parametrize("left", ["half a row", "half a line", "a line without its row", "a row without its line"])
def test_what_a_killed_run_left_half_done_is_cut_off(tmp_path: Path, left: str) -> None:
    def maps(value: float) -> list[torch.Tensor]:
        return [torch.full((2, 3, 2, 2), value), torch.full((2, 1, 1, 1), value)]

    store = FeatureStore(tmp_path, SHAPES)
    with store.writing():
        store.add("a", maps(1.0))
        store.add("b", maps(2.0))
    rows, index = tmp_path / "rows.f16", tmp_path / "index.jsonl"
    if left == "half a row":
        rows.write_bytes(rows.read_bytes() + b"\1" * 7)
    elif left == "half a line":
        index.write_text(index.read_text() + '["c", 4')
    elif left == "a line without its row":
        index.write_text(index.read_text() + '["c", 4, 2]\n')
    else:
        rows.write_bytes(rows.read_bytes() + b"\1" * (2 * 2 * store.width))
    again = FeatureStore(tmp_path, SHAPES)
    assert "c" not in again
    with again.writing():
        again.add("d", maps(4.0))
    for reader in (again, FeatureStore(tmp_path, SHAPES)):
        values = [reader.get([key])[1].flatten().tolist() for key in ("a", "b", "d")]
        assert values == [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]


def test_a_store_is_written_only_while_it_is_held(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SHAPES)
    with pytest.raises(ValueError, match="held"):
        store.add("a", [torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 1, 1)])
    with store.writing(), pytest.raises(ValueError, match="values"):
        store.add("a", [torch.zeros(1, 3, 2, 2)])
