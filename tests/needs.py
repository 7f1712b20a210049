"""What only the system can give: absent, a test is skipped with its reason; where HTAV_REQUIRE names it, it fails."""

import os
import shutil
from pathlib import Path

import pytest


def need(name: str, present: bool, reason: str) -> None:
    if present:
        return
    if name in os.environ.get("HTAV_REQUIRE", "").split(","):
        pytest.fail(f"HTAV_REQUIRE names {name!r}, but {reason}", pytrace=False)
    pytest.skip(reason)


def chromium() -> str:
    """The path of the system's Chromium."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    need("browser", found is not None, "no Chromium is installed (Debian: apt install chromium)")
    assert found is not None
    return found


def postgres_programs() -> Path:
    """The folder with PostgreSQL's initdb and pg_ctl."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    onpath = shutil.which("initdb")
    found = Path(onpath).parent if onpath else folders[-1] if folders else None
    usable = found is not None and (found / "initdb").exists()
    need("postgres", usable, "no PostgreSQL server is installed (Debian: apt install postgresql)")
    assert found is not None
    return found
