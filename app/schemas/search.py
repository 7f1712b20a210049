"""POST /v1/search and GET /v1/videos/{id}/similar."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schemas.base import EXAMPLE_VIDEO, Band, Request
from app.schemas.filters import MAX_CLAUSES, MAX_DEPTH, Filter

MAX_QUERY = 1000
MAX_LIMIT = 100
MAX_SHORTLIST = 500

Modality = Literal["video", "audio"]
Degradation = Literal["shortlist_reduced", "audio_missing", "rerank_timeout", "unknown_words"]


class SearchRequest(Request):
    """A question in English about what is seen, said or heard."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "a dog barking at a postman", "limit": 10}]})
    query: str = Field(min_length=1, max_length=MAX_QUERY, description="English text")
    limit: int = Field(default=10, ge=1, le=MAX_LIMIT, strict=True, description="Videos a page")
    modalities: list[Modality] = Field(default=["video", "audio"], min_length=1, max_length=2)
    shortlist: int = Field(default=100, ge=1, le=MAX_SHORTLIST, strict=True, description="Clips to rerank")
    filter: Filter | None = None
    min_confidence: Band = "none"
    explain: bool = False
    cursor: str | None = Field(default=None, max_length=512, description="`next_cursor` of the page before")

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if not self.query.strip():
            raise ValueError("the query is empty; describe what to find")
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError("a modality is named twice")
        if self.filter is not None:
            if self.filter.depth() > MAX_DEPTH:
                raise ValueError(f"the filter is nested more than {MAX_DEPTH} deep")
            if self.filter.clauses() > MAX_CLAUSES:
                raise ValueError(f"the filter has more than {MAX_CLAUSES} clauses")
        return self


class Pool(BaseModel):
    """What was searched: the snapshot, or the part of it that the filter admits."""

    videos: int
    clips: int
    seconds: float


class Took(BaseModel):
    """Milliseconds a stage."""

    encode: float
    shortlist: float
    fetch: float
    rerank: float
    moments: float
    total: float


class ModalityScores(BaseModel):
    """What pictures and sound say alone; null where the best clip has none of it, or it was not asked for."""

    video: float | None
    audio: float | None


class Moment(BaseModel):
    start_s: float
    end_s: float
    peak_s: float
    score: float
    thumbnail_url: str
    stream_url: str


class Frame(BaseModel):
    t_s: float


class Explanation(BaseModel):
    """Why the best clip was chosen: which words looked at which frames and listened to which sounds."""

    model_config = ConfigDict(extra="allow")
    tokens: list[str]
    frames: list[Frame]
    video_attention: list[list[float]]
    audio_times: list[float]
    audio_kept: list[list[float]]
    audio_alignment: list[list[float]]
    heard_as: str
    gates: dict[str, Any]


class SearchResult(BaseModel):
    rank: int
    video_id: UUID
    title: str
    uri: str
    score: float = Field(description="Of the best clip, from -1 to 1: for order, not for judging; see confidence")
    confidence: Band
    modality_scores: ModalityScores
    moments: list[Moment]
    explanation: Explanation | None = None


EXAMPLE_RESULT: dict[str, Any] = {
    "rank": 1,
    "video_id": EXAMPLE_VIDEO,
    "title": "postman",
    "uri": "home/postman.mp4",
    "score": 0.61,
    "confidence": "high",
    "modality_scores": {"video": 0.47, "audio": 0.52},
    "moments": [
        {
            "start_s": 12.0,
            "end_s": 18.5,
            "peak_s": 14.2,
            "score": 0.61,
            "thumbnail_url": f"/v1/videos/{EXAMPLE_VIDEO}/thumbnail?t=14.2",
            "stream_url": f"/v1/videos/{EXAMPLE_VIDEO}/stream#t=12,18.5",
        }
    ],
    "explanation": None,
}
EXAMPLE_TOOK: dict[str, Any] = {
    "encode": 9.1,
    "shortlist": 1.4,
    "fetch": 6.0,
    "rerank": 140.2,
    "moments": 12.3,
    "total": 169.0,
}


class SearchResponse(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query_id": "0d9a1c6f2b7e4f0a",
                    "snapshot": "01JD8Q7B6N3M2K1J0H9G8F7E6D",
                    "model": "htav-compact@4b1e",
                    "pool": {"videos": 120, "clips": 450, "seconds": 3900.0},
                    "degraded": [],
                    "best_confidence": "high",
                    "took_ms": EXAMPLE_TOOK,
                    "truncated_at": 100,
                    "results": [EXAMPLE_RESULT],
                    "next_cursor": None,
                }
            ]
        }
    )
    query_id: str
    snapshot: str
    model: str
    pool: Pool
    degraded: list[Degradation]
    best_confidence: Band
    took_ms: Took
    truncated_at: int | None = Field(description="Clips that were reranked, when there were more; null: all were")
    unknown_words: list[str] = Field(
        default=[], description="Words of the query that did not count: not understood, or beyond the longest query"
    )
    results: list[SearchResult]
    next_cursor: str | None


class SimilarResult(BaseModel):
    rank: int
    video_id: UUID
    title: str
    uri: str
    score: float
    moments: list[Moment]


class SimilarResponse(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video_id": EXAMPLE_VIDEO,
                    "snapshot": "01JD8Q7B6N3M2K1J0H9G8F7E6D",
                    "model": "htav-compact@4b1e",
                    "results": [
                        {key: EXAMPLE_RESULT[key] for key in ("rank", "video_id", "title", "uri", "score", "moments")}
                    ],
                }
            ]
        }
    )
    video_id: UUID
    snapshot: str
    model: str
    results: list[SimilarResult]
