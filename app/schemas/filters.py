"""Which videos a search may answer with, as a client writes it."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from app.schemas.base import Line, Request, Seconds, Tag

MAX_CLAUSES = 32
MAX_DEPTH = 4


def _in_utc(time: datetime) -> datetime:
    """The catalog keeps UTC; next to the first and the last year, another zone's time has none."""
    try:
        return time.astimezone(UTC)
    except OverflowError as err:
        raise ValueError("in UTC this time lies outside the years 1 to 9999; leave the bound out") from err


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class SecondsRange(Request):
    """Bounds on a duration in seconds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lte": 600}]})
    gt: Seconds | None = None
    gte: Seconds | None = None
    lt: Seconds | None = None
    lte: Seconds | None = None


class TimeRange(Request):
    """Bounds on a time; write the zone (`2026-01-31T00:00:00Z`)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gte": "2020-01-01T00:00:00Z"}]})
    gt: Time | None = None
    gte: Time | None = None
    lt: Time | None = None
    lte: Time | None = None


class Filter(Request):
    """Which videos to search. All given fields must hold; `all`, `any`, `not` nest filters, four deep at most."""

    model_config = ConfigDict(
        populate_by_name=True, serialize_by_alias=True, json_schema_extra={"examples": [{"duration_s": {"lte": 600}}]}
    )
    duration_s: SecondsRange | None = None
    has_audio: bool | None = None
    tags: list[Tag] | None = Field(default=None, max_length=MAX_CLAUSES, description="The video has all of these tags")
    path_prefix: Line | None = Field(
        default=None, min_length=1, max_length=1024, description="The start of the uri, e.g. `holidays/2024/`"
    )
    collection: Line | None = Field(default=None, max_length=255)
    added_at: TimeRange | None = None
    recorded_at: TimeRange | None = None
    all_of: list["Filter"] | None = Field(default=None, alias="all", max_length=MAX_CLAUSES)
    any_of: list["Filter"] | None = Field(default=None, alias="any", max_length=MAX_CLAUSES)
    none_of: "Filter | None" = Field(default=None, alias="not")

    def nested(self) -> list["Filter"]:
        return [*(self.all_of or []), *(self.any_of or []), *([self.none_of] if self.none_of else [])]

    def depth(self) -> int:
        return 1 + max((part.depth() for part in self.nested()), default=0)

    def clauses(self) -> int:
        """How many conditions there are, each bound and each tag counted."""
        ranges = [part for part in (self.duration_s, self.added_at, self.recorded_at) if part]
        own = sum(len(part.model_dump(exclude_none=True)) for part in ranges) + len(self.tags or [])
        own += sum(part is not None for part in (self.has_audio, self.path_prefix, self.collection))
        return own + sum(1 + part.clauses() for part in self.nested())
