"""The library as the catalog knows it against the library as it lies on disk.

    comparison = library.compare(scopes, found, ...)  # unchanged by (size, time), failed for good, or pending
    ruling = library.decide(task, content_hash)       # a pending file whose content is known now
    library.hide_missing(scopes)                      # last, so that a renamed file is never dark in between

A video is *complete* for a model when the catalog holds as many of its clips as its duration has windows. Nothing here
reads a file's content; nothing here decodes.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from indexer import failures
from indexer.catalog import Catalog, found_or_added, media_root
from indexer.config import IndexSettings
from indexer.failures import Verdict
from indexer.progress import Failure
from indexer.scan import PATH_TOO_LONG, Found, Scope
from indexer.tables import (
    SEARCHABLE,
    Clip,
    FileFailure,
    MediaRoot,
    Video,
    VideoState,
    VideoUri,
    file_path,
    now,
    stored_name,
    video_id,
)
from model.media import clip_windows

PARTIAL_CODES = frozenset({"truncated", "audio_decode_failed", "decode_failed", "unsupported_codec"})


@dataclass
class Task:
    """A file that may need work. `content_hash` is known when only the model is new or a run was interrupted.

    `asked_at` is when somebody asked for this very file; None when it is met in a folder.
    """

    root_id: int
    found: Found
    asked_at: datetime | None
    content_hash: str | None = None
    alone: bool = False
    file_id: int = 0  # of the job's row for it

    @property
    def uri(self) -> str:
        return stored_name(self.found.file_path)

    @property
    def path(self) -> Path:
        return self.found.file_path

    def has_changed(self) -> bool:
        """Whether the file is another than the one found. One that is gone has not: the next run will miss it."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) != (self.found.size, self.found.mtime_ns)


@dataclass
class Comparison:
    unchanged: int = 0
    pending: list[Task] = field(default_factory=list)
    failed: list[tuple[Task, Failure]] = field(default_factory=list)


class Ruling(Enum):
    """What a file turned out to be once its content was known."""

    WORK = "work"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    DELETED = "deleted"


