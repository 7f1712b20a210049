"""Taking damaged clips out of sight and having their videos indexed again.

Only the damaged clips' rows go; the video is hidden until the pipeline has encoded the missing ordinals anew.
"""

import logging
from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from indexer.catalog import Catalog
from indexer.jobs import enqueue
from indexer.tables import SEARCHABLE, Clip, Video, VideoState

log = logging.getLogger(__name__)
IN_CLAUSE = 500


def quarantine(catalog: Catalog, clip_ids: Collection[int], code: str) -> Sequence[str]:
    """Drop these clips and queue their videos; returns the ids of the videos that were searchable until now."""
    wanted, hidden = list(clip_ids), []
    with catalog.transaction() as session:
        for start in range(0, len(wanted), IN_CLAUSE):
            part = wanted[start : start + IN_CLAUSE]
            owners = select(Clip.video_id).where(Clip.id.in_(part))
            shown = select(Video).where(Video.id.in_(owners), Video.state.in_(SEARCHABLE))
            locked = shown.order_by(Video.id).with_for_update()  # a deletion of this instant stays one
            videos = session.scalars(locked).all()
            session.execute(delete(Clip).where(Clip.id.in_(part)))
            hidden += requeue(session, videos, code)
    if hidden:
        log.warning("%d videos are hidden until they are indexed again (%s): %s", len(hidden), code, ", ".join(hidden))
    return hidden


def requeue(session: Session, videos: Sequence[Video], code: str) -> list[str]:
    """Hide videos and queue one job for the files that hold them."""
    for video in videos:
        video.state, video.code = VideoState.QUEUED, code
        video.message = "Its stored data is damaged; it will be indexed again."
    paths = [uri.file_path for video in videos for uri in video.present]
    if paths:
        enqueue(session, paths, kind="index", options={"retry": False, "reason": code, "revive": False})
    return [video.id for video in videos]
