"""The service's shortlist for `htav evaluate --mode service`: the same coarse index and the same choice of clips.

The evaluation itself belongs to `model`, which must not know the index; it is handed this function.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.shortlist import grown
from indexer.coarse import build_coarse
from indexer.snapshot import ClipRow

SHORTLIST, PAGE = 100, 10  # what a request asks for when it does not say

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]


def service_shortlist(clips: Float32, item_of: Rows, queries: Float32, allowed: list[Rows]) -> list[Rows]:
    """Rows of `clips` [C, 3 d] that the service would rerank for each of `queries` [Q, 3 d], out of those allowed."""
    index = build_coarse(clips.astype(np.float16))
    found = []
    for vector, allow in zip(queries, allowed, strict=True):
        everything = len(allow) == len(clips)

        def best(
            reach: int, vector: Float32 = vector, allow: Rows | None = None if everything else allow
        ) -> Sequence[ClipRow]:
            rows = index.search(vector[np.newaxis], reach, allow)[1][0]
            return [ClipRow(int(row), str(item_of[row]), 0.0, 0.0) for row in rows if row >= 0]

        videos = min(PAGE, len(np.unique(item_of[allow])))
        chosen = grown(best, len(allow), size=SHORTLIST, videos=videos)
        found.append(np.asarray([row.clip_id for row in chosen], np.int64))
    return found
