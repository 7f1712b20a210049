"""A private PostgreSQL server in a temporary folder, for the tests of the catalog's second database."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from indexer.ulid import new_ulid

SERVER_OPTIONS = (
    "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB"
)


def _as_owner(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


def _run(*command: str | Path) -> None:
    done = subprocess.run(_as_owner([str(part) for part in command]), capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@contextmanager
def server(programs: Path) -> Iterator[Path]:
    """Start a server and give the folder of its socket; user `postgres`, no password."""
    folder = Path(tempfile.mkdtemp(prefix="htav-pg-"))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    try:
        _run(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"{SERVER_OPTIONS} -k {folder}"
        _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "-t", "60", "start")
        try:
            yield folder
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@contextmanager
def database(server_folder: Path) -> Iterator[str]:
    """Give the URL of a new, empty database."""
    base, name = f"postgresql+psycopg://postgres@/{{}}?host={server_folder}", f"t{new_ulid().lower()}"
    admin = create_engine(base.format("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield base.format(name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def until_it_waits(session: Session, other: Future[Any]) -> None:
    """Until another thread waits for what this transaction holds; fail when it ends without."""
    deadline = time.monotonic() + 60
    while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")):
        time.sleep(0.01)  # and leave the processor to whom is waited for
        assert time.monotonic() < deadline, "it neither waits nor ends"
        assert not other.done(), f"it does not wait for this transaction: {other.exception() or other.result()}"
