"""Who uploads, corrects or deletes at the same time as another, on the database that lets two write at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select

from app import uploads
from indexer.catalog import Catalog, MediaRoot, Video, VideoUri, media_root
from indexer.feed import content_hash
from indexer.library import Library as IndexedLibrary
from indexer.library import Ruling, Task
from indexer.scan import Found
from tests.app.conftest import Library, Served, serve
from tests.indexer.postgres import until_it_waits

Meet = Callable[[str], None]


@pytest.fixture
def empty(library: Library, tmp_path: Path, postgres_url: str) -> Iterator[Served]:
    """A fresh installation."""
    settings = library.settings.model_copy(update={"data_dir": tmp_path / "data", "database_url": postgres_url})
    with serve(settings, wait=False) as running:
        running.client.get("/livez")
        yield running


@pytest.fixture
def meet(empty: Served) -> Meet:
    """Have two threads wait for each other where each has found no row and is about to add it to this table."""

    def install(table: str) -> None:
        meeting, there = threading.Barrier(2, timeout=20), set()

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(f"INSERT INTO {table} ") and threading.get_ident() not in there:
                there.add(threading.get_ident())
                meeting.wait()

        event.listen(empty.service.catalog.engine, "before_cursor_execute", before)

    return install


def upload(served: Served, name: str, content: bytes) -> httpx.Response:
    return served.client.post("/v1/videos", files={"file": (name, content)})


def known_files(served: Served) -> set[Path]:
    with served.service.catalog.session() as session:
        assert len(session.scalars(select(MediaRoot)).all()) == 1
        return {uri.file_path for uri in session.scalars(select(VideoUri))}


def kept_files(served: Served) -> set[Path]:
    return {path for path in served.settings.uploads_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("table", ["media_root", "video"])
@pytest.mark.parametrize("contents", [(b"one", b"other"), (b"same", b"same")], ids=["two contents", "one content"])
def test_uploads_of_the_same_instant_are_both_taken(
    empty: Served, meet: Meet, table: str, contents: tuple[bytes, bytes]
) -> None:
    """The first ones of an installation, and later ones."""
    if table == "video":
        assert upload(empty, "first.mp4", b"first").status_code == 202
    meet(table)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(upload, (empty, empty), ("a.mp4", "b.mp4"), contents))
    assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
    assert len({answer.json()["video_id"] for answer in answers}) == len(set(contents))
    assert known_files(empty) == kept_files(empty)


def decided(catalog: Catalog, served: Served, path: Path) -> Ruling:
    """What the worker does with a file once its content is known."""
    with catalog.transaction() as session:
        root_id = media_root(session, path.parent).id
    status = path.stat()
    task = Task(root_id, Found(path.parent, path.name, status.st_size, status.st_mtime_ns), None)
    return IndexedLibrary(served.settings, catalog, "f" * 16).decide(task, content_hash(path))


def test_an_upload_of_what_the_worker_meets_in_this_instant(empty: Served, meet: Meet, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"same")
    meet("video")
    with ThreadPoolExecutor() as pool:
        ruling = pool.submit(decided, empty.service.catalog, empty, path)
        answer = upload(empty, "a.mp4", b"same")
        assert ruling.result() is Ruling.WORK
    assert answer.status_code == 202, answer.text
    with empty.service.catalog.session() as session:
        video = session.scalars(select(Video)).one()
        assert {uri.file_path for uri in video.uris} == {path, *kept_files(empty)}


def test_an_upload_of_what_is_purged_in_this_instant(empty: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The purge comes before, and the upload's copy is kept, or after, and nothing claims a copy that is gone."""
    address = f"/v1/videos/{upload(empty, 'a.mp4', b'same').json()['video_id']}?purge=true"
    purges: list[Future[httpx.Response]] = []
    plain = uploads.keep

    def keep(*given: Any) -> Path:
        kept = plain(*given)
        purges.append(pool.submit(empty.client.delete, address))
        with empty.service.catalog.session() as session:
            until_it_waits(session, purges[0])
        return kept

    monkeypatch.setattr(uploads, "keep", keep)
    with ThreadPoolExecutor() as pool:
        assert upload(empty, "b.mp4", b"same").status_code == 202
    assert purges[0].result().status_code == 204
    assert known_files(empty) == kept_files(empty) == set()


def test_one_tag_given_twice_in_one_instant(empty: Served) -> None:
    video_id = upload(empty, "a.mp4", b"content").json()["video_id"]
    address = f"/v1/videos/{video_id}"
    with ThreadPoolExecutor() as pool:
        with empty.service.catalog.transaction() as session:
            session.get_one(Video, video_id, with_for_update=True).tags = ["dog"]
            session.flush()
            answer = pool.submit(empty.client.patch, address, json={"tags": ["cat", "dog"]})
            until_it_waits(session, answer)
        assert answer.result().status_code == 200, answer.result().text
    assert empty.client.get(address).json()["tags"] == ["cat", "dog"]
