"""The database server behind the catalog: one that is away, silent, full or not understood is named as such."""

import socket
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, select, text

from indexer.catalog import PATIENCE, Catalog, MediaRoot, Video, media_root
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable
from tests.index_samples import add_videos, ident


def test_an_unreachable_server_is_an_error_not_a_hang(settings: IndexSettings, tmp_path: Path) -> None:
    url = f"postgresql://nobody:secret@/none?host={tmp_path}"
    with pytest.raises(CatalogUnusable) as caught:
        Catalog.open(settings.model_copy(update={"database_url": url}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["secret", "postgresql://u:se/secret@host/base", "postgresql://u@host:secret/base", "sqlite://u:secret@h/b",
            "elsewhere://u:secret@host/base", "postgresql+elsewhere://u:secret@host/base"],
)  # fmt: skip
def test_a_url_that_names_no_database_is_refused_and_not_shown(settings: IndexSettings, url: str) -> None:
    with pytest.raises(CatalogUnusable, match="HTAV_DATABASE_URL") as caught:
        Catalog.open(settings.model_copy(update={"database_url": url}))
    assert caught.value.hint
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_driver_that_is_not_installed_is_asked_for(settings: IndexSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CatalogUnusable, match="psycopg") as caught:
        Catalog.open(settings.model_copy(update={"database_url": "postgresql://u:secret@host/base"}))
    assert "htav[postgres]" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_a_server_that_goes_away_is_named_as_such_and_taken_up_again(
    settings: IndexSettings, postgres_url: str, postgres_server: Path
) -> None:
    catalog = Catalog.open(settings.model_copy(update={"database_url": postgres_url}))
    add_videos(catalog, [1])
    name = make_url(postgres_url).database
    admin = create_engine(
        f"postgresql+psycopg://postgres@/postgres?host={postgres_server}", isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection, closing(catalog):
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        for begin in (catalog.session, catalog.transaction):
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
            with pytest.raises(CatalogUnusable, match="does not answer"), begin() as session:
                session.get(Video, ident(1))
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        with catalog.session() as session:
            assert session.get(Video, ident(1)) is not None
    admin.dispose()


def test_a_server_that_takes_no_writes_is_named_as_such(settings: IndexSettings, postgres_url: str) -> None:
    """A standby, or one whose disk is nearly full."""
    read_only = postgres_url + "&options=-c%20default_transaction_read_only%3Don"
    Catalog.open(settings.model_copy(update={"database_url": postgres_url})).close()
    with closing(Catalog.open(settings.model_copy(update={"database_url": read_only}))) as catalog:
        with pytest.raises(CatalogUnusable, match="read-only") as caught, catalog.transaction() as session:
            media_root(session, "/media")
        assert "can be written" in caught.value.hint
        with catalog.session() as session:
            assert session.scalars(select(MediaRoot)).all() == []


def test_a_server_that_says_nothing_is_not_waited_for_long(
    settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATIENCE, "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://htav@127.0.0.1:{silent.getsockname()[1]}/htav"
        began = time.monotonic()
        with pytest.raises(CatalogUnusable, match="cannot be opened"):
            Catalog.open(settings.model_copy(update={"database_url": url}))
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(("asked", "patience_ms"), [("", "10000"), ("&tcp_user_timeout=3000", "3000")])
def test_an_open_connection_whose_server_vanished_is_given_up_soon(
    settings: IndexSettings, postgres_url: str, asked: str, patience_ms: str
) -> None:
    """Nothing comes back from it: only the system can tell, and would send again for a quarter of an hour."""
    with closing(Catalog.open(settings.model_copy(update={"database_url": postgres_url + asked}))) as catalog:
        with catalog.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            assert driver.info.get_parameters()["tcp_user_timeout"] == patience_ms


def test_when_all_connections_are_in_use_it_is_said(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'one.db'}", pool_size=1, max_overflow=0, pool_timeout=0.1)
    with closing(Catalog(engine)) as catalog, catalog.session() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(CatalogUnusable, match="in use"), catalog.session() as other:
            other.execute(text("SELECT 1"))
