"""What the catalog holds, as the command line shows it: videos and failed files, with absolute paths."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from indexer import failures
from indexer.catalog import Catalog
from indexer.progress import Failure
from indexer.tables import SEARCHABLE, Clip, Video, VideoState, VideoUri, stored_name


def clip_counts(session: Session, video_ids: Sequence[str] | None = None) -> dict[str, int]:
    """Clips of each of these videos, or of all, in the newest index that has any."""
    query = select(Clip.video_id, func.count())
    if video_ids is not None:
        query = query.where(Clip.video_id.in_(video_ids))
    rows = session.execute(query.group_by(Clip.video_id, Clip.fingerprint).order_by(func.max(Clip.id)))
    return {row[0]: row[1] for row in rows}


def videos(catalog: Catalog, state: VideoState | None = None) -> list[dict[str, Any]]:
    """Every video that was not deleted, by path. `clips` are those of one model, however many are stored."""
    with catalog.session() as session:
        clips = clip_counts(session)
        wanted = select(Video).where(Video.state == state if state else Video.state != VideoState.DELETED)
        rows = [_video(video, clips.get(video.id, 0)) for video in session.scalars(wanted)]
    return sorted(rows, key=lambda row: (row["uri"] or "", row["id"]))


def failed(catalog: Catalog) -> list[Failure]:
    """Every file that is not indexed, and why."""
    return [
        Failure(stored_name(row.file_path), row.code or "failed", row.message, row.attempts)
        for row in failures.failed_files(catalog)
    ]


def live_files(catalog: Catalog) -> list[str]:
    """One path for each video that can be encoded again."""
    with catalog.session() as session:
        query = select(Video).where(Video.state.in_((*SEARCHABLE, VideoState.FAILED)))
        return sorted(str(uri.file_path) for video in session.scalars(query) for uri in video.present[:1])


def _video(video: Video, clips: int) -> dict[str, Any]:
    uris = [_shown(uri) for uri in (video.uris if video.state is VideoState.MISSING else video.present)]
    return {
        "id": video.id,
        "uri": uris[0] if uris else None,
        "uris": uris,
        "title": video.title,
        "state": video.state.value,
        "duration_s": video.duration_s,
        "has_audio": video.has_audio,
        "clips": clips,
        "tags": list(video.tags),
    }


def _shown(uri: VideoUri) -> str:
    return stored_name(uri.file_path)
