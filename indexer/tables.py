"""The catalog's tables: what is known about files, videos, clips, segments, snapshots and jobs.

Rows only: opening the database is `catalog`, the rules of jobs are `jobs`, bytes on disk are `segments` and `snapshot`.
A change here needs a migration (`alembic revision --autogenerate`); a test compares the two.

    media_root 1--n video_uri n--1 video 1--n clip n--1 segment
    job 1--n job_file, job 1--n job_event; file_failure and job_file name a file by (root, path)
"""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMESPACE = UUID("6c1d0f3e-2b0e-5a53-9f0c-7a2d5c6e4b1a")
BIG_ID = BigInteger().with_variant(Integer, "sqlite")
NEVER_REUSE = {"sqlite_autoincrement": True}  # a clip id in a snapshot must never come to mean another clip
MAX_NAME_BYTES = 2_600  # PostgreSQL's indexes take rows of 2,704 bytes, and a path shares them with a few columns
_BYTE_ESCAPES = {0xDC80 + byte: 0x10FE80 + byte for byte in range(128)}
_BYTE_ORIGINALS = {value: key for key, value in _BYTE_ESCAPES.items()}


def video_id(content_hash: str) -> str:
    """The id of the video with this content, the same in every catalog."""
    return str(uuid5(NAMESPACE, content_hash))


def now() -> datetime:
    return datetime.now(UTC)


class VideoState(StrEnum):
    """Where a video stands. Only `ready` and `partial` are searchable; a re-encoded video keeps its state meanwhile."""

    QUEUED = "queued"
    PROBING = "probing"
    DECODING = "decoding"
    ENCODING = "encoding"
    COMMITTING = "committing"
    READY = "ready"
    PARTIAL = "partial"
    FAILED = "failed"
    MISSING = "missing"
    DELETED = "deleted"


SEARCHABLE = (VideoState.READY, VideoState.PARTIAL)
HIDDEN = tuple(state for state in VideoState if state not in SEARCHABLE)


class SegmentState(StrEnum):
    """`open` takes records, `sealed` takes none, `retired` holds none that is wanted and is deleted by gc."""

    OPEN = "open"
    SEALED = "sealed"
    RETIRED = "retired"


class SnapshotState(StrEnum):
    PUBLISHED = "published"
    RETIRED = "retired"
    CORRUPT = "corrupt"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DONE_WITH_FAILURES = "done_with_failures"
    FAILED = "failed"
    CANCELLED = "cancelled"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time in both databases; SQLite keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FileName(TypeDecorator[str]):
    """A path whose bytes may be no UTF-8: stray bytes become private-use characters, which any database and JSON take.

    `file_path` turns them back; everything else can treat the value as plain text.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else stored_name(value)


def stored_name(path: str | Path) -> str:
    """A path as the catalog keeps it; the inverse of `file_path`."""
    return str(path).translate(_BYTE_ESCAPES)


def file_path(root: str, path: str = "") -> Path:
    """The file on disk that a stored root and path name."""
    return Path(os.path.join(root, path).translate(_BYTE_ORIGINALS))


def _states(states: type[StrEnum]) -> Enum:
    return Enum(states, native_enum=False, length=24, values_callable=lambda kind: [member.value for member in kind])


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        float: Double(),
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        VideoState: _states(VideoState),
        SegmentState: _states(SegmentState),
        SnapshotState: _states(SnapshotState),
        JobState: _states(JobState),
    }


class MediaRoot(Base):
    """A folder whose files may be indexed; moving it means changing one row."""

    __tablename__ = "media_root"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(FileName, unique=True)


class Video(Base):
    """One content; `state` says whether search may show it, `tags` is a list of plain strings."""

    __tablename__ = "video"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    content_hash: Mapped[str] = mapped_column(String(128), unique=True)
    title: Mapped[str] = mapped_column(FileName, default="")
    state: Mapped[VideoState] = mapped_column(default=VideoState.QUEUED, index=True)
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)
    format: Mapped[str | None] = mapped_column(String(64))
    duration_s: Mapped[float | None] = mapped_column(index=True)
    has_video: Mapped[bool] = mapped_column(default=False)
    has_audio: Mapped[bool] = mapped_column(default=False)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    collection: Mapped[str | None] = mapped_column(String(255), index=True)
    added_at: Mapped[datetime] = mapped_column(default=now, index=True)
    recorded_at: Mapped[datetime | None] = mapped_column(index=True)
    missing_since: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    uris: Mapped[list["VideoUri"]] = relationship(
        back_populates="video", cascade="all, delete-orphan", order_by="VideoUri.id", lazy="selectin"
    )
    tag_rows: Mapped[list["VideoTag"]] = relationship(
        cascade="all, delete-orphan", order_by="VideoTag.tag", lazy="selectin"
    )
    tags: AssociationProxy[list[str]] = association_proxy("tag_rows", "tag", creator=lambda tag: VideoTag(tag=tag))

    @property
    def present(self) -> list["VideoUri"]:
        """Its files that were there when their folder was last looked through, the first known first."""
        return [uri for uri in self.uris if uri.missing_since is None]


class VideoTag(Base):
    __tablename__ = "video_tag"
    video_id: Mapped[str] = mapped_column(ForeignKey("video.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)


class VideoUri(Base):
    """One file that holds a video's content. (size, mtime_ns) is the fast path of an incremental run."""

    __tablename__ = "video_uri"
    __table_args__ = (UniqueConstraint("root_id", "path"),)
    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("video.id", ondelete="CASCADE"), index=True)
    root_id: Mapped[int] = mapped_column(ForeignKey("media_root.id"))
    path: Mapped[str] = mapped_column(FileName, index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    missing_since: Mapped[datetime | None]

    video: Mapped[Video] = relationship(back_populates="uris")
    root: Mapped[MediaRoot] = relationship(lazy="joined")

    @property
    def file_path(self) -> Path:
        return file_path(self.root.path, self.path)


class Segment(Base):
    """A file of records. `end` is the last committed byte: what lies beyond it was never promised to anyone."""

    __tablename__ = "segment"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(128), index=True)
    width: Mapped[int]
    end: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[SegmentState] = mapped_column(default=SegmentState.OPEN)
    created_at: Mapped[datetime] = mapped_column(default=now)
    retired_at: Mapped[datetime | None]


