"""T30: what the coarse index finds, with and without filters, is what looking at every vector finds."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.coarse import CoarseIndex, FlatIndex, IvfIndex, build_coarse, open_coarse
from indexer.errors import IndexCorrupt
from indexer.sealed import block_digests, check_blocks

K = 10
D = 48


def clustered(n: int, seed: int = 0) -> NDArray[np.float16]:
    """Vectors [n, D] in clusters, each third of length 1, as coarse vectors are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, D))
    vectors = centres[rng.integers(0, 40, n)] + 0.7 * rng.standard_normal((n, D))
    blocks = vectors.reshape(n, 3, D // 3)
    return (blocks / np.linalg.norm(blocks, axis=2, keepdims=True)).reshape(n, D).astype(np.float16)


def brute_force(vectors: NDArray[np.float16], query: NDArray[np.float32], allow: NDArray[np.int64]) -> set[int]:
    scores = vectors[allow].astype(np.float32) @ query
    return {int(allow[row]) for row in np.argsort(-scores, kind="stable")[:K]}


def mean_recall(index: CoarseIndex, vectors: NDArray[np.float16], filters: int) -> float:
    n, rng, recalls = len(vectors), np.random.default_rng(5), []
    for _ in range(filters):
        query = clustered(1, int(rng.integers(1 << 30)))[0].astype(np.float32)
        if rng.random() < 0.3:
            query[: D // 3] = 0
        allow = np.flatnonzero(rng.random(n) < 10 ** rng.uniform(-2.5, 0)).astype(np.int64)
        _, found = index.search(query[None], K, allow)
        truth = brute_force(vectors, query, allow)
        assert set(found[0][found[0] >= 0]) <= set(allow)
        recalls.append(len(truth & set(found[0])) / len(truth) if truth else 1.0)
    return float(np.mean(recalls))


def test_flat_equals_brute_force_on_random_filters() -> None:
    vectors = clustered(1500)
    assert mean_recall(FlatIndex.build(vectors), vectors, 1000) == 1.0


def test_ivf_finds_nearly_all_on_random_filters() -> None:
    vectors = clustered(6000)
    index = build_coarse(vectors, flat_limit=5000)
    assert isinstance(index, IvfIndex) and 1 < index.probes < index.describe()["lists"]
    assert mean_recall(index, vectors, 300) >= 0.95


def test_ivf_with_too_few_probes_would_be_caught() -> None:
    """The control of the test above."""
    vectors = clustered(6000)
    index = IvfIndex.build(vectors)
    index.probes = 1
    assert mean_recall(index, vectors, 100) < 0.95


def test_a_narrow_filter_loses_nothing_in_ivf() -> None:
    vectors = clustered(4000)
    index = IvfIndex.build(vectors)
    index.probes = 1
    for seed in range(20):
        allow = np.random.default_rng(seed).choice(4000, 15, replace=False).astype(np.int64)
        query = clustered(1, seed)[0].astype(np.float32)
        assert set(index.search(query[None], K, allow)[1][0]) == brute_force(vectors, query, allow)


def test_few_rows_are_padded() -> None:
    index = FlatIndex.build(clustered(3))
    scores, rows = index.search(np.ones((2, D), np.float32), 5)
    assert (rows[:, 3:] == -1).all() and (scores[:, 3:] == -np.inf).all() and (rows[:, :3] >= 0).all()
    assert (index.search(np.ones((1, D), np.float32), 5, np.empty(0, np.int64))[1] == -1).all()
    assert (FlatIndex.build(np.empty((0, D), np.float16)).search(np.ones((1, D), np.float32), 2)[1] == -1).all()


@pytest.mark.parametrize("kind", [FlatIndex, IvfIndex])
def test_a_saved_index_answers_as_before(kind: type[FlatIndex] | type[IvfIndex], tmp_path: Path) -> None:
    built = kind.build(clustered(2000))
    built.save(tmp_path / "i")
    opened = open_coarse(tmp_path / "i", built.describe())
    query = clustered(4, 9).astype(np.float32)
    for before, after in zip(built.search(query, K), opened.search(query, K), strict=True):
        np.testing.assert_array_equal(before, after)
    assert opened.describe() == built.describe()


def test_a_search_changes_nothing_in_the_index() -> None:
    index = IvfIndex.build(clustered(2000))
    before = faiss.serialize_index(index._index).tobytes()
    index.search(clustered(1, 3).astype(np.float32), K, np.arange(100, dtype=np.int64))
    index.search(clustered(1, 3).astype(np.float32), K)
    assert faiss.serialize_index(index._index).tobytes() == before


def test_every_flipped_bit_is_noticed_by_our_digests_and_not_by_faiss(tmp_path: Path) -> None:
    index, path = FlatIndex.build(clustered(2000)), tmp_path / "i"
    index.save(path)
    entry, original = block_digests(path), path.read_bytes()
    rng, silent = np.random.default_rng(0), 0
    for _ in range(40):
        damaged = bytearray(original)
        position = int(rng.integers(2000, len(damaged) * 8))
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(IndexCorrupt):
            check_blocks(path, entry)
        silent += isinstance(open_coarse(path, index.describe()), FlatIndex)
    assert silent == 40, "FAISS has learnt to check its files: are our digests still needed?"


def test_digests_cover_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.sealed.BLOCK_BYTES", 100)
    path = tmp_path / "f"
    path.write_bytes(bytes(range(250)))
    entry = block_digests(path)
    assert (entry["size"], len(entry["digests"])) == (250, 3)
    check_blocks(path, entry)
    path.write_bytes(bytes(range(249)) + b"\0")
    with pytest.raises(IndexCorrupt, match="block 2"):
        check_blocks(path, entry)
    path.write_bytes(b"")
    with pytest.raises(IndexCorrupt, match="0 bytes instead of 250"):
        check_blocks(path, entry)
    path.unlink()
    with pytest.raises(IndexCorrupt, match="missing"):
        check_blocks(path, entry)
