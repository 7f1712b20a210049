"""Opening the catalog: engine, sessions, migrations, and the few look-ups that every part shares.

    catalog = Catalog.open(settings)              # creates the data folder and migrates to head
    with catalog.session() as session: ...        # reads; nothing is committed unless the caller does
    with catalog.transaction() as session: ...    # writes; commits at the end, rolls back on an error
    catalog.close()

The tables are in `tables` (re-exported here). SQLite runs in WAL with synchronous=FULL, because a published snapshot
must never name clips whose rows a power cut took back; its write transactions begin IMMEDIATE, so that a writer waits
for its turn at the start and is never refused half-way.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, Select, create_engine, event, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable, DataFolderUnusable, InsufficientStorage, PathRefused
from indexer.pairing import check_pair, follow_uploads
from indexer.space import HINT
from indexer.tables import (
    HIDDEN,
    MAX_NAME_BYTES,
    SEARCHABLE,
    ApiKey,
    Base,
    Clip,
    FileFailure,
    Job,
    JobEvent,
    JobFile,
    JobState,
    MediaRoot,
    Segment,
    SegmentState,
    SnapshotRow,
    SnapshotState,
    Video,
    VideoState,
    VideoTag,
    VideoUri,
    file_path,
    now,
    stored_name,
    video_id,
)

__all__ = [
    "HIDDEN",
    "SEARCHABLE",
    "ApiKey",
    "Base",
    "Catalog",
    "Clip",
    "FileFailure",
    "Job",
    "JobEvent",
    "JobFile",
    "JobState",
    "MediaRoot",
    "Segment",
    "SegmentState",
    "SnapshotRow",
    "SnapshotState",
    "Video",
    "VideoState",
    "VideoTag",
    "VideoUri",
    "file_path",
    "found_or_added",
    "media_root",
    "now",
    "video_id",
]

BUSY_MS = 30_000
# libpq's, of a host that is gone and swallows packets: how long it is waited for when it is connected to, when it has
# to confirm what was sent (else a quarter of an hour), and when it says nothing at all (else two hours).
PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 10_000, "keepalives_idle": 30}
MIGRATION_LOCK = 0x48544156
OURS = (IntegrityError, ProgrammingError, DataError, NotSupportedError)  # what is wrong is what we asked for
_WRITE = "htav_write"
Row = TypeVar("Row", bound=Base)


class Catalog:
    """A connection pool on the catalog's database; safe to share between threads, not between processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = sessionmaker(engine, expire_on_commit=False)
        self._writer = sessionmaker(engine.execution_options(**{_WRITE: True}), expire_on_commit=False)

    @classmethod
    def open(cls, settings: IndexSettings) -> "Catalog":
        """Open the catalog of these settings, made and migrated if need be. Raises CatalogUnusable, also for a data
        folder that is another catalog's."""
        ensure_data_dir(settings.data_dir)
        engine = _engine_of(settings)
        catalog = cls(engine)
        try:
            with _migration_lock(engine, settings.data_dir):
                upgrade(engine)
            with catalog.session() as session:
                check_pair(settings, engine.url, session)
            with catalog.transaction() as session:
                follow_uploads(settings, session)
        except CatalogUnusable:
            catalog.close()
            raise
        except (DatabaseError, InterfaceError, CommandError) as err:
            catalog.close()
            raise CatalogUnusable(
                f"The catalog cannot be opened: {getattr(err, 'orig', None) or err}.",
                "Check HTAV_DATABASE_URL and the data folder, or restore catalog.db from a backup. "
                "A catalog written by a newer version needs that version.",
            ) from err
        return catalog

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for reading. Raises CatalogUnusable when the database does not answer."""
        with _told(), self._reader() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session for writing: one transaction, all or nothing. Raises InsufficientStorage when the disk is full,
        CatalogUnusable when the database does not answer."""
        with _told(), self._writer() as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def media_root(session: Session, path: str | Path) -> MediaRoot:
    """The root with this path, added if it is new. Raises PathRefused for one longer than the catalog takes."""
    resolved = str(Path(path).resolve())
    if len(stored_name(resolved).encode()) > MAX_NAME_BYTES:
        raise PathRefused(f"A media root's path may have {MAX_NAME_BYTES} bytes at most.", "Name a folder above it.")
    return found_or_added(session, select(MediaRoot).where(MediaRoot.path == resolved), MediaRoot(path=resolved))