class Clip(Base):
    """One encoded clip: its token set is a record of a segment, coarse vectors (3 x width, fp16) and reading one."""

    __tablename__ = "clip"
    __table_args__ = (
        UniqueConstraint("video_id", "fingerprint", "ordinal"),
        Index("ix_clip_fingerprint_video_id", "fingerprint", "video_id"),
        NEVER_REUSE,
    )
    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("video.id", ondelete="CASCADE"))
    fingerprint: Mapped[str] = mapped_column(String(128))
    ordinal: Mapped[int]
    start_s: Mapped[float]
    end_s: Mapped[float]
    segment_id: Mapped[str] = mapped_column(ForeignKey("segment.id"), index=True)
    offset: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    crc32: Mapped[int] = mapped_column(BigInteger)
    coarse_offset: Mapped[int] = mapped_column(BigInteger)
    coarse_length: Mapped[int]
    coarse_crc32: Mapped[int] = mapped_column(BigInteger)


class SnapshotRow(Base):
    """A published state of the index; its bytes are in `snapshots/<id>/`."""

    __tablename__ = "snapshot"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(128), index=True)
    model: Mapped[str] = mapped_column(String(255))
    state: Mapped[SnapshotState] = mapped_column(default=SnapshotState.PUBLISHED)
    videos: Mapped[int]
    clips: Mapped[int]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """A piece of work and, while someone does it, the lease: who holds it, how to see that he is alive, until when."""

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    kind: Mapped[str] = mapped_column(String(24), default="index")
    state: Mapped[JobState] = mapped_column(default=JobState.QUEUED, index=True)
    paths: Mapped[list[str]]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    snapshot_id: Mapped[str | None] = mapped_column(String(26))
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(String(26))
    lease_host: Mapped[str | None] = mapped_column(String(255))
    lease_boot: Mapped[str | None] = mapped_column(String(64))
    lease_pid: Mapped[int | None]
    lease_pid_start: Mapped[int | None] = mapped_column(BigInteger)
    lease_until: Mapped[datetime | None]


class JobFile(Base):
    """One file of a job. `in_hand` is true while a worker works on it: that is how a death is laid at a file's door."""

    __tablename__ = "job_file"
    __table_args__ = (UniqueConstraint("job_id", "root_id", "path"),)
    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    root_id: Mapped[int] = mapped_column(ForeignKey("media_root.id"))
    path: Mapped[str] = mapped_column(FileName)
    state: Mapped[VideoState] = mapped_column(default=VideoState.QUEUED)
    video_id: Mapped[str | None] = mapped_column(String(36))
    in_hand: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[float] = mapped_column(default=0.0)

    root: Mapped[MediaRoot] = relationship(lazy="joined")

    @property
    def file_path(self) -> Path:
        return file_path(self.root.path, self.path)


class FileFailure(Base):
    """What went wrong with a file, across jobs. It holds for this size and time only: a changed file starts anew."""

    __tablename__ = "file_failure"
    __table_args__ = (UniqueConstraint("root_id", "path"),)
    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    root_id: Mapped[int] = mapped_column(ForeignKey("media_root.id"))
    path: Mapped[str] = mapped_column(FileName)
    size: Mapped[int | None] = mapped_column(BigInteger)
    mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    video_id: Mapped[str | None] = mapped_column(String(36), index=True)
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    root: Mapped[MediaRoot] = relationship(lazy="joined")

    @property
    def file_path(self) -> Path:
        return file_path(self.root.path, self.path)


class JobEvent(Base):
    """A line of a job's history; the id is the SSE event id."""

    __tablename__ = "job_event"
    __table_args__ = (NEVER_REUSE,)
    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    kind: Mapped[str] = mapped_column(String(24))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ApiKey(Base):
    """A key of the HTTP API; only its digest is kept."""

    __tablename__ = "api_key"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
