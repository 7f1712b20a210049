"""From scores of instants to spans worth playing.

A clip answers for its whole ten seconds; `relevance` says how well each instant of it answers. A moment is the
stretch around the best instant whose scores stay above the middle between the clip's median and its peak; or from the
first to the last of the query's words where these are heard letter by letter, or of the events that it tells. A word of
speech can be a few hundredths of a second, too short to play, so a moment lasts a second at least. Overlapping clips
see the same seconds twice, so their spans are merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.explain import Relevance

LEVEL = 0.5
MAX_MOMENTS = 3
WORTH = 0.5
MINIMUM_S = 1.0  # what a person can make out when a moment is played
PEAK_MARGIN_S = 0.05


@dataclass(frozen=True)
class Span:
    """A stretch of a video, in seconds, with the score of the clip it comes from."""

    start_s: float
    end_s: float
    peak_s: float
    score: float


@dataclass(frozen=True)
class ClipRelevance:
    """A clip that lasts from `start_s` to `end_s`, its score, and how well each of its instants answers."""

    start_s: float
    end_s: float
    score: float
    instants: Relevance


def find_moments(clips: Sequence[ClipRelevance], duration_s: float | None) -> list[Span]:
    """The best moments of one video, best first. `clips` need no order."""
    if not clips:
        return []
    best = max(clip.score for clip in clips)
    worthy = [clip for clip in clips if is_worthy(clip.score, best)]
    spans = merge([widen(span_of(clip), *bounds(clip, duration_s)) for clip in worthy])
    return sorted(map(with_peak_inside, spans), key=lambda span: (-span.score, span.start_s))[:MAX_MOMENTS]


def is_worthy(score: float, best: float) -> bool:
    """Whether a clip of this score is worth showing beside its video's best."""
    return score == best or score >= WORTH * best > 0


def span_of(clip: ClipRelevance) -> Span:
    """Where the query is said, or all its events happen, or else the contiguous stretch around the best instant.

    The whole clip when no instant stands out.
    """
    times, scores = clip.instants.times, clip.instants.scores
    if clip.instants.events:
        spans = [span_of(replace(clip, instants=event)) for event in clip.instants.events]
        start, end = min(span.start_s for span in spans), max(span.end_s for span in spans)
        return Span(start, end, spans[0].peak_s, clip.score)
    if clip.instants.said is not None:
        start, end = (min(max(at, clip.start_s), clip.end_s) for at in clip.instants.said)
        return Span(start, end, (start + end) / 2, clip.score)
    M = len(times)
    if M == 0:
        return Span(clip.start_s, clip.end_s, (clip.start_s + clip.end_s) / 2, clip.score)
    peak = int(np.argmax(scores))
    at = float(np.clip(times[peak], clip.start_s, clip.end_s))
    median = float(np.median(scores))
    threshold = median + LEVEL * (float(scores[peak]) - median)
    if M == 1 or not float(scores[peak]) > median:
        return Span(clip.start_s, clip.end_s, at, clip.score)
    inside = scores >= threshold
    first = last = peak
    while first > 0 and inside[first - 1]:
        first -= 1
    while last < M - 1 and inside[last + 1]:
        last += 1
    # An instant stands for the time halfway to its neighbours.
    start = clip.start_s if first == 0 else float(times[first - 1] + times[first]) / 2
    end = clip.end_s if last == M - 1 else float(times[last] + times[last + 1]) / 2
    start, end = max(start, clip.start_s), min(end, clip.end_s)
    return Span(min(start, at), max(end, at), at, clip.score)


def merge(spans: Sequence[Span]) -> list[Span]:
    """Join spans that overlap; the joined span keeps the better one's peak and score."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_s):
        if not merged or span.start_s >= merged[-1].end_s:
            merged.append(span)
            continue
        before = merged.pop()
        better = before if before.score >= span.score else span
        merged.append(Span(before.start_s, max(before.end_s, span.end_s), better.peak_s, better.score))
    return merged


def bounds(clip: ClipRelevance, duration_s: float | None) -> tuple[float, float]:
    """Where a clip's moment may lie: in the clip and in the video, with room for the minimum if the video has it."""
    high = clip.end_s if duration_s is None else min(clip.end_s, duration_s)
    return max(0.0, min(clip.start_s, high - MINIMUM_S)), high


def widen(span: Span, low: float, high: float) -> Span:
    """The span inside [low, high], lengthened around its middle to the minimum, as far as there is room."""
    start, end = (min(max(value, low), high) for value in (span.start_s, span.end_s))
    length = min(max(end - start, MINIMUM_S), high - low)
    if length > end - start:
        start = min(max((start + end - length) / 2, low), high - length)
        end = min(start + length, high)
    return Span(start, end, min(max(span.peak_s, start), end), span.score)


def with_peak_inside(span: Span) -> Span:
    """The span with its peak off its edges, where a player would show the picture before or after."""
    margin = min(PEAK_MARGIN_S, (span.end_s - span.start_s) / 4)
    peak = min(max(span.peak_s, span.start_s + margin), span.end_s - margin)
    return Span(span.start_s, span.end_s, peak, span.score)
