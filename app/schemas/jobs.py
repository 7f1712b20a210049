"""Index jobs and uploads."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import EXAMPLE_JOB, EXAMPLE_VIDEO, Line, Request

JobStateName = Literal["queued", "running", "done", "done_with_failures", "failed", "cancelled"]


class JobCreate(Request):
    """Files and folders to index, relative to a media root (or absolute inside one). `.` is every media root."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paths": ["."]}]})
    paths: list[Annotated[Line, Field(min_length=1, max_length=4096)]] = Field(min_length=1, max_length=1000)


class FileProblem(BaseModel):
    uri: str
    code: str
    message: str
    attempts: int


class JobOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_JOB,
                    "kind": "index",
                    "state": "done_with_failures",
                    "paths": ["home"],
                    "counts": {"found": 3, "encoded": 2, "failed": 1},
                    "progress": 1.0,
                    "snapshot": "01JD8Q7B6N3M2K1J0H9G8F7E6D",
                    "code": None,
                    "message": None,
                    "failed": [
                        {
                            "uri": "home/broken.mp4",
                            "code": "truncated",
                            "message": "The file is cut off.",
                            "attempts": 1,
                        }
                    ],
                    "created_at": "2026-11-22T09:00:00Z",
                    "started_at": "2026-11-22T09:00:01Z",
                    "finished_at": "2026-11-22T09:00:31Z",
                }
            ]
        }
    )
    id: str
    kind: str
    state: JobStateName
    paths: list[str]
    counts: dict[str, Any]
    progress: float
    snapshot: str | None
    code: str | None
    message: str | None
    failed: list[FileProblem]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobList(BaseModel):
    jobs: list[JobOut]
    next_cursor: str | None


class JobAccepted(BaseModel):
    """The work was queued; follow it at `Location`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job_id": EXAMPLE_JOB, "state": "queued"}]})
    job_id: str
    state: JobStateName = "queued"


class UploadAccepted(JobAccepted):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"job_id": EXAMPLE_JOB, "state": "queued", "video_id": EXAMPLE_VIDEO}]}
    )
    video_id: UUID
