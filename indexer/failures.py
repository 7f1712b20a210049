"""What a file may still cost: attempts, deaths and the codes that end it.

A file is charged an attempt only when its own decoding child or its own encoding failed. A worker that dies charges
nothing, because power cuts and updates kill workers too; but a file that was in hand at two deaths is suspected, is
tried alone, and is charged from then on. A changed file (size or time) starts anew; so does one the user asks to retry.
"""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from indexer.catalog import Catalog, found_or_added
from indexer.scan import PATH_TOO_LONG
from indexer.tables import FileFailure, JobFile, VideoState

TERMINAL_CODES = frozenset(
    {
        "unsupported_format",
        "unsupported_codec",
        "no_media_stream",
        "too_large",
        "too_long",
        "empty",
        "damaged",
        "decode_failed",
        "audio_decode_failed",
        "truncated",
    }
)
WORKER_DIED = "worker_died"
SUSPECT_DEATHS = 2


class Verdict(Enum):
    """`TRY` with the others, `ALONE` with nothing else in hand, or `REFUSE`: leave it failed."""

    TRY = "try"
    ALONE = "alone"
    REFUSE = "refuse"


def find(session: Session, root_id: int, path: str) -> FileFailure | None:
    return session.scalar(_of(root_id, path))


def verdict(session: Session, root_id: int, path: str, size: int, mtime_ns: int, max_attempts: int) -> Verdict:
    """Whether the file of this size and time is worth another attempt."""
    row = find(session, root_id, path)
    if row is None or _changed(row, size, mtime_ns):
        return Verdict.TRY
    if row.code in TERMINAL_CODES or row.attempts >= max_attempts:
        return Verdict.REFUSE
    return Verdict.ALONE if row.deaths >= SUSPECT_DEATHS else Verdict.TRY


def record(
    session: Session,
    root_id: int,
    path: str,
    code: str,
    message: str,
    *,
    size: int | None = None,
    mtime_ns: int | None = None,
    video_id: str | None = None,
    charge: bool = True,
) -> int:
    """Note a failure and return the attempts so far; `charge=False` for what is not the file's fault (a full disk)."""
    row = _row(session, root_id, path, size, mtime_ns)
    row.code, row.message = code, message
    row.video_id = video_id or row.video_id
    row.attempts += charge
    session.flush()
    return row.attempts


def record_death(session: Session, file: JobFile) -> None:
    """A worker died with this file in hand."""
    size, mtime_ns = _size_and_time(file.file_path)
    row = _row(session, file.root_id, file.path, size, mtime_ns)
    row.video_id = file.video_id or row.video_id
    row.deaths += 1
    if row.deaths >= SUSPECT_DEATHS:
        row.attempts += 1
        row.code, row.message = WORKER_DIED, f"The worker died {row.deaths} times while it had this file in hand."
    session.flush()


def clear(session: Session, root_id: int, path: str) -> None:
    """Forget a file's failures: it is indexed now, or the user wants it tried again.

    One with a shortened name cannot be tried by it, and stays until its folder is looked through.
    """
    named = FileFailure.code.is_distinct_from(PATH_TOO_LONG)
    query = delete(FileFailure).where(FileFailure.root_id == root_id, FileFailure.path == path, named)
    session.execute(query.execution_options(synchronize_session=False))  # else it looks at all that the session holds


def failed_files(catalog: Catalog) -> Sequence[FileFailure]:
    """Every file that failed and has not been indexed since, by path: the list of `htav failed`."""
    with catalog.session() as session:
        query = select(FileFailure).where(FileFailure.code.is_not(None)).order_by(FileFailure.path, FileFailure.id)
        return session.scalars(query).all()


def is_settled(state: VideoState) -> bool:
    """True for the states a file rests in."""
    return state in (
        VideoState.READY,
        VideoState.PARTIAL,
        VideoState.FAILED,
        VideoState.MISSING,
        VideoState.DELETED,
    )


def _row(session: Session, root_id: int, path: str, size: int | None, mtime_ns: int | None) -> FileFailure:
    """The file's row, nobody else's to change in this transaction; as if new where the file has changed."""
    new = FileFailure(root_id=root_id, path=path, attempts=0, deaths=0)
    locked = _of(root_id, path).with_for_update(of=FileFailure).execution_options(populate_existing=True)
    row = found_or_added(session, locked, new)
    if _changed(row, size, mtime_ns):
        row.attempts = row.deaths = 0
        row.video_id, row.code, row.message = None, None, ""
    if size is not None:
        row.size, row.mtime_ns = size, mtime_ns
    return row


def _of(root_id: int, path: str) -> Select[FileFailure]:
    return select(FileFailure).where(FileFailure.root_id == root_id, FileFailure.path == path)


def _size_and_time(path: Path) -> tuple[int | None, int | None]:
    try:
        status = path.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def _changed(row: FileFailure, size: int | None, mtime_ns: int | None) -> bool:
    known = row.size is not None and size is not None
    return known and (row.size, row.mtime_ns) != (size, mtime_ns)
