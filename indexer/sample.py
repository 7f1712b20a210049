"""Which parts of a file are decoded, and when: clips, their frame times, and the pieces one child process may take.

Nothing here touches a file. The windows are the model's (`clip_windows`): training and evaluation use the same.
"""

from collections.abc import Collection
from dataclasses import dataclass

from model.media import clip_windows, frame_times

PART_S = 600.0  # media that one child process may decode
KEEP_SHARE = 0.5  # a cut file is kept when at least this much of it can be read


@dataclass(frozen=True)
class Window:
    """A clip to be: its place in the video's order and its span in seconds."""

    ordinal: int
    start_s: float
    end_s: float

    def frame_times(self, count: int) -> list[float]:
        return frame_times(self.start_s, self.end_s, count)


def plan(duration_s: float, done: Collection[int] = ()) -> list[Window]:
    """The windows of a video that are still to be encoded, in order."""
    windows = [Window(ordinal, *span) for ordinal, span in enumerate(clip_windows(duration_s))]
    return [window for window in windows if window.ordinal not in done]


def parts(windows: list[Window], part_s: float = PART_S) -> list[list[Window]]:
    """Cut a plan into runs of neighbours that span at most `part_s` seconds each (a single window may be longer)."""
    runs: list[list[Window]] = []
    for window in windows:
        if runs and window.end_s - runs[-1][0].start_s <= part_s:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def span_s(windows: list[Window]) -> float:
    return windows[-1].end_s - windows[0].start_s if windows else 0.0
