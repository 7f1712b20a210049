"""Whether a catalog and a data folder belong together: each is half an index, and opening the wrong half ruins both.

A catalog beside another's folder finds none of its clips' vectors and would take them all for damaged; a folder beside
another's catalog would lose every segment that this catalog does not know. Segments and snapshots have ids that are
used once in the world, so a pair is told by what both know, and a folder may be moved, copied or restored.
"""

from sqlalchemy import URL, exists, select
from sqlalchemy.orm import Session

from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable
from indexer.segments import segment_path
from indexer.snapshot_files import pointer_path, snapshot_folders
from indexer.tables import Clip, MediaRoot, Segment, SnapshotRow, VideoUri, file_path


def check_pair(settings: IndexSettings, url: URL, session: Session) -> None:
    """Raise CatalogUnusable if the data folder is another catalog's."""
    for _ in range(2):  # whoever writes may have replaced, between two looks, all that both knew
        if _is_pair(settings, session):
            return
        session.rollback()  # the second time, see what was committed meanwhile
    raise CatalogUnusable(
        f"The data folder {settings.data_dir.absolute()} holds nothing of what the database {url.database} describes.",
        "Set HTAV_DATA_DIR to the folder that belongs to this database, or HTAV_DATABASE_URL to the database that "
        "belongs to this folder (unset: the folder's own catalog.db). To begin anew, take an empty database and remove "
        "`segments` and `snapshots` from the folder. If the folder is lost, see Backup in docs/operations.md.",
    )


def _is_pair(settings: IndexSettings, session: Session) -> bool:
    """Whether both know a segment or a snapshot, or one of them has nothing to lose.

    A catalog inside its folder came there with it: where nothing was published by another, what it misses is damage,
    which `htav verify` mends.
    """
    published = pointer_path(settings.data_dir).exists()  # first: it is written after everything else
    segments = session.scalars(select(Segment.id)).all()
    if any(segment_path(settings.data_dir, segment_id).exists() for segment_id in segments):
        return True
    if session.scalar(select(exists().where(SnapshotRow.id.in_(snapshot_folders(settings.data_dir))))):
        return True
    inside = settings.database_url is None
    return not published and (inside or not session.scalar(select(exists(select(Clip.id)))))


def follow_uploads(settings: IndexSettings, session: Session) -> None:
    """Point the media root of the uploads at the data folder, if they have moved with it: a root is an absolute path.

    Nothing but uploads lies there, each in a folder of its video's id: a root that has one of them is theirs.
    """
    folder = settings.uploads_dir.resolve()
    roots = {file_path(root.path): root for root in session.scalars(select(MediaRoot))}
    if folder in roots or not folder.is_dir():
        return
    for root in (root for path, root in roots.items() if path.name == folder.name):
        names = session.scalars(select(VideoUri.path).where(VideoUri.root_id == root.id))
        if any(file_path(str(folder), name).is_file() for name in names):
            root.path = str(folder)
            return