class Library:
    """The questions and answers of one run for one model."""

    def __init__(self, settings: IndexSettings, catalog: Catalog, fingerprint: str) -> None:
        self.settings = settings
        self.catalog = catalog
        self.fingerprint = fingerprint

    def roots(self) -> Collection[Path]:
        """Every folder whose files may be indexed."""
        with self.catalog.session() as session:
            known = [file_path(path, "") for path in session.scalars(select(MediaRoot.path))]
        given = [root.resolve() for root in (*self.settings.media_roots, self.settings.uploads_dir)]
        return dict.fromkeys([*known, *given])  # each file is looked up in them, and they may be many

    def knows(self, scopes: Sequence[Scope]) -> bool:
        """Whether any file in the scopes was ever indexed."""
        with self.catalog.session() as session:
            return bool(_below(session, scopes))

    def compare(
        self, scopes: Sequence[Scope], found: Sequence[Found], *, retry: bool, asked_at: datetime | None
    ) -> Comparison:
        """Sort the files by what can be said without opening them, and bring back what had been missing.

        `asked_at` is when the files among the scopes were asked for, if anybody did.
        """
        result = Comparison()
        with self.catalog.transaction() as session:
            folders = {one.root for one in found} | {scope.root for scope in scopes}
            ids = {root: media_root(session, root).id for root in sorted(folders)}
            uris = {(uri.root_id, uri.path): uri for uri in session.scalars(select(VideoUri))} if found else {}
            videos = _videos(session) if uris else {}
            complete = self._complete(session, videos.values())
            named = {(scope.root, scope.path) for scope in scopes if scope.is_file}
            _forget_long_paths(session, scopes)
            for one in found:
                task = Task(ids[one.root], one, asked_at if (one.root, one.path) in named else None)
                uri = uris.get((task.root_id, one.path))
                if retry:
                    failures.clear(session, task.root_id, one.path)
                if one.problem is not None:
                    result.failed.append((task, _refused(session, task, one.problem)))
                elif uri is None or (uri.size, uri.mtime_ns) != (one.size, one.mtime_ns):
                    self._pend(session, task, result)
                elif (video := videos.get(uri.video_id)) is None:  # changed at this instant: to be decided by itself
                    self._pend(session, task, result)
                else:
                    self._known(session, task, uri, video, video.id in complete, result)
        return result

    def decide(self, task: Task, content_hash: str) -> Ruling:
        """File the content under its video, made if new, and say whether there is anything to encode."""
        with self.catalog.transaction() as session:
            identity = video_id(content_hash)
            video = video_of(session, content_hash, title=Path(task.found.path).stem)
            if _stays_deleted(video, task):
                return Ruling.DELETED
            if video.state is VideoState.DELETED:
                video.state, video.deleted_at = VideoState.QUEUED, None
            is_copy = self._attach(session, task, video)
            session.flush()
            if identity in self._complete(session, [video]):
                _restore(video)
                failures.clear(session, task.root_id, task.found.path)
                return Ruling.DUPLICATE if is_copy else Ruling.UNCHANGED
            if video.state in (VideoState.MISSING, VideoState.FAILED):
                video.state, video.missing_since = VideoState.QUEUED, None
            return Ruling.WORK

    def hide_missing(self, scopes: Sequence[Scope]) -> int:
        """Mark what is gone from disk; a video none of whose files is left is hidden. Returns how many are."""
        moment = now()
        with self.catalog.session() as session:
            known, failed = _below(session, scopes), _failed_below(session, scopes)
        # while a slow disk answers, others may write
        gone = [row for row in known if not os.path.lexists(file_path(row.root, row.path))]
        forgotten = [row.id for row in failed if not os.path.lexists(row.file_path)]
        with self.catalog.transaction() as session:
            for row in gone:
                fresh = VideoUri.id == row.uri_id, VideoUri.missing_since.is_(None)
                session.execute(update(VideoUri).where(*fresh).values(missing_since=moment))
            for failure in forgotten:  # what failed and is gone need not be listed
                session.execute(delete(FileFailure).where(FileFailure.id == failure))
            any_uri = exists().where(VideoUri.video_id == Video.id)
            live_uri = exists().where(VideoUri.video_id == Video.id, VideoUri.missing_since.is_(None))
            shown = or_(Video.state.in_((*SEARCHABLE, VideoState.FAILED)), any_uri)
            hidden = Video.state.in_((VideoState.MISSING, VideoState.DELETED))
            query = update(Video).where(shown, ~hidden, ~live_uri)
            session.execute(query.values(state=VideoState.MISSING, missing_since=moment))
            any_clip = exists().where(Clip.video_id == Video.id)  # without file and clips there is nothing to return to
            session.execute(delete(Video).where(~any_uri, ~any_clip, Video.state == VideoState.MISSING))
            missing = session.scalars(select(Video.id).where(Video.state == VideoState.MISSING))
            return len({row.video_id for row in gone}.intersection(missing))

    def _known(
        self, session: Session, task: Task, uri: VideoUri, video: Video, complete: bool, result: Comparison
    ) -> None:
        """A file with the size and time it had before."""
        uri.missing_since = None
        if _stays_deleted(video, task):
            result.unchanged += 1
        elif complete and video.state is not VideoState.DELETED:
            _restore(video)
            result.unchanged += 1
        else:
            task.content_hash = video.content_hash
            self._pend(session, task, result)

    def _pend(self, session: Session, task: Task, result: Comparison) -> None:
        """Try the file, unless it has failed for good."""
        one, limit = task.found, self.settings.max_attempts
        verdict = failures.verdict(session, task.root_id, one.path, one.size, one.mtime_ns, limit)
        if verdict is Verdict.REFUSE:
            row = failures.find(session, task.root_id, one.path)
            assert row is not None
            result.failed.append((task, Failure(task.uri, row.code or "failed", row.message, row.attempts)))
        else:
            task.alone = verdict is Verdict.ALONE
            result.pending.append(task)

    def _attach(self, session: Session, task: Task, video: Video) -> bool:
        """Point this file's uri at the video; True when the video has another file on disk."""
        one = task.found
        others = [uri for uri in video.uris if (uri.root_id, uri.path) != (task.root_id, one.path)]
        query = select(VideoUri).where(VideoUri.root_id == task.root_id, VideoUri.path == one.path)
        uri = session.scalar(query)
        is_new = uri is None or uri.video_id != video.id
        if uri is None:
            uri = VideoUri(root_id=task.root_id, path=one.path, video_id=video.id)
            session.add(uri)
        uri.video_id, uri.size, uri.mtime_ns, uri.missing_since = video.id, one.size, one.mtime_ns, None
        return is_new and any(other.missing_since is None and other.file_path.exists() for other in others)

    def _complete(self, session: Session, videos: Iterable[Video]) -> set[str]:
        """The videos all of whose clips are committed for this model."""
        known = {video.id: video.duration_s for video in videos if video.duration_s is not None}
        counts = select(Clip.video_id, func.count()).group_by(Clip.video_id)
        counts = counts.where(Clip.fingerprint == self.fingerprint)
        if len(known) == 1:
            counts = counts.where(Clip.video_id.in_(known))
        have = {row[0]: row[1] for row in session.execute(counts)} if known else {}
        return {one for one, length in known.items() if length and have.get(one, 0) == len(clip_windows(length))}


