"""What a frozen trunk says of each frame is computed once, and survives a kill."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.data.examples import Folder, compute_features, gather
from model.data.features import FeatureStore
from model.data.items import ClipCache
from tests.model.small_data import SHAPE, mixed_sources, quiet, write_lines


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


class Brighter:
    """A trunk that says how much brighter the right half of a picture is than the left."""

    def keep(self, frames: torch.Tensor) -> list[torch.Tensor]:
        C, T, _, _, S = frames.shape
        half = [part.float().mean(dim=(2, 3, 4)) for part in (frames[..., : S // 2], frames[..., S // 2 :])]
        return [((half[1] - half[0]) / 255).view(C, T, 1, 1, 1)]


def test_a_text_that_tells_left_from_right_never_gets_a_view_mirrored_for_another_text(tmp_path: Path) -> None:
    """The same photograph in two folders, whose runs share a store."""
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 64, 3))
    cache, store, views = ClipCache(tmp_path / "c", SHAPE), FeatureStore(tmp_path / "s", [(1, 1, 1)]), 9
    found = {}
    for text in ("a lamp", "a lamp on the right"):
        folder = tmp_path / text
        folder.mkdir()
        Image.fromarray(np.ascontiguousarray(ramp)).save(folder / "a.png")
        sources, _ = gather([Folder(write_lines(folder, [{"file": "a.png", "texts": [text]}]))], "train", cache, quiet)
        assert not compute_features(sources, cache, Brighter(), store, views, quiet)  # type: ignore[arg-type]
        (example,) = sources[0].examples
        found[text] = [float(store.get([example.feature_key(0, view)])[0]) for view in range(views)]
    assert min(found["a lamp"]) < 0 < max(found["a lamp"])
    assert min(found["a lamp on the right"]) > 0
    assert store.rows == 2 * views - 1  # the picture as it is serves both


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


def test_who_waits_for_another_to_fill_the_store_is_told_and_sees_what_that_one_added(tmp_path: Path) -> None:
    first, second = (FeatureStore(tmp_path / "s", SHAPES) for _ in range(2))
    told, filled = threading.Event(), []

    def wait_and_look() -> None:
        with second.writing(told.set):
            filled.append("a" in second)

    with first.writing():
        waiting = threading.Thread(target=wait_and_look)
        waiting.start()
        assert told.wait(30) and not filled
        first.add("a", [torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 1, 1)])
    waiting.join(30)
    assert filled == [True]
    told.clear()
    with first.writing(told.set):
        assert not told.is_set(), "nobody else holds it"
