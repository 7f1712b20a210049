"""One search, from a sentence to a page of videos with moments.

    encode -> coarse shortlist -> fetch token sets -> full fusion rerank -> group by video -> moments -> confidence

A search runs on exactly one snapshot. `Searcher` is the `Work` of the engine; the command line calls it directly.
Each stage says what it took. Nothing here reads a title, a tag or a path to score: pictures and sound alone do.
"""

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.cursors import Cursor, question_digest
from app.engine import Terms
from app.filters import admitted
from app.library import Library, Shown
from app.moments import ClipRelevance, Span, find_moments, is_worthy
from app.problems import Unprocessable
from app.schemas import Explanation, ModalityScores, Moment, Pool, SearchRequest, SearchResponse, SearchResult, Took
from app.schemas.base import Band
from app.schemas.search import Degradation
from app.shortlist import shortlist
from app.telemetry import Metrics
from indexer.snapshot import ClipRow, CurrentSnapshot, Snapshot
from model.explain import Relevance
from model.retriever import BOTH, Retriever
from model.text import TextEncoding
from model.tokens import TokenSet

SLICE = 32  # clips between two looks at the clock
BANDS: tuple[Band, ...] = ("none", "low", "medium", "high")
UNSEEN = Relevance(np.zeros(0, np.float32), np.zeros(0, np.float32))  # a clip whose instants were not looked at


class QueryNotUnderstood(Unprocessable):
    """No word of the query is known to the text encoder."""

    code = "query_not_understood"


@dataclass(frozen=True)
class Encoded:
    """One query's row in an encoded batch, and its share of the time."""

    text: TextEncoding
    row: int
    seconds: float


@dataclass(frozen=True)
class Scored:
    """A reranked clip. `video` and `audio` are NaN where the clip has none of it, or it was not asked for."""

    clip: ClipRow
    tokens: TokenSet
    score: float
    video: float
    audio: float
    mean: float  # what confidence is made of

    @property
    def has_what_counts(self) -> bool:
        """A clip without any of it is no answer, though its video is: its 0 would pass those that do not fit."""
        return not (math.isnan(self.video) and math.isnan(self.audio))


@dataclass
class Stages:
    """Seconds a stage; `total` counts from the start of serving, plus the encoding done before."""

    encode: float
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def took(self) -> Took:
        everything = {"encode": self.encode, **self.seconds}
        total = self.encode + time.perf_counter() - self.began
        return Took(**{name: round(1000 * value, 2) for name, value in {**everything, "total": total}.items()})


class Searcher:
    """Answers searches from the served snapshot."""

    def __init__(self, retriever: Retriever, library: Library, current: CurrentSnapshot, metrics: Metrics) -> None:
        self.retriever = retriever
        self._library = library
        self._current = current
        self._metrics = metrics

    def prepare(self, payloads: Sequence[SearchRequest]) -> list[Encoded]:
        """Encode the texts of a batch together."""
        start = time.perf_counter()
        text = self.retriever.encode_text([request.query for request in payloads])
        share = (time.perf_counter() - start) / len(payloads)
        return [Encoded(text, row, share) for row in range(len(payloads))]

    def search(self, request: SearchRequest) -> SearchResponse:
        """Answer alone and without a deadline, as the command line does."""
        return self.serve(request, self.prepare([request])[0], Terms(deadline=float("inf")))

    def serve(self, payload: SearchRequest, prepared: Encoded, terms: Terms) -> SearchResponse:
        """Answer one encoded query under the engine's terms."""
        if not prepared.text.understood[prepared.row]:
            raise QueryNotUnderstood(
                "No word of the query is known.", "Describe in English what is seen, said or heard."
            )
        response = _Answer(self, self._current.get(), payload, prepared, terms).respond()
        for stage, milliseconds in response.took_ms.model_dump().items():
            self._metrics.stage.labels(stage).observe(milliseconds / 1000)
        for reason in response.degraded:
            self._metrics.degraded.labels(reason).inc()
        return response


