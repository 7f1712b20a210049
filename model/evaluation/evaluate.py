"""How well a checkpoint finds the items of a manifest by their texts: the protocol of docs/evaluation.md.

Pixels and sound alone are scored: names, titles, tags and the manifest's texts are never seen by the network. The
shortlist of `--mode service` is the service's own and is handed in by the app, for this room must not know the index.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.cachedir import cache_dir
from model.coarse import Offered, Wanted
from model.data.manifest import Item, ManifestError, load_manifest
from model.evaluation.controls import Control, duration_scores, sound_removed, sound_shuffled
from model.evaluation.gallery import EncodedGallery, encode_gallery
from model.evaluation.metrics import figures, rank, share
from model.evaluation.queries import Gallery, Query, candidates, gather_queries
from model.evaluation.twins import twin_figures
from model.progress import Progress, silent
from model.retriever import BOTH, Retriever
from model.text import TextEncoding
from model.tokens import TokenSet

QUERY_BATCH = 8
CLIP_BATCH = 64

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Mode = Literal["exhaustive", "service", "compare"]
Modalities = Literal["video", "audio", "both"]


class QueryScores(NamedTuple):
    """What one query scores with each of C clips, [C], and the means that confidence is made of, [C]."""

    fused: Float32
    mean: Float32


class Shortlister(Protocol):
    """The service's choice of clips to rerank."""

    def __call__(self, clips: Offered, item_of: Rows, queries: Sequence[Wanted], allowed: list[Rows]) -> list[Rows]:
        """Rows of the C `clips` for each query, out of those allowed; `item_of` [C] is the video."""
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
    modalities: Modalities = "both"
    control: Control = "none"

    @property
    def scored(self) -> tuple[str, ...]:
        """The modalities as the retriever names them."""
        return BOTH if self.modalities == "both" else (self.modalities,)


