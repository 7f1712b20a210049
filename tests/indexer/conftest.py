"""A catalog on each kind of database, and a small library with what indexes it."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from model import Retriever
from tests.indexer.library_files import Bench, small_library


@pytest.fixture
def settings(tmp_path: Path) -> IndexSettings:
    """SQLite in a temporary data folder, no floor of free space."""
    return IndexSettings(data_dir=tmp_path / "data", min_free_bytes=0)


@pytest.fixture(params=["sqlite", "postgres"])
def any_settings(request: pytest.FixtureRequest, settings: IndexSettings) -> IndexSettings:
    """The settings of either database."""
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"database_url": request.getfixturevalue("postgres_url")})


@pytest.fixture
def catalog(settings: IndexSettings) -> Iterator[Catalog]:
    with closing(Catalog.open(settings)) as catalog:
        yield catalog


@pytest.fixture
def any_catalog(any_settings: IndexSettings) -> Iterator[Catalog]:
    with closing(Catalog.open(any_settings)) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def retriever(tiny_checkpoint: Path) -> Retriever:
    return Retriever.from_pretrained(tiny_checkpoint)


@pytest.fixture
def bench(settings: IndexSettings, retriever: Retriever) -> Bench:
    return Bench(settings, retriever)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small library, made once; tests work on copies."""
    return small_library(tmp_path_factory.mktemp("made") / "library")


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "library"))
