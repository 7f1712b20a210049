"""The catalog keeps what it is given, on both databases, and says plainly why it cannot be opened."""

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import delete, make_url, select, text
from sqlalchemy.exc import IntegrityError

from indexer.catalog import Catalog, Clip, MediaRoot, Video, VideoState, VideoUri, file_path, media_root, video_id
from indexer.config import GIB, IndexSettings
from indexer.errors import CatalogUnusable, DataFolderUnusable, InsufficientStorage
from tests.index_samples import add_videos, fill, ident, release
from tests.indexer.library_files import overwrite_table


def test_video_id_is_the_same_uuid5_everywhere() -> None:
    assert video_id("ab" * 32) == "efa44174-e05a-5005-9510-c662e42a8063"


def test_tags_uris_and_times_come_back_as_given(any_catalog: Catalog) -> None:
    recorded = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    with any_catalog.transaction() as session:
        root = media_root(session, "/media")
        video = Video(id=ident(1), content_hash="x", tags=["home", "dog"], recorded_at=recorded)
        video.uris.append(VideoUri(root=root, path="a/b.mp4", size=7, mtime_ns=2**62))
        session.add(video)
    with any_catalog.session() as session:
        video = session.get_one(Video, ident(1))
        assert sorted(video.tags) == ["dog", "home"]
        assert video.recorded_at == recorded and video.recorded_at.tzinfo is UTC
        assert video.state is VideoState.QUEUED
        assert (video.uris[0].file_path, video.uris[0].mtime_ns) == (Path("/media/a/b.mp4"), 2**62)
    with any_catalog.transaction() as session:
        session.get_one(Video, ident(1)).tags = ["cat", "home"]
    with any_catalog.session() as session:
        assert sorted(session.get_one(Video, ident(1)).tags) == ["cat", "home"]


