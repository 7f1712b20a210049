"""The coarse index: the first, fast look over all clips.

It works on rows 0..n-1; which clip a row is, is the snapshot's business. A served index is never changed: filters and
the number of probed lists are given with each search. FAISS notices no corruption, so files are opened only after
`sealed.check_blocks` has passed them; nor does it always notice a full disk, so that we read and write its bytes.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from indexer.sealed import durable_file

faiss: Any = importlib.import_module("faiss")  # its stubs know the C++ signatures, not the Python ones it adds

FLAT_LIMIT = 200_000
ADD_ROWS = 16_384
TRAIN_ROWS_PER_LIST = 64
EXACT_SHARE = 0.1
RECALL_GOAL = 0.98

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class CoarseIndex(Protocol):
    """What a snapshot needs of an index.

    Scores are inner products; where fewer than k rows exist, the row is -1 and its score -inf.
    """

    @classmethod
    def build(cls, vectors: NDArray[np.float16]) -> Self: ...

    @classmethod
    def open(cls, path: Path, description: dict[str, Any]) -> Self: ...

    def save(self, path: Path) -> None: ...

    def describe(self) -> dict[str, Any]: ...

    def search(self, vectors: Vectors, k: int, allow: Rows | None = None) -> tuple[Vectors, Rows]: ...


class _FaissIndex:
    """What the two kinds share: files, selectors and padding."""

    kind: str

    def __init__(self, index: Any) -> None:
        self._index = index

    def save(self, path: Path) -> None:
        """Write a new, durable file. Raises StorageError, InsufficientStorage when there is no room."""
        with durable_file(path) as file:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "rows": self.rows, "dimension": int(self._index.d)}

    def search(self, vectors: Vectors, k: int, allow: Rows | None = None) -> tuple[Vectors, Rows]:
        """The k best rows for each vector, among `allow` (row numbers) if given."""
        B, _ = vectors.shape
        allowed = self.rows if allow is None else len(allow)
        scores = np.full((B, k), -np.inf, np.float32)
        found = np.full((B, k), -1, np.int64)
        wanted = min(k, allowed)
        if wanted == 0:
            return scores, found
        bits = None if allow is None else _bitmap(allow, self.rows)  # must outlive the search: FAISS keeps a pointer
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        parameters = self._parameters(selector, allowed)
        queries = np.ascontiguousarray(vectors, np.float32)
        scores[:, :wanted], found[:, :wanted] = self._index.search(queries, wanted, params=parameters)
        scores[found < 0] = -np.inf
        return scores, found

    def _parameters(self, selector: Any, allowed: int) -> Any:
        raise NotImplementedError


class FlatIndex(_FaissIndex):
    """Exact search over fp16 vectors."""

    kind = "flat"

    @classmethod
    def build(cls, vectors: NDArray[np.float16]) -> Self:
        n, D = vectors.shape
        index = faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        index.train(np.zeros((1, D), np.float32))
        _add(index, vectors)
        return cls(index)

    @classmethod
    def open(cls, path: Path, description: dict[str, Any]) -> Self:  # noqa: ARG003
        return cls(_read(path))

    def _parameters(self, selector: Any, allowed: int) -> Any:  # noqa: ARG002
        return faiss.SearchParameters(sel=selector)


class IvfIndex(_FaissIndex):
    """Inverted lists over fp16 vectors; `probes` lists are read, chosen at build time to reach RECALL_GOAL."""

    kind = "ivf"

    def __init__(self, index: Any, probes: int) -> None:
        super().__init__(index)
        self.probes = probes

    @classmethod
    def build(cls, vectors: NDArray[np.float16]) -> Self:
        n, D = vectors.shape
        lists = max(1, min(int(4 * n**0.5), n // 39))
        quantizer = faiss.IndexFlatIP(D)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, D, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        sample = np.random.default_rng(0).choice(n, min(n, TRAIN_ROWS_PER_LIST * lists), replace=False)
        index.train(vectors[np.sort(sample)].astype(np.float32))
        _add(index, vectors)
        built = cls(index, lists)
        built.probes = built._tune(vectors)
        return built

    @classmethod
    def open(cls, path: Path, description: dict[str, Any]) -> Self:
        return cls(_read(path), int(description["probes"]))

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"lists": int(self._index.nlist), "probes": self.probes}

    def _parameters(self, selector: Any, allowed: int) -> Any:
        """A narrow filter reads every list: few rows are scored anyway, and none of them may be missed."""
        probes = int(self._index.nlist) if allowed <= EXACT_SHARE * self.rows else self.probes
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes)

    def _tune(self, vectors: NDArray[np.float16]) -> int:
        """The fewest lists that find RECALL_GOAL of the true top 100, for whole queries and for each single block.

        A query may use one modality alone, which leaves two thirds of it zero; such queries are the hard ones.
        """
        n, D = vectors.shape
        rng = np.random.default_rng(1)
        sample = vectors[np.sort(rng.choice(n, min(n, 64), replace=False))].astype(np.float32)
        blocks = np.zeros((4, D), np.float32)
        blocks[0] = 1
        for block in range(3):
            blocks[block + 1, block * D // 3 : (block + 1) * D // 3] = 1
        queries = (sample[None] * blocks[:, None]).reshape(-1, D)
        lists, k = int(self._index.nlist), min(100, n)
        _, truth = self._index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=lists))
        probes = min(8, lists)
        while probes < lists:
            _, found = self._index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=probes))
            hits = np.array([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)])
            if hits.reshape(4, -1).mean(1).min() >= RECALL_GOAL:
                break
            probes = min(2 * probes, lists)
        return probes


KINDS: dict[str, type[FlatIndex] | type[IvfIndex]] = {"flat": FlatIndex, "ivf": IvfIndex}


def build_coarse(vectors: NDArray[np.float16], flat_limit: int = FLAT_LIMIT) -> CoarseIndex:
    """The kind of index that suits this many vectors [n, D]."""
    return FlatIndex.build(vectors) if len(vectors) <= flat_limit else IvfIndex.build(vectors)


def open_coarse(path: Path, description: dict[str, Any]) -> CoarseIndex:
    """Open a file whose digests have been checked, with the description stored beside them.

    Raises OSError, FileNotFoundError when a publication has pruned it since the check.
    """
    return KINDS[description["kind"]].open(path, description)


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))


def _add(index: Any, vectors: NDArray[np.float16]) -> None:
    for start in range(0, len(vectors), ADD_ROWS):
        index.add(vectors[start : start + ADD_ROWS].astype(np.float32))


def _bitmap(allow: Rows, rows: int) -> NDArray[np.uint8]:
    mask = np.zeros(rows, np.bool_)
    mask[allow] = True
    return np.packbits(mask, bitorder="little")
