"""R@k while training: a few items of each source's val part, found by the coarse vectors and by the full fusion."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.clips import ClipInput
from model.data.examples import Source
from model.data.items import ClipCache
from model.evaluation.evaluate import item_scores, score_queries
from model.evaluation.gallery import EncodedGallery
from model.evaluation.metrics import rank, summary
from model.evaluation.queries import gather_queries
from model.retriever import Retriever
from model.tokens import TokenSet

ENCODE_BATCH = 8


def validate(retriever: Retriever, sources: Sequence[Source], cache: ClipCache) -> dict[str, float]:
    """`val/<source>/<coarse or fused>/<figure>` for each source; `val/score` is the mean of fused R@1 + R@5 + R@10."""
    was_training = retriever.training
    retriever.eval()
    found: dict[str, float] = {}
    sums = []
    for source in sources:
        fused, coarse = _figures(retriever, source, cache)
        found |= {f"val/{source.name}/fused/{name}": value for name, value in fused.items()}
        found |= {f"val/{source.name}/coarse/{name}": value for name, value in coarse.items()}
        sums.append(fused["r1"] + fused["r5"] + fused["r10"])
    retriever.train(was_training)
    return found | ({"val/score": float(np.mean(sums))} if sums else {})


def _figures(retriever: Retriever, source: Source, cache: ClipCache) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of the fused and of the coarse scores; each item asks one of its texts."""
    items = [dataclasses.replace(example.item, texts=example.texts[:1]) for example in source.examples]
    queries = gather_queries(items)
    gallery = _encode(retriever, source, cache)
    everything = np.arange(len(gallery.clips), dtype=np.int64)
    fused = [found.fused for found in score_queries(retriever, queries, gallery, [everything] * len(queries))]
    text = retriever.encode_text([query.text for query in queries])
    coarse = retriever.coarse_query(text) @ retriever.coarse_vectors(gallery.clips).T
    figures = []
    for scores in (fused, list(coarse)):
        ranks = []
        for query, row in zip(queries, scores, strict=True):
            relevant = np.isin(np.arange(len(items)), list(query.relevant))
            ranks.append(rank(item_scores(row, gallery.item_of, len(items)), relevant))
        figures.append(summary(np.asarray(ranks)))
    return figures[0], figures[1]


def _encode(retriever: Retriever, source: Source, cache: ClipCache) -> EncodedGallery:
    clips = [
        (number, ClipInput(*cache.clip(example.item, index, span)))
        for number, example in enumerate(source.examples)
        for index, span in enumerate(example.spans)
    ]
    made: list[TokenSet] = []
    for start in range(0, len(clips), ENCODE_BATCH):
        made += retriever.encode_clips([clip for _, clip in clips[start : start + ENCODE_BATCH]])
    return EncodedGallery(made, np.asarray([number for number, _ in clips], np.int64), [])