class _Answer:
    """The state of one search while it is made."""

    def __init__(
        self, searcher: Searcher, snapshot: Snapshot, request: SearchRequest, encoded: Encoded, terms: Terms
    ) -> None:
        self.retriever = searcher.retriever
        self.library = searcher._library
        self.snapshot = snapshot
        self.request = request
        self.encoded = encoded
        self.terms = terms
        self.cursor = Cursor.read(request, snapshot.id)
        self.stages = Stages(encoded.seconds)
        self.degraded: list[Degradation] = []
        self.cut_short = False
        self.shown: dict[str, Shown] = {}

    def respond(self) -> SearchResponse:
        with self.stages.measure("shortlist"):
            pool, allow = self._pool()
            clips = self._shortlist(pool, allow)
        with self.stages.measure("fetch"):
            token_sets = self.snapshot.fetch([clip.clip_id for clip in clips])
        with self.stages.measure("rerank"):
            scored = self._rerank(clips, token_sets)
        ranked = group([clip for clip in scored if clip.has_what_counts])
        floor = BANDS.index(self.request.min_confidence)
        bands = self._bands([clips[0].mean for clips in ranked])
        judged = [(clips, band) for clips, band in zip(ranked, bands, strict=True) if BANDS.index(band) >= floor]
        wanted = [clips for clips, _ in judged]
        offset = self.cursor.offset if self.cursor else 0
        page = wanted[offset : offset + self.request.limit]
        with self.stages.measure("moments"):
            self.shown = self.library.shown({clips[0].clip.video_id for clips in page})
            moments = self._moments(page)
        results = [
            self._result(offset + place, clips, band, moments)
            for place, (clips, band) in enumerate(judged[offset : offset + len(page)], 1)
            if clips[0].clip.video_id in self.shown  # hidden a moment ago
        ]
        self._judge(scored)
        return SearchResponse(
            query_id=uuid.uuid4().hex[:16],
            snapshot=self.snapshot.id,
            model=self.retriever.name,
            pool=pool,
            degraded=self.degraded,
            best_confidence=bands[0] if bands else "none",
            took_ms=self.stages.took(),
            truncated_at=len(scored) if len(scored) < pool.clips else None,
            unknown_words=self.encoded.text.unknown[self.encoded.row],
            results=results,
            next_cursor=self._next(offset + len(page), len(wanted)),
        )

    def _pool(self) -> tuple[Pool, NDArray[np.int64] | None]:
        """What is searched, and its clips; None stands for all of them."""
        snapshot = self.snapshot
        if self.request.filter is None and set(self.request.modalities) == set(BOTH):
            videos, clips, length = snapshot.extent()
            return Pool(videos=videos, clips=clips, seconds=round(length, 3)), None
        with self.library.catalog.session() as session:
            seconds = admitted(session, self.request.filter, self.request.modalities)
        held = [video_id for video_id in snapshot.video_ids if video_id in seconds]
        allow = snapshot.clips_of(held)
        total = round(sum(seconds[video_id] for video_id in held), 3)
        return Pool(videos=len(held), clips=len(allow), seconds=total), allow

    @property
    def size(self) -> int:
        """Clips to rerank: half of what was asked for under load, and what page one had on later pages."""
        if self.cursor is not None:
            return self.cursor.size
        return max(1, self.request.shortlist // 2) if self.terms.reduced else self.request.shortlist

    def _shortlist(self, pool: Pool, allow: NDArray[np.int64] | None) -> list[ClipRow]:
        if self.size < self.request.shortlist:
            self.degraded.append("shortlist_reduced")
        wanted = self.retriever.wanted(self.encoded.text, self.encoded.row, tuple(self.request.modalities))
        videos = min(self.request.limit, pool.videos)
        return shortlist(self.snapshot, wanted, size=self.size, videos=videos, allow=allow)

    def _rerank(self, clips: Sequence[ClipRow], token_sets: Sequence[TokenSet | None]) -> list[Scored]:
        """Score in slices, so that a deadline cuts the list short and not the answer off; the first one always.

        A later page is a part of the first one's list, which must be whole for its places to be the same.
        """
        pairs = [(clip, tokens) for clip, tokens in zip(clips, token_sets, strict=True) if tokens is not None]
        scored: list[Scored] = []
        for start in range(0, len(pairs), SLICE):
            if scored and self.cursor is None and self._late():
                self.cut_short = True
                break
            part = pairs[start : start + SLICE]
            tokens = [token_set for _, token_set in part]
            modalities = tuple(self.request.modalities)
            scores = self.retriever.rerank(self.encoded.text, self.encoded.row, tokens, modalities)
            columns = (scores.fused, scores.video, scores.audio, scores.mean)
            for (clip, kept), *row in zip(part, *(column.tolist() for column in columns), strict=True):
                score, video, audio, mean = row
                scored.append(Scored(clip, kept, score, video, audio, mean))
        return scored

    def _late(self) -> bool:
        """Whether the deadline is past; if so, it is said that something is left out."""
        if time.monotonic() <= self.terms.deadline:
            return False
        if "rerank_timeout" not in self.degraded:
            self.degraded.append("rerank_timeout")
        return True

    def _bands(self, means: list[float]) -> list[Band]:
        return cast(list[Band], self.retriever.confidences(self.encoded.text, self.encoded.row, means))

    def _result(self, rank: int, clips: list[Scored], band: Band, moments: dict[str, list[Span]]) -> SearchResult:
        best, shown = clips[0], self.shown[clips[0].clip.video_id]
        return SearchResult(
            rank=rank,
            video_id=UUID(shown.id),
            title=shown.title,
            uri=shown.uri,
            score=round(best.score, 6),
            confidence=band,
            modality_scores=ModalityScores(video=_number(best.video), audio=_number(best.audio)),
            moments=[moment(shown.id, span) for span in moments[shown.id]],
            explanation=self._explanation(best) if self.request.explain and not self._late() else None,
        )

    def _moments(self, page: list[list[Scored]]) -> dict[str, list[Span]]:
        """The moments of each video of the page, from its clips that are not far behind its best."""
        worthy = [scored for clips in page for scored in clips[:3] if is_worthy(scored.score, clips[0].score)]
        curves: dict[str, list[ClipRelevance]] = {}
        for start in range(0, len(worthy), SLICE):
            part = worthy[start : start + SLICE]
            for scored, at in zip(part, self._instants(part), strict=True):
                clip = scored.clip
                curve = ClipRelevance(clip.start_s, clip.end_s, scored.score, at)
                curves.setdefault(clip.video_id, []).append(curve)
        return {key: find_moments(curves[key], shown.duration_s) for key, shown in self.shown.items()}

    def _instants(self, clips: Sequence[Scored]) -> list[Relevance]:
        """How well each instant of the clips answers; past the deadline each clip is a moment as a whole."""
        if self._late():
            return [UNSEEN] * len(clips)
        tokens, modalities = [scored.tokens for scored in clips], tuple(self.request.modalities)
        return self.retriever.relevances(self.encoded.text, self.encoded.row, tokens, modalities)

    def _explanation(self, best: Scored) -> Explanation:
        modalities = tuple(self.request.modalities)
        explanation = self.retriever.explain(self.encoded.text, self.encoded.row, best.tokens, modalities)
        return Explanation.model_validate(explanation.to_json())

    def _judge(self, scored: list[Scored]) -> None:
        """Say what could not be taken into account."""
        deaf = "audio" in self.request.modalities and all(math.isnan(clip.audio) for clip in scored)
        if deaf and (scored or "video" not in self.request.modalities):
            self.degraded.append("audio_missing")
        if self.encoded.text.unknown[self.encoded.row]:
            self.degraded.append("unknown_words")

    def _next(self, shown: int, wanted: int) -> str | None:
        if shown >= wanted or self.cut_short:
            return None
        return Cursor(self.snapshot.id, question_digest(self.request), shown, self.size).write()


def group(scored: Sequence[Scored]) -> list[list[Scored]]:
    """Clips by video, best first in both; a video's score is its best clip's, ties break by video id."""
    videos: dict[str, list[Scored]] = {}
    for clip in sorted(scored, key=lambda clip: (-clip.score, clip.clip.start_s)):
        videos.setdefault(clip.clip.video_id, []).append(clip)
    return sorted(videos.values(), key=lambda clips: (-clips[0].score, clips[0].clip.video_id))


def moment(video_id: str, span: Span) -> Moment:
    base = f"/v1/videos/{video_id}"
    start, end, peak = (round(value, 2) for value in (span.start_s, span.end_s, span.peak_s))
    return Moment(
        start_s=start,
        end_s=end,
        peak_s=peak,
        score=round(span.score, 6),
        thumbnail_url=f"{base}/thumbnail?t={_seconds(peak)}",
        stream_url=f"{base}/stream#t={_seconds(start)},{_seconds(end)}",
    )


def _seconds(value: float) -> str:
    """To the hundredth, in as few digits as say it, however long the video."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _number(score: float) -> float | None:
    return None if np.isnan(score) else round(score, 6)
