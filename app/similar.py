"""Videos like a video: near in the coarse space, by what is seen and heard."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.library import Library, Shown
from app.moments import Span
from indexer.snapshot import ClipRow, Snapshot

SAMPLE = 8
REACH = 1 << 16


@dataclass(frozen=True)
class Neighbour:
    """A video, its nearest clip, and the mean cosine of what the clip asked with has: what the other lacks counts 0."""

    shown: Shown
    clip: ClipRow
    score: float

    @property
    def span(self) -> Span:
        middle = (self.clip.start_s + self.clip.end_s) / 2
        return Span(self.clip.start_s, self.clip.end_s, middle, self.score)


def similar(library: Library, snapshot: Snapshot, video_id: str, limit: int) -> list[Neighbour]:
    """The `limit` nearest videos, nearest first; the video itself is left out."""
    vectors = _vectors(snapshot, video_id)
    nearest: dict[str, tuple[float, ClipRow]] = {}
    for vector in vectors:
        for score, row in _neighbours(snapshot, vector, video_id, limit):
            if row.video_id not in nearest or score > nearest[row.video_id][0]:
                nearest[row.video_id] = (score, row)
    shown = library.shown(nearest.keys())
    found = [Neighbour(shown[key], row, score) for key, (score, row) in nearest.items() if key in shown]
    return sorted(found, key=lambda neighbour: (-neighbour.score, neighbour.shown.id))[:limit]


def _vectors(snapshot: Snapshot, video_id: str) -> NDArray[np.float32]:
    """Query vectors [C, 3 d] of a few clips spread over the video, each divided by the number of its parts."""
    clip_ids = snapshot.clips_of([video_id])
    if not len(clip_ids):
        return np.zeros((0, 3), np.float32)
    spread = np.unique(np.linspace(0, len(clip_ids) - 1, SAMPLE).astype(int))
    stored = list(snapshot.coarse_vectors(clip_ids[spread]).values())
    if not stored:
        return np.zeros((0, 3), np.float32)
    vectors = np.stack(stored)
    C, D = vectors.shape
    vectors[:, 2 * D // 3 :] = 0.0  # the third part knows how queries rank, not what is alike
    parts = (np.abs(vectors.reshape(C, 3, D // 3)).sum(axis=2) > 0).sum(axis=1, keepdims=True)
    queries: NDArray[np.float32] = (vectors / np.maximum(parts, 1)).astype(np.float32)
    return queries


def _neighbours(
    snapshot: Snapshot, vector: NDArray[np.float32], video_id: str, limit: int
) -> list[tuple[float, ClipRow]]:
    """The nearest clips of other videos, reaching further until there are `limit` videos."""
    available = min(snapshot.clips, REACH)
    reach = min(available, 32 * limit)
    while True:
        scores, ids = snapshot.search(vector, reach)
        pairs = zip(scores.tolist(), snapshot.clip_rows(ids), strict=True)
        others = [(score, row) for score, row in pairs if row.video_id != video_id]
        if reach >= available or len({row.video_id for _, row in others}) >= limit:
            return others
        reach = min(available, 4 * reach)
