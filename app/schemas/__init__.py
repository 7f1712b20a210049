"""The JSON that the service speaks. These shapes are relied on from outside: extend them, never change them.

Requests refuse unknown fields, so that a misspelt filter is an error and not a silent answer to another question. Each
schema carries an example that Swagger UI sends when pressed.
"""

from app.schemas.base import Band
from app.schemas.filters import Filter, SecondsRange, TimeRange
from app.schemas.jobs import FileProblem, JobAccepted, JobCreate, JobList, JobOut, UploadAccepted
from app.schemas.ops import FieldProblem, Liveness, Problem, Readiness, VersionOut
from app.schemas.search import (
    Degradation,
    Explanation,
    Frame,
    Modality,
    ModalityScores,
    Moment,
    Pool,
    SearchRequest,
    SearchResponse,
    SearchResult,
    SimilarResponse,
    SimilarResult,
    Took,
)
from app.schemas.videos import VideoList, VideoOut, VideoPatch

__all__ = [
    "Band",
    "Degradation",
    "Explanation",
    "FieldProblem",
    "FileProblem",
    "Filter",
    "Frame",
    "JobAccepted",
    "JobCreate",
    "JobList",
    "JobOut",
    "Liveness",
    "Modality",
    "ModalityScores",
    "Moment",
    "Pool",
    "Problem",
    "Readiness",
    "SearchRequest",
    "SearchResponse",
    "SearchResult",
    "SecondsRange",
    "SimilarResponse",
    "SimilarResult",
    "TimeRange",
    "Took",
    "UploadAccepted",
    "VersionOut",
    "VideoList",
    "VideoOut",
    "VideoPatch",
]
