"""The catalog as the service shows it: which videos there are, what they are called, where their files lie.

Paths leave this module in two forms only: `uri`, relative to its media root, for answers; and `path`, absolute and
checked to lie inside that root, for opening.
"""

import errno
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.filters import condition
from app.problems import Conflict, NotFound
from app.schemas import Filter, VideoOut, VideoPatch
from indexer.catalog import SEARCHABLE, Catalog, MediaRoot, Video, VideoState, VideoUri, file_path, now
from indexer.config import IndexSettings
from indexer.errors import StorageError, UnknownVideo
from indexer.listing import clip_counts
from indexer.space import storage_errors

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
SQL_BATCH = 500


@dataclass(frozen=True)
class Shown:
    """What a result says about a video."""

    id: str
    title: str
    uri: str
    path: Path | None
    duration_s: float | None


class Library:
    """Reads the catalog; the few changes a client may make are here too."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def shown(self, video_ids: Collection[str]) -> dict[str, Shown]:
        """Those of the videos that a search may show now, by id. In plain rows: every search waits for this."""
        ids = sorted(video_ids)
        found: dict[str, Shown] = {}
        columns = (Video.id, Video.title, Video.duration_s, MediaRoot.path, VideoUri.path)
        query = select(*columns).outerjoin(VideoUri, VideoUri.video_id == Video.id).outerjoin(MediaRoot)
        query = query.where(Video.state.in_(SEARCHABLE)).order_by(VideoUri.missing_since.is_not(None), VideoUri.id)
        with self.catalog.session() as session:
            for start in range(0, len(ids), SQL_BATCH):
                for row in session.execute(query.where(Video.id.in_(ids[start : start + SQL_BATCH]))):
                    video_id, title, duration_s, root, path = row
                    if video_id not in found:  # a present file comes before a missing one
                        file = None if path is None else file_path(root, path)
                        found[video_id] = Shown(video_id, title, path or "", file, duration_s)
        return found

    def video(self, video_id: str) -> VideoOut:
        with self.catalog.session() as session:
            return self._out(session, _get(session, video_id))

    def videos(
        self, *, limit: int, after: str | None, state: VideoState | None = None, filter: Filter | None = None
    ) -> list[VideoOut]:
        """Videos by id; `after` is the last id already seen. Deleted ones are listed only when asked for by state."""
        query = select(Video).order_by(Video.id).limit(limit)
        query = query.where(Video.state == state if state else Video.state != VideoState.DELETED)
        if after is not None:
            query = query.where(Video.id > after)
        if filter is not None:
            query = query.where(condition(filter))
        with self.catalog.session() as session:
            rows = session.scalars(query).all()
            counts = clip_counts(session, [video.id for video in rows])
            return [_out(video, counts.get(video.id, 0)) for video in rows]

    def change(self, video_id: str, patch: VideoPatch) -> VideoOut:
        """Correct what a person may correct; a field that was not given stays."""
        given = patch.model_fields_set
        with self.catalog.transaction() as session:
            video = _get(session, video_id, lock=True)  # or another adds the same tag meanwhile
            if "title" in given:
                video.title = patch.title
            if "tags" in given:
                video.tags = sorted(set(patch.tags))
            if "collection" in given:
                video.collection = patch.collection
            session.flush()
            return self._out(session, video)

    def delete(self, settings: IndexSettings, video_id: str, *, purge: bool) -> None:
        """Hide the video at once; `htav gc` gives its space back. A user's file is never touched, an uploaded copy only
        with `purge`, which may also follow a deletion without it.

        Raises UnknownVideo, and StorageError for a copy that cannot be removed: the video then stays as it was.
        """
        uploads = settings.uploads_dir.resolve()
        with self.catalog.transaction() as session:
            video = _get(session, video_id, deleted=purge, lock=True)
            mine = [uri for uri in video.uris if purge and Path(uri.root.path).resolve() == uploads]
            if video.state is VideoState.DELETED and not mine:
                raise _unknown(video_id)
            video.state, video.deleted_at = VideoState.DELETED, now()
            for uri in mine:
                _remove(uri)  # before it is forgotten: a copy that nobody knows can be removed by nobody
                video.uris.remove(uri)

    def file(self, video_id: str) -> tuple[Path, VideoOut]:
        """A file of the video that can be read, inside its media root. Raises UnknownVideo, NotFound, Conflict."""
        with self.catalog.session() as session:
            video = _get(session, video_id)
            out = self._out(session, video)
            if video.state not in SEARCHABLE:
                raise Conflict(
                    f"The video is {video.state}.", "Only ready and partial videos are played.", code="not_ready"
                )
            paths = [path for uri in video.uris if (path := _readable(uri)) is not None]
        if not paths:
            raise NotFound(
                "The video's file is not on the disk, or cannot be read.",
                "Put it back and run `htav index`, or look at its permissions and whether its disk is there.",
                code="file_gone",
            )
        return paths[0], out

    def _out(self, session: Session, video: Video) -> VideoOut:
        return _out(video, clip_counts(session, [video.id]).get(video.id, 0))


def _get(session: Session, video_id: str, *, deleted: bool = False, lock: bool = False) -> Video:
    """The video; one that was deleted only where the caller can do something with it. Locked for who changes it."""
    video = session.get(Video, video_id, with_for_update=lock)
    if video is None or (video.state is VideoState.DELETED and not deleted):
        raise _unknown(video_id)
    return video


def _unknown(video_id: str) -> UnknownVideo:
    return UnknownVideo(f"There is no video {video_id}.", "GET /v1/videos lists the videos.")


def _remove(uri: VideoUri) -> None:
    path = _inside(uri)
    if path is not None:
        with storage_errors(Path(uri.path)):
            path.unlink(missing_ok=True)


def _inside(uri: VideoUri) -> Path | None:
    """The file, if it is a regular one and really lies inside its root (a symbolic link may point elsewhere).

    Raises StorageError where the disk does not say: a folder that is closed to us, a network disk that went away.
    """
    root, path = Path(os.path.realpath(uri.root.path)), Path(os.path.realpath(uri.file_path))
    with storage_errors(Path(uri.path)):
        try:  # not is_file: whether that tells a file that is gone from a disk that is away depends on Python's version
            is_file = stat.S_ISREG(path.stat().st_mode)
        except OSError as err:
            if err.errno not in GONE:
                raise
            return None
        return path if is_file and path.is_relative_to(root) else None


def _readable(uri: VideoUri) -> Path | None:
    """The file, if it can be opened now: that it cannot must be known before an answer begins."""
    with suppress(StorageError):
        if (path := _inside(uri)) is not None and os.access(path, os.R_OK):
            return path
    return None


def _out(video: Video, clips: int) -> VideoOut:
    uris = [uri.path for uri in video.present or video.uris]  # where a video without any file was
    names = ("id", "title", "duration_s", "has_video", "has_audio", "width", "height", "collection", "added_at")
    values = {name: getattr(video, name) for name in (*names, "recorded_at", "code", "message")}
    uri, state, tags = uris[0] if uris else "", video.state.value, list(video.tags)
    return VideoOut.model_validate({**values, "uri": uri, "uris": uris, "state": state, "tags": tags, "clips": clips})