def found_or_added(session: Session, query: Select[Any], new: Row) -> Row:
    """The row that the query finds, else the new one: added, or found after all where another added it meanwhile."""
    found: Row | None = session.scalar(query)
    if found is None:
        try:
            with session.begin_nested():
                session.add(new)
            return new
        except IntegrityError:
            found = session.scalar(query)
            if found is None:
                raise
    return found


def ensure_data_dir(data_dir: Path) -> None:
    """Make the data folder, or say why it cannot serve."""
    hint = "Choose another folder with HTAV_DATA_DIR or give this user write permission."
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataFolderUnusable(f"The data folder {data_dir} cannot be made: {err.strerror}.", hint) from err
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise DataFolderUnusable(f"The data folder {data_dir} is not writable.", hint)


def make_engine(url: URL) -> Engine:
    """An engine with the transaction behaviour that the module docstring promises."""
    if url.get_backend_name() != "sqlite":
        patience = {name: value for name, value in PATIENCE.items() if name not in url.query}
        return create_engine(url, pool_pre_ping=True, connect_args=patience)
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _engine_of(settings: IndexSettings) -> Engine:
    """The engine of these settings. Raises CatalogUnusable when their URL says nothing or its driver is not there."""
    try:
        return make_engine(settings.sqlalchemy_url)
    except ImportError as err:
        reason = str(err).partition("\n")[0]
        raise CatalogUnusable(
            f"The driver for the database of HTAV_DATABASE_URL cannot be loaded: {reason}.",
            "PostgreSQL needs psycopg: `pip install 'htav[postgres]'`, and a URL that begins with postgresql://.",
        ) from err
    except (ArgumentError, ValueError):
        raise CatalogUnusable(
            "HTAV_DATABASE_URL names no database that HTAV can use.",
            "Write postgresql://USER:PASSWORD@HOST/DATABASE (in the password %40 for @ and %2F for /), or unset it: "
            "the catalog is then a file in the data folder.",
        ) from None  # what could not be read may hold the password


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate to `revision` with the scripts that are installed with this package."""
    with engine.execution_options(**{_WRITE: True}).begin() as connection:
        command.upgrade(alembic_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    with engine.execution_options(**{_WRITE: True}).begin() as connection:
        command.downgrade(alembic_config(connection), revision)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration without a file, so that an installed wheel migrates as a checkout does."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _migration_lock(engine: Engine, data_dir: Path) -> Iterator[None]:
    """Let one process migrate while the others wait."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            yield
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        return
    with (data_dir / "catalog.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _told() -> Iterator[None]:
    """What befalls the database itself, as errors that every caller knows; its refusals of what we ask are our own."""
    try:
        yield
    except OURS:
        raise
    except (DatabaseError, InterfaceError) as err:
        if _is(err, sqlite3.SQLITE_FULL, "53100"):
            raise InsufficientStorage(f"The catalog cannot grow: {err.orig}.", HINT) from err
        reason = str(err.orig).partition("\n")[0]
        if _is(err, sqlite3.SQLITE_CORRUPT, "XX001", "XX002") or _is(err, sqlite3.SQLITE_NOTADB):
            hint = "Restore it with the data folder from a backup; see Backup in docs/operations.md."
            raise CatalogUnusable(f"The catalog is damaged: {reason}.", hint) from err
        hint = "Try again in a moment; if it lasts, check that HTAV_DATABASE_URL's database runs and can be written."
        raise CatalogUnusable(f"The catalog does not answer: {reason}.", hint) from err
    except PoolTimeout as err:
        raise CatalogUnusable("All connections to the catalog are in use.", "Try again in a moment.") from err


def _is(err: DBAPIError, sqlite_code: int, *postgres_states: str) -> bool:
    """Whether this is what either database says."""
    if isinstance(err.orig, sqlite3.Error):
        return getattr(err.orig, "sqlite_errorcode", 0) & 0xFF == sqlite_code
    return getattr(err.orig, "sqlstate", None) in postgres_states


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")
