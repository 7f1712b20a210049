"""Which clips are worth reranking: the coarse index's best and those that say the query's words, spread over videos.

Coarse vectors know the gist of what is said; letters find it word by word. So every fourth place is theirs, as long as
they find something. A long video would fill the list with its own neighbours, so each gives at most five clips; the
list grows past its size until it holds as many videos as the page shows, or 500 clips.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.schemas.search import MAX_SHORTLIST
from indexer.snapshot import ClipRow, Snapshot
from model.coarse import Wanted

PER_VIDEO = 5
OVERFETCH = 4
REACH = 1 << 16
FOR_LETTERS = 4  # every so manieth place

Ids = NDArray[np.int64]


def shortlist(snapshot: Snapshot, wanted: Wanted, *, size: int, videos: int, allow: Ids | None) -> list[ClipRow]:
    """Clips to rerank; `videos` is how many different ones are wanted."""
    heard = snapshot.heard(wanted.letters, size, allow)  # more than its places: a long video may fill the first of them

    def best(reach: int) -> Sequence[ClipRow]:
        return snapshot.clip_rows(merged(snapshot.search(wanted.vector, reach, allow)[1], heard))

    return grown(best, snapshot.clips if allow is None else len(allow), size=size, videos=videos)


def merged(near: Ids, heard: Ids) -> Ids:
    """Both lists as one, each clip once: three places are the coarse index's, the fourth is the letters'."""
    near_places = np.arange(len(near)) + np.arange(len(near)) // (FOR_LETTERS - 1)
    heard_places = np.arange(1, len(heard) + 1) * FOR_LETTERS - 1
    places = np.concatenate([near_places, heard_places])
    both = np.concatenate([near, heard])[np.argsort(places, kind="stable")]
    _, first = np.unique(both, return_index=True)
    found: Ids = both[np.sort(first)]
    return found


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