def evaluate(
    request: Request, retriever: Retriever, shortlister: Shortlister | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """The evaluation document. Raises ManifestError, or EvaluationError when there is nothing to ask."""
    if request.mode != "exhaustive" and shortlister is None:
        raise EvaluationError(f"the mode '{request.mode}' needs the service's shortlist.", "Run it as `htav evaluate`.")
    items = load_manifest(request.data, request.split)
    queries = gather_queries(items, request.gallery)
    if not queries:
        raise EvaluationError(
            f"no item of the split '{request.split}' of {request.data} has a text.", "Choose another split."
        )
    if request.control == "duration":
        encoded, holds = None, None
        scores = duration_scores(items, queries)
    else:
        encoded = _encoded(request, items, retriever, progress)
        if not encoded.clips:
            raise EvaluationError(
                f"no file of the split '{request.split}' of {request.data} can be read.",
                "".join(f"{failure.file}: {failure.message}" for failure in encoded.failures[:1]),
            )
        scores, holds = _scores(request, retriever, items, queries, encoded, shortlister, progress)
    ranks = _ranks(items, queries, scores)
    return {
        "model": retriever.name,
        "data": str(request.data),
        "split": request.split,
        "seed": request.seed,
        "mode": request.mode,
        "gallery": request.gallery,
        "modalities": request.modalities,
        "control": request.control,
        **_measured(queries, ranks, items, request.seed),
        **_twins(request, items, encoded, retriever, progress),
        **({} if holds is None else {"shortlist": _held(queries, holds, len(items), request.seed)}),
        "pool": {"items": len(items), "clips": len(encoded.clips) if encoded else 0},
        "failed": [
            {"file": failure.file, "code": failure.code, "message": failure.message}
            for failure in (encoded.failures if encoded else [])
        ],
    }


def _encoded(request: Request, items: Sequence[Item], retriever: Retriever, progress: Progress) -> EncodedGallery:
    """The gallery's token sets, with what the control does to their sound."""
    encoded = encode_gallery(items, retriever, request.cache or cache_dir("evaluation"), progress)
    if request.control == "removed":
        return sound_removed(encoded)
    if request.control == "shuffled":
        return sound_shuffled(items, encoded, request.gallery, request.seed)
    return encoded


def _scores(
    request: Request,
    retriever: Retriever,
    items: Sequence[Item],
    queries: Sequence[Query],
    encoded: EncodedGallery,
    shortlister: Shortlister | None,
    progress: Progress,
) -> tuple[list[Float32], list[bool | None] | None]:
    """For each query the score of every item [items], and whether the shortlist holds the clip that scores best."""
    among, listed = _candidate_rows(items, queries, encoded), None
    if request.mode != "exhaustive" and shortlister is not None:
        listed = _shortlists(retriever, queries, encoded, among, shortlister, request.scored)
        among = listed if request.mode == "service" else among
    by_clip = [found.fused for found in score_queries(retriever, queries, encoded, among, progress, request.scored)]
    scores = [item_scores(clip_scores, encoded.item_of, len(items)) for clip_scores in by_clip]
    if request.mode != "compare" or listed is None:
        return scores, None
    return scores, [_holds_best(*both) for both in zip(by_clip, listed, strict=True)]


def _holds_best(clip_scores: Float32, listed: Rows) -> bool | None:
    """Whether a clip that scores best is on the list; None where no file of the query's gallery can be read."""
    best = float(clip_scores.max())
    return None if np.isneginf(best) else float(clip_scores[listed].max(initial=-np.inf)) >= best


def _held(queries: Sequence[Query], holds: Sequence[bool | None], items: int, seed: int) -> dict[str, Any]:
    """How often the shortlist holds the best of all clips, in percent, over all queries and by kind."""
    told = [(query, held) for query, held in zip(queries, holds, strict=True) if held is not None]

    def of(chosen: Sequence[tuple[Query, bool]]) -> dict[str, Any]:
        held, owners = [held for _, held in chosen], [query.owners for query, _ in chosen]
        return {"queries": len(chosen), **({"holds_first": share(held, owners, items, seed)} if chosen else {})}

    kinds = sorted({kind for query, _ in told for kind in query.kinds})
    return {**of(told), "kinds": {kind: of([one for one in told if kind in one[0].kinds]) for kind in kinds}}


def _measured(queries: Sequence[Query], ranks: Sequence[float], items: Sequence[Item], seed: int) -> dict[str, Any]:
    """The figures of all queries, by kind, and for each author of texts whom the manifest names the same again."""

    def by_kind(chosen: Sequence[bool]) -> dict[str, Any]:
        kinds = sorted({kind for query, wanted in zip(queries, chosen, strict=True) if wanted for kind in query.kinds})
        return {
            kind: _figures(
                queries,
                ranks,
                len(items),
                seed,
                [wanted and kind in query.kinds for query, wanted in zip(queries, chosen, strict=True)],
            )
            for kind in kinds
        }

    everything = [True] * len(queries)
    authors = [{str(items[owner].extra.get("text_source", "")) for owner in query.owners} for query in queries]
    by_author = {author: [author in found for found in authors] for author in sorted(set().union(*authors) - {""})}
    return {
        "overall": _figures(queries, ranks, len(items), seed, everything),
        "kinds": by_kind(everything),
        "text_sources": {
            author: _figures(queries, ranks, len(items), seed, chosen) | {"kinds": by_kind(chosen)}
            for author, chosen in by_author.items()
        },
    }


def _twins(
    request: Request, items: Sequence[Item], encoded: EncodedGallery | None, retriever: Retriever, progress: Progress
) -> dict[str, Any]:
    if encoded is None:
        return {}
    found = twin_figures(items, encoded, retriever, request.seed, request.scored, progress)
    return {} if found is None else {"twins": found}


def _candidate_rows(items: Sequence[Item], queries: Sequence[Query], encoded: EncodedGallery) -> list[Rows]:
    """The clips each query may be scored against."""
    by_group: dict[str | None, Rows] = {}
    for query in queries:
        if query.group not in by_group:
            by_group[query.group] = encoded.clips_of(candidates(items, query))
    return [by_group[query.group] for query in queries]


def _shortlists(
    retriever: Retriever,
    queries: Sequence[Query],
    encoded: EncodedGallery,
    among: list[Rows],
    shortlister: Shortlister,
    modalities: tuple[str, ...],
) -> list[Rows]:
    texts = _texts(retriever, queries, range(len(queries)))
    wanted = [retriever.wanted(text, row, modalities) for batch, text in texts for row in range(len(batch))]
    return shortlister(_offered(retriever, encoded.clips), encoded.item_of, wanted, among)


def _offered(retriever: Retriever, clips: Sequence[TokenSet]) -> Offered:
    """The clips as the shortlist knows them, made a block at a time: as tensors they are several times the size."""
    blocks = [list(clips[start : start + CLIP_BATCH]) for start in range(0, max(len(clips), 1), CLIP_BATCH)]
    vectors = np.concatenate([retriever.coarse_vectors(block) for block in blocks])
    return Offered(vectors, [reading for block in blocks for reading in retriever.readings(block)])


def _texts(
    retriever: Retriever, queries: Sequence[Query], numbers: Sequence[int]
) -> list[tuple[Sequence[int], TextEncoding]]:
    """The queries of these numbers encoded, some at a time, with their numbers."""
    batches = [numbers[start : start + QUERY_BATCH] for start in range(0, len(numbers), QUERY_BATCH)]
    return [(batch, retriever.encode_text([queries[number].text for number in batch])) for batch in batches]


@torch.inference_mode()
def score_queries(
    retriever: Retriever,
    queries: Sequence[Query],
    encoded: EncodedGallery,
    among: Sequence[Rows],
    progress: Progress = silent,
    modalities: tuple[str, ...] = BOTH,
    *,
    letters: bool = True,
) -> list[QueryScores]:
    """For each query its scores of every clip; -inf for the clips that it is not scored against.

    Without `letters` no score is lifted by words that are found letter by letter.
    """
    fused, mean = ([np.full(len(encoded.clips), -np.inf, np.float32) for _ in queries] for _ in range(2))
    together: dict[bytes, list[int]] = defaultdict(list)
    for number, rows in enumerate(among):
        together[rows.tobytes()].append(number)
    done, pairs = 0, sum(len(rows) for rows in among)
    sounds = np.array([len(clip.audio) for clip in encoded.clips])
    for numbers in together.values():  # by length, for each pair of a batch costs as much as its longest
        rows = among[numbers[0]][np.argsort(sounds[among[numbers[0]]], kind="stable")]
        texts = _texts(retriever, queries, sorted(numbers, key=lambda number: len(queries[number].text)))
        for start in range(0, len(rows), CLIP_BATCH):  # queries within, so that one block alone is held as tensors
            block = rows[start : start + CLIP_BATCH]
            clips = retriever.collate([encoded.clips[row] for row in block]).only(modalities)
            for batch, text in texts:
                found = retriever.pair_scores(text, clips, letters=letters)
                scores, means = (part.float().cpu().numpy() for part in (found.fused, found.mean))
                for place, number in enumerate(batch):
                    fused[number][block], mean[number][block] = scores[place], means[place]
                done += len(batch) * len(block)
                progress("score the queries", done, pairs)
    return [QueryScores(*both) for both in zip(fused, mean, strict=True)]


def item_scores(clip_scores: Float32, item_of: Rows, items: int) -> Float32:
    """An item's score is its best clip's; an item without one scores -inf."""
    best = np.full(items, -np.inf, np.float32)
    np.maximum.at(best, item_of, clip_scores)
    return best


def _ranks(items: Sequence[Item], queries: Sequence[Query], scores: Sequence[Float32]) -> list[float]:
    """The rank of each query among the items of its gallery, by its score of every item [items]."""
    ranks = []
    galleries = {query.group: np.asarray(candidates(items, query)) for query in {q.group: q for q in queries}.values()}
    for query, by_item in zip(queries, scores, strict=True):
        gallery = galleries[query.group]
        ranks.append(rank(by_item[gallery], np.isin(gallery, list(query.relevant))))
    return ranks


def _figures(
    queries: Sequence[Query], ranks: Sequence[float], items: int, seed: int, chosen: Sequence[bool]
) -> dict[str, Any]:
    """The figures of the chosen queries; the gallery stays the same."""
    numbers = np.flatnonzero(chosen).tolist()
    return figures([ranks[number] for number in numbers], [queries[number].owners for number in numbers], items, seed)
