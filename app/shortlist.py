"""Which clips are worth reranking: the coarse index's best, spread over videos.

A long video would fill the list with its own neighbours, so each gives at most five clips; the list grows past its
size until it holds as many videos as the page shows, or 500 clips.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.schemas.search import MAX_SHORTLIST
from indexer.snapshot import ClipRow, Snapshot

PER_VIDEO = 5
OVERFETCH = 4
REACH = 1 << 16


def shortlist(
    snapshot: Snapshot, vector: NDArray[np.float32], *, size: int, videos: int, allow: NDArray[np.int64] | None
) -> list[ClipRow]:
    """Clips to rerank, the coarse index's best first; `videos` is how many different ones are wanted."""

    def best(reach: int) -> Sequence[ClipRow]:
        return snapshot.clip_rows(snapshot.search(vector, reach, allow)[1])

    return grown(best, snapshot.clips if allow is None else len(allow), size=size, videos=videos)


def grown(best: Callable[[int], Sequence[ClipRow]], clips: int, *, size: int, videos: int) -> list[ClipRow]:
    """The shortlist out of `best(reach)`, the first `reach` of `clips` clips, reaching further until it is full."""
    available = min(clips, REACH)
    reach = min(available, OVERFETCH * size)
    while True:
        chosen = pick(best(reach), size, videos)
        short_of_videos = len({row.video_id for row in chosen}) < videos
        short_of_clips = len(chosen) < size and reach < OVERFETCH**2 * size
        if reach >= available or len(chosen) >= MAX_SHORTLIST or not (short_of_videos or short_of_clips):
            return chosen
        reach = min(available, OVERFETCH * reach)


def pick(rows: Sequence[ClipRow], size: int, videos: int) -> list[ClipRow]:
    """The first `size` rows, at most PER_VIDEO of a video, and on until there are `videos` videos or 500 clips."""
    chosen: list[ClipRow] = []
    taken: Counter[str] = Counter()
    for row in rows:
        enough = len(chosen) >= size and len(taken) >= videos
        if enough or len(chosen) >= MAX_SHORTLIST:
            break
        if taken[row.video_id] < PER_VIDEO:
            chosen.append(row)
            taken[row.video_id] += 1
    return chosen
