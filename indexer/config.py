"""Settings of everything that reads or writes an index.

One object, made once at the edge (command line, service, worker) and passed down; nothing below reads the environment.
Each field is read from `HTAV_<FIELD>`. The service's settings extend this class.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url

GIB = 1 << 30
FLOOR_SHARE = 0.05
FLOOR_BYTES = 2 * GIB


class IndexSettings(BaseSettings):
    """Where the index lives and what the indexer may use.

    `media_roots` are the folders whose files may be indexed through the API, separated by `:` in the environment; a
    path given on the command line is added to the catalog's own list of roots.
    `min_free_bytes` is the free space below which nothing is written; None means the larger of 5 % and 2 GB, and 0
    means that only the disk itself refuses.
    """

    model_config = SettingsConfigDict(env_prefix="HTAV_", extra="ignore", frozen=True, env_ignore_empty=True)

    data_dir: Path = Path("data")
    database_url: str | None = Field(default=None, repr=False)
    media_roots: Annotated[list[Path], NoDecode] = []
    model: str | None = None

    min_free_bytes: int | None = Field(default=None, ge=0)
    max_duration_s: float = Field(default=24 * 3600.0, gt=0)
    threads: int = Field(default=2, ge=1)
    # larger batches fall out of the processor's cache: slower, and gigabytes more
    batch_clips: int = Field(default=2, ge=1)

    max_attempts: int = Field(default=3, ge=1)
    lease_s: float = Field(default=60.0, gt=0)
    missing_days: float = Field(default=30.0, ge=0)
    keep_snapshots: int = Field(default=2, ge=1)

    @field_validator("media_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return [Path(part) for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @property
    def sqlalchemy_url(self) -> URL:
        """The catalog's URL: SQLite inside the data folder unless one is given; PostgreSQL always through psycopg 3."""
        if self.database_url is None:  # not by way of text, in which a folder's ? or % would mean something
            return URL.create("sqlite", database=str(self.data_dir.absolute() / "catalog.db"))
        url = make_url(self.database_url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        return url

    @property
    def uploads_dir(self) -> Path:
        """The media root of files sent through the API."""
        return self.data_dir / "uploads"

    def floor_bytes(self, total_bytes: int) -> int:
        """Free space to keep on a disk of `total_bytes`."""
        if self.min_free_bytes is not None:
            return self.min_free_bytes
        return max(int(FLOOR_SHARE * total_bytes), FLOOR_BYTES)