def video_of(session: Session, content_hash: str, title: str) -> Video:
    """The video of this content, made if it is new, nobody else's to change in this transaction."""
    new = Video(id=video_id(content_hash), content_hash=content_hash, title=title)
    return found_or_added(session, select(Video).where(Video.id == new.id).with_for_update(), new)


def undeleted(session: Session, identity: str) -> Video | None:
    """A known video, nobody else's to change in this transaction; None if it was deleted."""
    video = session.get_one(Video, identity, with_for_update=True)
    return None if video.state is VideoState.DELETED else video


def _videos(session: Session) -> dict[str, Video]:
    """All videos by id. Those that may come back are nobody else's to delete or forget in this transaction."""
    hidden = select(Video).where(Video.state.not_in(SEARCHABLE)).order_by(Video.id).with_for_update()
    shown = select(Video).where(Video.state.in_(SEARCHABLE))
    return {video.id: video for query in (hidden, shown) for video in session.scalars(query)}


def _stays_deleted(video: Video, task: Task) -> bool:
    """Only who has asked for the file since its video was deleted brings it back."""
    if video.state is not VideoState.DELETED:
        return False
    return task.asked_at is None or (video.deleted_at is not None and video.deleted_at >= task.asked_at)


def _restore(video: Video) -> None:
    """A complete video that was hidden is shown again."""
    if video.state not in SEARCHABLE:
        partial = video.code in PARTIAL_CODES
        video.state = VideoState.PARTIAL if partial else VideoState.READY
        if not partial:
            video.code = video.message = None
    video.missing_since = None


def _refused(session: Session, task: Task, problem: tuple[str, str]) -> Failure:
    attempts = failures.record(session, task.root_id, task.found.path, *problem, charge=False)
    return Failure(task.uri, *problem, attempts)


def _under(path: Path, starts: set[Path]) -> bool:
    """Whether a path is one of these or lies below one."""
    return path in starts or any(parent in starts for parent in path.parents)


def _failed_below(session: Session, scopes: Sequence[Scope]) -> list[FileFailure]:
    """What has failed in the scopes and goes by its own name."""
    starts = {scope.file_path for scope in scopes}
    named = FileFailure.code.is_distinct_from(PATH_TOO_LONG)
    rows = session.scalars(select(FileFailure).where(named))
    return [row for row in rows if _under(row.file_path, starts)]


def _forget_long_paths(session: Session, scopes: Sequence[Scope]) -> None:
    """Files under shortened names cannot be looked up on disk: those that are still in the folders are noted anew."""
    starts = {scope.file_path for scope in scopes}
    for row in session.scalars(select(FileFailure).where(FileFailure.code == PATH_TOO_LONG)).all():
        if not starts.isdisjoint(row.file_path.parents):  # asked for by such a name itself, it was not looked for
            session.delete(row)
    session.flush()


class _Row(NamedTuple):
    uri_id: int
    root: str
    path: str
    video_id: str


def _below(session: Session, scopes: Sequence[Scope]) -> list[_Row]:
    """Every known file in the scopes."""
    query = select(VideoUri.id, MediaRoot.path, VideoUri.path, VideoUri.video_id).join(MediaRoot)
    starts = {scope.file_path for scope in scopes}
    rows = [_Row(*row) for row in session.execute(query)]
    return [row for row in rows if _under(file_path(row.root, row.path), starts)]
