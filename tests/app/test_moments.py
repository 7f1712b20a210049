"""Moments: the stretch around the peak, merged over overlapping clips, never outside the video."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.moments import MAX_MOMENTS, MINIMUM_S, ClipRelevance, Span, find_moments, merge, span_of
from app.search import moment
from model.explain import Relevance


def clip(scores: list[float], start: float = 0.0, end: float = 10.0, score: float = 0.5) -> ClipRelevance:
    M = len(scores)
    times = start + (np.arange(M, dtype=np.float32) + 0.5) * (end - start) / max(M, 1)
    return ClipRelevance(start, end, score, Relevance(times.astype(np.float32), np.array(scores, np.float32)))


def test_a_span_covers_the_instants_that_stand_out() -> None:
    span = span_of(clip([0, 0, 0, 0.9, 1.0, 0.8, 0, 0, 0, 0]))
    assert (span.start_s, span.end_s, span.peak_s) == (3.0, 6.0, 4.5)


def test_a_second_peak_apart_is_not_joined() -> None:
    span = span_of(clip([0, 1.0, 0, 0, 0, 0, 0, 0.99, 0, 0]))
    assert (span.start_s, span.end_s) == (1.0, 2.0)


def test_a_peak_at_the_edge_reaches_the_edge() -> None:
    assert span_of(clip([1.0, 0, 0, 0])).start_s == 0.0
    assert span_of(clip([0, 0, 0, 1.0])).end_s == 10.0


def test_without_a_peak_the_moment_is_the_clip() -> None:
    for scores in ([], [0.3], [0.2, 0.2, 0.2]):
        span = span_of(clip(list(scores), 8, 18))
        assert (span.start_s, span.end_s) == (8, 18)
        assert 8 <= span.peak_s <= 18


def test_overlapping_spans_become_one_that_keeps_the_better_peak() -> None:
    merged = merge([Span(8, 12, 10, 0.6), Span(0, 9, 4, 0.4), Span(30, 31, 30.5, 0.1)])
    assert merged == [Span(0, 12, 10, 0.6), Span(30, 31, 30.5, 0.1)]


def test_touching_spans_stay_two() -> None:
    assert len(merge([Span(0, 5, 1, 0.5), Span(5, 6, 5.5, 0.5)])) == 2


def test_a_weak_clip_gives_no_moment() -> None:
    found = find_moments([clip([0, 1, 0], 0, 10, score=0.8), clip([0, 1, 0], 20, 30, score=0.1)], 40)
    assert [span.score for span in found] == [0.8]


def test_when_nothing_fits_well_the_best_clip_still_gives_one() -> None:
    found = find_moments([clip([0, 1, 0], 0, 10, score=-0.3), clip([0, 1, 0], 20, 30, score=-0.2)], 40)
    assert [span.score for span in found] == [-0.2]


def word(at: float, end: float = 10.0) -> ClipRelevance:
    """A clip in which one audio token of 80 ms, around `at`, stands out."""
    times = np.arange(0.04, end, 0.08, dtype=np.float32)
    return ClipRelevance(0.0, end, 0.5, Relevance(times, (np.abs(times - at) < 0.04).astype(np.float32)))


def test_a_word_is_widened_to_a_second_around_it() -> None:
    [span] = find_moments([word(5.0)], 10.0)
    assert span.end_s - span.start_s == pytest.approx(MINIMUM_S)
    assert (span.start_s + span.end_s) / 2 == pytest.approx(5.0, abs=0.05)


@pytest.mark.parametrize("at, expected", [(0.04, (0.0, 1.0)), (9.96, (9.0, 10.0))])
def test_a_word_at_the_edge_is_widened_inwards(at: float, expected: tuple[float, float]) -> None:
    [span] = find_moments([word(at)], 10.0)
    assert (span.start_s, span.end_s) == pytest.approx(expected)
    assert span.start_s < span.peak_s < span.end_s


@pytest.mark.parametrize("duration", [0.04, 0.5, 0.99])
def test_the_moment_of_a_video_shorter_than_the_minimum_is_the_video(duration: float) -> None:
    [span] = find_moments([word(0.04, duration)], duration)
    shown = moment("id", span)
    assert (shown.start_s, shown.end_s) == (0.0, duration)
    assert shown.start_s < shown.peak_s < shown.end_s


def test_words_that_overlap_once_widened_become_one_moment() -> None:
    late = word(5.4)
    [span] = find_moments([word(5.0), ClipRelevance(2.0, 12.0, 0.6, late.instants)], 12.0)
    assert span.end_s - span.start_s == pytest.approx(1.4, abs=0.05)
    assert span.peak_s == pytest.approx(5.4, abs=0.05) and span.score == 0.6


def test_words_that_are_heard_give_the_moment_whatever_else_stands_out() -> None:
    def spoken(start: float, end: float, window: float = 0.0) -> ClipRelevance:
        plain = clip([0, 1.0, 0, 0, 0, 0, 0, 0, 0, 0], window, window + 10.0)
        return replace(plain, instants=replace(plain.instants, said=(start, end)))

    [span] = find_moments([spoken(4.25, 6.5)], 10.0)
    assert (span.start_s, span.end_s) == (4.25, 6.5) and 4.25 < span.peak_s < 6.5
    [brief] = find_moments([spoken(9.9, 10.4)], 10.0)
    assert (brief.start_s, brief.end_s) == (9.0, 10.0)
    [over_two] = find_moments([spoken(4.25, 6.5), spoken(5.0, 6.6, window=5.0)], 15.0)
    assert (over_two.start_s, over_two.end_s) == (4.25, 6.6)


def test_events_in_order_give_the_moment_from_the_first_to_the_last() -> None:
    first, then = clip([0, 1.0, 0.9, 0, 0, 0, 0, 0, 0, 0]), clip([0, 0, 0, 0, 0, 0.9, 1.0, 0, 0, 0])
    whole = clip([0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0])
    told = replace(whole, instants=replace(whole.instants, events=(first.instants, then.instants)))
    [span] = find_moments([told], 10.0)
    assert (span.start_s, span.end_s, span.peak_s) == (1.0, 7.0, 1.5)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.0, "0"), (4.0, "4"), (18.5, "18.5"), (100.0, "100"), (9999.99, "9999.99"), (12345.678, "12345.68"),
     (86399.99, "86399.99"), (1_000_000.0, "1000000")],
)  # fmt: skip
def test_an_address_has_the_very_second_however_long_the_video(seconds: float, written: str) -> None:
    shown = moment("id", Span(seconds, seconds + 0.25, seconds, 0.5))
    assert shown.thumbnail_url == f"/v1/videos/id/thumbnail?t={written}"
    start, end = shown.stream_url.removeprefix("/v1/videos/id/stream#t=").split(",")
    assert start == written and (float(start), float(end)) == (shown.start_s, shown.end_s)


def test_no_clips_no_moments() -> None:
    assert find_moments([], 10.0) == []


clips = st.builds(
    lambda scores, start, length, score: clip(scores, start, start + length, score),
    st.lists(st.floats(-3, 3, width=32), max_size=12),
    st.floats(0, 100),
    st.floats(0.1, 12),
    st.floats(-1, 1),
)


@given(st.lists(clips, min_size=1, max_size=8), st.floats(0.05, 120))
def test_moments_are_ordered_apart_and_inside(found_clips: list[ClipRelevance], duration: float) -> None:
    moments = find_moments(found_clips, duration)
    shortest = min(part.end_s - part.start_s for part in found_clips)
    assert 1 <= len(moments) <= MAX_MOMENTS
    for span in moments:
        assert 0 <= span.start_s < span.peak_s < span.end_s <= duration
        assert span.end_s - span.start_s >= min(MINIMUM_S, duration, shortest) - 1e-9
    assert [span.score for span in moments] == sorted((span.score for span in moments), reverse=True)
    assert moments[0].score == max(part.score for part in found_clips)
    by_time = sorted(moments, key=lambda span: (span.start_s, span.end_s))
    assert all(a.end_s <= b.start_s for a, b in zip(by_time, by_time[1:], strict=False))


@given(st.permutations(range(4)))
def test_the_order_of_clips_does_not_matter(order: list[int]) -> None:
    some = [clip([0, 1, 0, 0.2], 8.0 * i, 8.0 * i + 10, 0.5 + i / 10) for i in range(4)]
    assert find_moments([some[i] for i in order], 60) == find_moments(some, 60)
