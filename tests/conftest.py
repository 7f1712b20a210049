"""Fixtures that every room's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of the `tiny` preset with random, seeded weights."""
    from model import Retriever

    folder = tmp_path_factory.mktemp("tiny-checkpoint")
    Retriever.from_preset("tiny", seed=7).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The folder of the socket of a server of our own."""
    from tests.indexer.postgres import server
    from tests.needs import postgres_programs

    with server(postgres_programs()) as folder:
        yield folder


@pytest.fixture
def postgres_url(postgres_server: Path) -> Iterator[str]:
    """The URL of a new, empty database."""
    from tests.indexer.postgres import database

    with database(postgres_server) as url:
        yield url
