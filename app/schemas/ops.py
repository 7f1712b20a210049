"""Health, version, and the one shape of every error."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Readiness(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready", "snapshot": "01JD8Q7B6N3M2K1J0H9G8F7E6D", "videos": 120}]}
    )
    status: Literal["ready"]
    snapshot: str | None = Field(description="null: nothing has been indexed yet")
    videos: int


class Liveness(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})
    status: Literal["alive"] = "alive"


class VersionOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": "0.1.0",
                    "model": "htav-compact@4b1e",
                    "fingerprint": "4b1e0c",
                    "code_licence": "Apache-2.0",
                    "weights_licence": "LICENSE-WEIGHTS: non-commercial research and education",
                    "languages": ["en"],
                }
            ]
        }
    )
    version: str
    model: str | None
    fingerprint: str | None
    code_licence: str
    weights_licence: str
    languages: list[str]


class FieldProblem(BaseModel):
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    where: str = Field(alias="in", description="body, query, path or header")
    pointer: str = Field(description="JSON pointer to the field")
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable: program against it. `hint` says what to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:htav:problem:query_not_understood",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "code": "query_not_understood",
                    "detail": "No word of the query is known.",
                    "hint": "Describe in English what is seen, said or heard.",
                    "instance": "/v1/search",
                    "request_id": "f3a9d2c47e5b4a6f",
                    "errors": [],
                }
            ]
        }
    )
    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    instance: str | None = None
    request_id: str | None = None
    errors: list[FieldProblem] = []
