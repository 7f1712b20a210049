"""The catalog's videos as clients see them."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schemas.base import EXAMPLE_VIDEO, Line, Request, Tag

VideoStateName = Literal[
    "queued", "probing", "decoding", "encoding", "committing", "ready", "partial", "failed", "missing", "deleted"
]


class VideoOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_VIDEO,
                    "uri": "home/postman.mp4",
                    "uris": ["home/postman.mp4"],
                    "title": "postman",
                    "state": "ready",
                    "duration_s": 31.4,
                    "has_video": True,
                    "has_audio": True,
                    "width": 1280,
                    "height": 720,
                    "clips": 4,
                    "tags": ["home"],
                    "collection": None,
                    "added_at": "2026-11-22T09:00:00Z",
                    "recorded_at": None,
                    "code": None,
                    "message": None,
                }
            ]
        }
    )
    id: UUID
    uri: str
    uris: list[str] = Field(description="All files with this content, each relative to its media root")
    title: str
    state: VideoStateName
    duration_s: float | None
    has_video: bool
    has_audio: bool
    width: int
    height: int
    clips: int
    tags: list[str]
    collection: str | None
    added_at: datetime
    recorded_at: datetime | None
    code: str | None = Field(description="Why the state is `failed` or `partial`")
    message: str | None


class VideoList(BaseModel):
    videos: list[VideoOut]
    next_cursor: str | None


class VideoPatch(Request):
    """What a person may correct; a field left out stays."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "The postman comes", "tags": ["home", "dog"], "collection": "archive"}],
            "minProperties": 1,
        }
    )
    title: Line = Field(default="", max_length=300)
    tags: list[Tag] = Field(default=[], max_length=64)
    collection: Line | None = Field(default=None, max_length=255, description="`null`: in none")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give a title, tags or a collection")
        return self
