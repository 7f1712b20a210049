"""How well a checkpoint finds the items of a manifest by their texts: protocol and document of DESIGN section 6.

Pixels and sound alone are scored: names, titles, tags and the manifest's texts are never seen by the network. The
shortlist of `--mode service` is the service's own and is handed in by the app, for this room must not know the index.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.cachedir import cache_dir
from model.data.manifest import Item, ManifestError, load_manifest
from model.evaluation.gallery import EncodedGallery, encode_gallery
from model.evaluation.metrics import figures, rank
from model.evaluation.queries import Gallery, Query, candidates, gather_queries
from model.retriever import Retriever
from model.text import TextEncoding

QUERY_BATCH = 8
CLIP_BATCH = 64

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Mode = Literal["exhaustive", "service"]
Progress = Callable[[str, int, int], None]


class Shortlister(Protocol):
    """The service's choice of clips to rerank."""

    def __call__(self, clips: Float32, item_of: Rows, queries: Float32, allowed: list[Rows]) -> list[Rows]:
        """Rows of `clips` [C, 3d] for each of `queries` [Q, 3d], out of those allowed; `item_of` [C] is the video."""
        ...


class EvaluationError(ManifestError):
    """The data cannot be evaluated on."""

    code: ClassVar[str] = "cannot_evaluate"


@dataclass(frozen=True)
class Request:
    """What to evaluate on, and how."""

    data: Path
    split: str = "test"
    gallery: Gallery = "split"
    mode: Mode = "exhaustive"
    seed: int = 0
    cache: Path | None = None


def silent(_what: str, _done: int, _of: int) -> None:
    """No progress shown."""


def evaluate(
    request: Request, retriever: Retriever, shortlister: Shortlister | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """The evaluation document. Raises ManifestError, or EvaluationError when there is nothing to ask."""
    if request.mode == "service" and shortlister is None:
        raise EvaluationError("the mode 'service' needs the service's shortlist.", "Run it as `htav evaluate`.")
    items = load_manifest(request.data, request.split)
    queries = gather_queries(items, request.gallery)
    if not queries:
        raise EvaluationError(
            f"no item of the split '{request.split}' of {request.data} has a text.", "Choose another split."
        )
    encoded = encode_gallery(items, retriever, request.cache or cache_dir("evaluation"), progress)
    among = _candidate_rows(items, queries, encoded)
    if request.mode == "service" and shortlister is not None:
        among = _shortlists(retriever, queries, encoded, among, shortlister)
    ranks = _ranks(items, queries, encoded, score_queries(retriever, queries, encoded, among, progress))
    kinds = sorted({kind for query in queries for kind in query.kinds})
    return {
        "model": retriever.name,
        "data": str(request.data),
        "split": request.split,
        "seed": request.seed,
        "mode": request.mode,
        "gallery": request.gallery,
        "overall": _figures(queries, ranks, len(items), request.seed),
        "kinds": {kind: _figures(queries, ranks, len(items), request.seed, kind) for kind in kinds},
        "pool": {"items": len(items), "clips": len(encoded.clips)},
        "failed": [
            {"file": failure.file, "code": failure.code, "message": failure.message} for failure in encoded.failures
        ],
    }


def _candidate_rows(items: Sequence[Item], queries: Sequence[Query], encoded: EncodedGallery) -> list[Rows]:
    """The clips each query may be scored against."""
    by_group: dict[str | None, Rows] = {}
    for query in queries:
        if query.group not in by_group:
            by_group[query.group] = encoded.clips_of(candidates(items, query))
    return [by_group[query.group] for query in queries]


def _shortlists(
    retriever: Retriever, queries: Sequence[Query], encoded: EncodedGallery, among: list[Rows], shortlister: Shortlister
) -> list[Rows]:
    clips = retriever.coarse_vectors(encoded.clips)
    vectors = np.concatenate([retriever.coarse_query(text) for _, text in _texts(retriever, queries)])
    return shortlister(clips, encoded.item_of, vectors, among)


def _texts(retriever: Retriever, queries: Sequence[Query]) -> list[tuple[list[int], TextEncoding]]:
    """The queries encoded, some at a time, with their numbers."""
    numbers = [
        list(range(start, min(start + QUERY_BATCH, len(queries)))) for start in range(0, len(queries), QUERY_BATCH)
    ]
    return [(rows, retriever.encode_text([queries[row].text for row in rows])) for rows in numbers]


@torch.inference_mode()
def score_queries(
    retriever: Retriever,
    queries: Sequence[Query],
    encoded: EncodedGallery,
    among: Sequence[Rows],
    progress: Progress = silent,
) -> list[Float32]:
    """For each query the fused score of every clip [C]; -inf for the clips it is not scored against."""
    scores = [np.full(len(encoded.clips), -np.inf, np.float32) for _ in queries]
    together: dict[bytes, list[int]] = defaultdict(list)
    for number, rows in enumerate(among):
        together[rows.tobytes()].append(number)
    done = 0
    for numbers in together.values():
        rows = among[numbers[0]]
        blocks = [rows[start : start + CLIP_BATCH] for start in range(0, len(rows), CLIP_BATCH)]
        collated = [retriever.collate([encoded.clips[row] for row in block]) for block in blocks]
        for start in range(0, len(numbers), QUERY_BATCH):
            batch = numbers[start : start + QUERY_BATCH]
            text = retriever.encode_text([queries[number].text for number in batch])
            for block, clips in zip(blocks, collated, strict=True):
                fused = retriever.pair_scores(text, clips).fused.float().numpy()
                for place, number in enumerate(batch):
                    scores[number][block] = fused[place]
            done += len(batch)
            progress("score the queries", done, len(queries))
    return scores


def item_scores(clip_scores: Float32, item_of: Rows, items: int) -> Float32:
    """An item's score is its best clip's; an item without one scores -inf."""
    best = np.full(items, -np.inf, np.float32)
    np.maximum.at(best, item_of, clip_scores)
    return best


def _ranks(
    items: Sequence[Item], queries: Sequence[Query], encoded: EncodedGallery, scores: Sequence[Float32]
) -> list[float]:
    ranks = []
    galleries = {query.group: np.asarray(candidates(items, query)) for query in {q.group: q for q in queries}.values()}
    for query, clip_scores in zip(queries, scores, strict=True):
        gallery = galleries[query.group]
        relevant = np.isin(gallery, list(query.relevant))
        ranks.append(rank(item_scores(clip_scores, encoded.item_of, len(items))[gallery], relevant))
    return ranks


def _figures(
    queries: Sequence[Query], ranks: Sequence[float], items: int, seed: int, kind: str | None = None
) -> dict[str, Any]:
    """The figures of all queries, or of those of one kind; the gallery stays the same."""
    chosen = [number for number, query in enumerate(queries) if kind is None or kind in query.kinds]
    return figures([ranks[number] for number in chosen], [queries[number].owners for number in chosen], items, seed)
