"""The service's shortlist for `htav evaluate --mode service`: the same indexes and the same choice of clips.

The evaluation itself belongs to `model`, which must not know the index; it is handed this function.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.shortlist import grown, merged
from indexer.coarse import build_coarse
from indexer.readings import Readings
from indexer.snapshot import ClipRow
from model.coarse import Offered, Wanted

SHORTLIST, PAGE = 100, 10  # what a request asks for when it does not say

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]


def service_shortlist(clips: Offered, item_of: Rows, queries: Sequence[Wanted], allowed: list[Rows]) -> list[Rows]:
    """Rows of the C clips that the service would rerank for each query, out of those allowed."""
    index = build_coarse(clips.vectors.astype(np.float16))
    readings = Readings.build([reading.encode("ascii") for reading in clips.readings])
    found = []
    for query, allow in zip(queries, allowed, strict=True):
        among = None if len(allow) == len(item_of) else allow
        heard = readings.search(query.letters, SHORTLIST, among)

        def best(
            reach: int, vector: Float32 = query.vector, heard: Rows = heard, among: Rows | None = among
        ) -> Sequence[ClipRow]:
            near = index.search(vector[np.newaxis], reach, among)[1][0]
            return [ClipRow(int(row), str(item_of[row]), 0.0, 0.0) for row in merged(near[near >= 0], heard)]

        videos = min(PAGE, len(np.unique(item_of[allow])))
        chosen = grown(best, len(allow), size=SHORTLIST, videos=videos)
        found.append(np.asarray([row.clip_id for row in chosen], np.int64))
    return found