def test_a_name_that_is_no_utf8_is_kept_and_found_again(any_catalog: Catalog, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(b"x")
    with any_catalog.transaction() as session:
        video = Video(id=ident(1), content_hash="x", title=name)
        video.uris.append(VideoUri(root=media_root(session, tmp_path), path=name, size=1, mtime_ns=1))
        session.add(video)
    with any_catalog.session() as session:
        video = session.get_one(Video, ident(1))
        assert video.uris[0].file_path.read_bytes() == b"x"
        video.title.encode()  # printable and fit for JSON
        assert session.scalar(select(VideoUri.id).where(VideoUri.path == name)) is not None


def test_a_media_root_is_kept_once(any_catalog: Catalog, tmp_path: Path) -> None:
    with any_catalog.transaction() as session:
        first = media_root(session, tmp_path / "a" / "..").id
    with any_catalog.transaction() as session:
        assert media_root(session, tmp_path).id == first


def test_a_failed_transaction_leaves_nothing(any_catalog: Catalog) -> None:
    add_videos(any_catalog, [1])
    with pytest.raises(IntegrityError), any_catalog.transaction() as session:
        session.add(Video(id=ident(2), content_hash="new"))
        session.flush()
        session.add(Video(id=ident(3), content_hash="new"))
    with any_catalog.session() as session:
        assert session.get(Video, ident(2)) is None


def test_clips_go_with_their_video(any_settings: IndexSettings, any_catalog: Catalog) -> None:
    fill(any_settings, any_catalog, [1, 2])
    with any_catalog.transaction() as session:
        session.delete(session.get_one(Video, ident(1)))
    with any_catalog.session() as session:
        assert set(session.scalars(select(Clip.video_id))) == {ident(2)}


def test_a_clip_id_is_never_used_again(any_settings: IndexSettings, any_catalog: Catalog) -> None:
    fill(any_settings, any_catalog, [1])
    with any_catalog.transaction() as session:
        last = max(session.scalars(select(Clip.id)))
        session.delete(session.get_one(Video, ident(1)))
    fill(any_settings, any_catalog, [2])
    with any_catalog.session() as session:
        assert min(session.scalars(select(Clip.id))) > last


def test_sqlite_survives_power_loss_and_checks_references(catalog: Catalog) -> None:
    with catalog.session() as session:
        values = {
            name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_writers_wait_for_each_other(any_catalog: Catalog) -> None:
    add_videos(any_catalog, [1])

    def count_up() -> None:
        for _ in range(25):
            with any_catalog.transaction() as session:
                video = session.scalars(select(Video).with_for_update()).one()
                video.width += 1

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with any_catalog.session() as session:
        assert session.get_one(Video, ident(1)).width == 100


def test_many_may_open_a_new_catalog_at_once(any_settings: IndexSettings) -> None:
    opened: list[Catalog] = []
    threads = [threading.Thread(target=lambda: opened.append(Catalog.open(any_settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for catalog in opened:
        catalog.close()


@pytest.mark.parametrize("name", ["what?x", "a%20b", "ä#", "mode=ro&uri=true", "c:d"])
def test_the_catalog_lies_in_its_data_folder_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    settings = IndexSettings(data_dir=tmp_path / name, min_free_bytes=0)
    publish_videos(settings, [1])
    assert clips_known(settings) == 3
    assert os.listdir(tmp_path) == [name]
    assert (settings.data_dir / "catalog.db").is_file()


def test_a_damaged_database_is_named_as_such(settings: IndexSettings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "catalog.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(CatalogUnusable, match="not a database") as caught:
        Catalog.open(settings)
    assert caught.value.code == "catalog_unusable" and caught.value.exit_code == 3 and caught.value.hint


def test_damage_that_is_met_later_is_named_as_such_and_asks_for_the_backup(settings: IndexSettings) -> None:
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, [1])
    overwrite_table(settings, "clip")
    with closing(Catalog.open(settings)) as catalog:
        with pytest.raises(CatalogUnusable, match="damaged") as caught, catalog.session() as session:
            session.scalars(select(Clip)).all()
        assert "backup" in caught.value.hint
        with catalog.session() as session:
            assert session.get(Video, ident(1)) is not None


def test_a_newer_catalog_is_refused(settings: IndexSettings) -> None:
    Catalog.open(settings).close()
    with sqlite3.connect(settings.data_dir / "catalog.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(CatalogUnusable, match="9999"):
        Catalog.open(settings)


def apart(settings: IndexSettings, tmp_path: Path) -> IndexSettings:
    """The same settings with a catalog that lies outside the data folder, whichever its kind."""
    url = settings.database_url or f"sqlite:///{tmp_path / 'elsewhere.db'}"
    return settings.model_copy(update={"database_url": url})


def clips_known(settings: IndexSettings) -> int:
    with closing(Catalog.open(settings)) as catalog, catalog.session() as session:
        return len(session.scalars(select(Clip.id)).all())


def publish_videos(settings: IndexSettings, numbers: list[int]) -> None:
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, numbers)
        release(settings, catalog)


def test_a_catalog_is_not_opened_with_the_folder_of_another(any_settings: IndexSettings, tmp_path: Path) -> None:
    """Its clips would all be taken for damaged, and dropped."""
    mine = apart(any_settings, tmp_path)
    publish_videos(mine, [1, 2])
    for other in (tmp_path / "empty", tmp_path / "used"):
        wrong = mine.model_copy(update={"data_dir": other})
        if other.name == "used":
            own = wrong.model_copy(update={"database_url": None})
            publish_videos(own, [3])
        with pytest.raises(CatalogUnusable, match=f"{other} holds nothing") as caught:
            Catalog.open(wrong)
        assert "HTAV_DATA_DIR" in str(caught.value.hint)
    assert clips_known(mine) == 6


def test_a_folder_is_not_opened_with_a_catalog_that_does_not_know_it(
    any_settings: IndexSettings, tmp_path: Path
) -> None:
    """Every segment in it would be taken for a leftover, and removed."""
    mine = apart(any_settings, tmp_path)
    publish_videos(mine, [1, 2])
    with pytest.raises(CatalogUnusable, match="holds nothing"):
        Catalog.open(mine.model_copy(update={"database_url": None}))
    assert clips_known(mine) == 6


def test_a_catalog_that_was_left_in_the_folder_is_not_opened_with_its_successors_index(
    any_settings: IndexSettings, tmp_path: Path
) -> None:
    """Who changed from SQLite to PostgreSQL and once forgets the URL keeps both."""
    before = any_settings.model_copy(update={"database_url": None})
    publish_videos(before, [1])
    for name in ("segments", "snapshots"):
        shutil.rmtree(before.data_dir / name)
    after = apart(any_settings, tmp_path)
    publish_videos(after, [2])
    with pytest.raises(CatalogUnusable, match="holds nothing"):
        Catalog.open(before)
    assert clips_known(after) == 3


def test_a_folder_that_was_moved_restored_or_emptied_of_clips_is_opened(
    any_settings: IndexSettings, tmp_path: Path
) -> None:
    before = apart(any_settings, tmp_path)
    with closing(Catalog.open(before)) as catalog:
        fill(before, catalog, [1])
        backup = shutil.copytree(before.data_dir, tmp_path / "backup")
        fill(before, catalog, [2])
    moved = before.model_copy(update={"data_dir": before.data_dir.rename(tmp_path / "moved")})
    assert clips_known(moved) == 6
    assert clips_known(before.model_copy(update={"data_dir": backup})) == 6, "what it lacks is found by `htav verify`"
    with closing(Catalog.open(moved)) as catalog, catalog.transaction() as session:
        session.execute(delete(Video))
    assert clips_known(before.model_copy(update={"data_dir": tmp_path / "new"})) == 0


def test_the_root_of_uploads_follows_the_data_folder_and_no_other_does(
    any_settings: IndexSettings, tmp_path: Path
) -> None:
    before = apart(any_settings, tmp_path)
    users = tmp_path / "uploads"  # a folder of the user's that has the name, and none of our files
    name = f"{ident(1)}/a.mp4"
    with closing(Catalog.open(before)) as catalog, catalog.transaction() as session:
        for number, (folder, path) in enumerate([(before.uploads_dir, name), (users, "b.mp4")], 1):
            video = Video(id=ident(number), content_hash=str(number))
            video.uris.append(VideoUri(root=media_root(session, folder), path=path, size=1, mtime_ns=1))
            session.add(video)
    (before.uploads_dir / name).parent.mkdir(parents=True)
    (before.uploads_dir / name).write_bytes(b"1")
    moved = before.model_copy(update={"data_dir": before.data_dir.rename(tmp_path / "moved")})
    for _ in range(2):
        with closing(Catalog.open(moved)) as catalog, catalog.session() as session:
            assert set(session.scalars(select(MediaRoot.path))) == {str(moved.uploads_dir), str(users)}
            assert session.get_one(Video, ident(1)).uris[0].file_path == moved.uploads_dir / name


def test_a_catalog_in_its_folder_is_opened_whatever_the_folder_lost(settings: IndexSettings) -> None:
    """Only then can `htav verify` mend it."""
    publish_videos(settings, [1])
    for name in ("segments", "snapshots"):
        shutil.rmtree(settings.data_dir / name)
        assert clips_known(settings) == 3


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderUnusable, match="cannot be made"):
        Catalog.open(IndexSettings(data_dir=tmp_path / "file" / "data"))


def test_a_full_disk_has_its_own_error(catalog: Catalog) -> None:
    add_videos(catalog, [1])
    with pytest.raises(InsufficientStorage), catalog.transaction() as session:
        session.execute(text("PRAGMA max_page_count=1"))  # SQLite says "full" exactly as on a full disk
        for number in range(2, 400):
            session.add(Video(id=ident(number), content_hash=str(number), message="x" * 4000))
    with catalog.session() as session:
        assert session.get(Video, ident(2)) is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTAV_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HTAV_MEDIA_ROOTS", f"/a{os.pathsep}/b")
    monkeypatch.setenv("HTAV_DATABASE_URL", "postgres://user:secret@host/base")
    settings = IndexSettings()
    assert settings.media_roots == [Path("/a"), Path("/b")]
    assert settings.sqlalchemy_url == make_url("postgresql+psycopg://user:secret@host/base")
    assert "secret" not in repr(settings)


def test_the_floor_is_the_larger_of_a_share_and_two_gigabytes() -> None:
    settings = IndexSettings()
    assert settings.floor_bytes(10 * GIB) == 2 * GIB
    assert settings.floor_bytes(100 * GIB) == 5 * GIB
    assert IndexSettings(min_free_bytes=7).floor_bytes(100 * GIB) == 7


def test_stored_paths_join_below_their_root() -> None:
    assert file_path("/media", "a.mp4") == Path("/media/a.mp4")
    assert file_path("/media/a.mp4") == Path("/media/a.mp4")
