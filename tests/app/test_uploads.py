"""Uploads: complete or not at all, bounded, under a name that means nothing, indexed like any other file."""

import errno
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.uploads import TEMPORARY, clear_leftovers, safe_name
from indexer import jobs
from indexer.pipeline import run_job
from model.retriever import Retriever
from tests.app.conftest import Library, Served, problem, serve, until
from tests.media_files import unknown_codec, write_media
from tests.permissions import bound_by_permissions, open_to_all

HALF_AN_UPLOAD = (
    b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nabc'
)


@pytest.fixture
def video(tmp_path: Path) -> bytes:
    return write_media(tmp_path / "clip.mp4", seconds=1, size=(96, 64)).read_bytes()


@pytest.fixture(scope="module")
def workshop(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for uploads that are refused: they change nothing, so the tests share it."""
    with serve(library.copy(tmp_path_factory.mktemp("workshop")).settings) as running:
        yield running


@pytest.fixture
def strict(library: Library, tmp_path: Path) -> Iterator[Served]:
    """A service that takes little and waits little."""
    copied = library.copy(tmp_path / "strict", max_upload_bytes=200_000, body_timeout_s=0.5)
    with serve(copied.settings) as running:
        yield running


def leftovers(served: Served) -> list[Path]:
    folder = served.settings.uploads_dir
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def index(served: Served, checkpoint: Path) -> None:
    lease = jobs.claim(served.service.catalog, served.settings)
    assert lease is not None
    run_job(lease, served.settings, served.service.catalog, Retriever.from_pretrained(checkpoint))


def test_an_upload_becomes_a_video(mutable: Served, video: bytes, tiny_checkpoint: Path) -> None:
    client = mutable.client
    sent = client.post(
        "/v1/videos", files={"file": ("../../Sommer 2024.mp4", video)}, data={"title": "Summer\nin the garden"}
    )
    assert sent.status_code == 202, sent.text
    body = sent.json()
    assert sent.headers["location"] == f"/v1/index-jobs/{body['job_id']}"
    waiting = client.get(f"/v1/videos/{body['video_id']}").json()
    assert (waiting["state"], waiting["title"]) == ("queued", "Summer in the garden")
    problem(client.get(f"/v1/videos/{body['video_id']}/stream"), 409, "not_ready")
    index(mutable, tiny_checkpoint)
    assert client.get(sent.headers["location"]).json()["state"] == "done"
    ready = client.get(f"/v1/videos/{body['video_id']}").json()
    assert (ready["state"], ready["title"]) == ("ready", "Summer in the garden")
    assert ready["uri"] == f"{body['video_id']}/Sommer 2024.mp4"
    assert client.get(f"/v1/videos/{body['video_id']}/stream").content == video
    until(lambda: body["video_id"] in client.post("/v1/search", json={"query": "a garden"}).text)


def test_the_same_bytes_twice_are_one_video_and_one_file(mutable: Served, video: bytes, tiny_checkpoint: Path) -> None:
    first = mutable.client.post("/v1/videos", files={"file": ("a.mp4", video)}).json()
    index(mutable, tiny_checkpoint)
    second = mutable.client.post("/v1/videos", files={"file": ("b.mp4", video)}).json()
    index(mutable, tiny_checkpoint)
    assert first["video_id"] == second["video_id"]
    assert len(leftovers(mutable)) == 1
    assert mutable.client.get(f"/v1/index-jobs/{second['job_id']}").json()["counts"]["encoded"] == 0


def test_a_deleted_upload_comes_back_when_it_is_sent_again(
    mutable: Served, video: bytes, tiny_checkpoint: Path
) -> None:
    client = mutable.client
    body = client.post("/v1/videos", files={"file": ("a.mp4", video)}).json()
    index(mutable, tiny_checkpoint)
    address = f"/v1/videos/{body['video_id']}"
    assert client.delete(address).status_code == 204
    assert len(leftovers(mutable)) == 1, "without purge the copy stays"
    client.post("/v1/videos", files={"file": ("a.mp4", video)})
    index(mutable, tiny_checkpoint)
    assert client.get(address).json()["state"] == "ready"
    assert client.delete(address, params={"purge": "true"}).status_code == 204
    assert leftovers(mutable) == []


def test_an_upload_that_is_deleted_before_its_turn_stays_deleted(
    mutable: Served, video: bytes, tiny_checkpoint: Path
) -> None:
    """Also one that had been deleted and was sent again: from then on it is there to be deleted."""
    client = mutable.client
    for _ in range(2):
        body = client.post("/v1/videos", files={"file": ("wrong.mp4", video)}).json()
        address = f"/v1/videos/{body['video_id']}"
        assert client.get(address).json()["state"] == "queued"
        assert client.delete(address).status_code == 204
        index(mutable, tiny_checkpoint)
        assert client.get(f"/v1/index-jobs/{body['job_id']}").json()["state"] == "done"
        problem(client.get(address), 404, "unknown_video")


def test_the_copy_of_a_deleted_upload_can_still_be_purged(mutable: Served, video: bytes) -> None:
    client = mutable.client
    address = f"/v1/videos/{client.post('/v1/videos', files={'file': ('a.mp4', video)}).json()['video_id']}"
    assert client.delete(address).status_code == 204
    problem(client.delete(address), 404, "unknown_video")
    assert len(leftovers(mutable)) == 1
    assert client.delete(address, params={"purge": "true"}).status_code == 204
    assert leftovers(mutable) == []
    problem(client.delete(address, params={"purge": "true"}), 404, "unknown_video")
    problem(client.get(address), 404, "unknown_video")


def test_uploads_move_with_the_data_folder(
    library: Library, tmp_path: Path, video: bytes, tiny_checkpoint: Path
) -> None:
    before = library.copy(tmp_path / "before").settings
    with serve(before) as running:
        address = f"/v1/videos/{running.client.post('/v1/videos', files={'file': ('a.mp4', video)}).json()['video_id']}"
        index(running, tiny_checkpoint)
    moved = before.model_copy(update={"data_dir": before.data_dir.rename(tmp_path / "moved")})
    with serve(moved) as running:
        assert running.client.get(f"{address}/stream").content == video
        assert running.client.get(f"{address}/thumbnail").status_code == 200
        assert running.client.delete(address, params={"purge": "true"}).status_code == 204
        assert leftovers(running) == []


@pytest.mark.parametrize("name", ["notes.txt", "page.html", "video", "clip.mp4.exe", ""])
def test_a_name_that_is_no_media_file_is_refused(workshop: Served, name: str, video: bytes) -> None:
    response = workshop.client.post("/v1/videos", files={"file": (name or "x", video)})
    problem(response, 422, "unsupported_format")
    assert leftovers(workshop) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", b"{}"), ("multipart/form-data", b""), ("multipart/form-data; boundary=x", b""),
     ("multipart/form-data; boundary=x", b"garbage"), ("multipart/form-data; boundary=x", b"--x--\r\n"),
     ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n'),
     ("multipart/form-data; boundary=x",
      b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\ncut off'),
     ("multipart/form-data; boundary=x",
      b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n\r\n--x--\r\n'),
     ("multipart/form-data; boundary=x",
      b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\n' + b"t" * 5000 + b"\r\n--x--\r\n"),
     ("multipart/form-data; boundary=" + "x" * 300, b"--x--\r\n"), ("\xff", b"")],
    ids=range(11),
)  # fmt: skip
def test_a_body_that_is_no_upload_is_refused(workshop: Served, content_type: str, body: bytes) -> None:
    headers = {"Content-Type": content_type.encode("latin-1")}
    response = workshop.client.post("/v1/videos", content=body, headers=headers)  # type: ignore[arg-type]
    assert response.status_code in (400, 422), response.text
    problem(response, response.status_code, response.json()["code"])
    assert leftovers(workshop) == []


def test_two_files_in_one_request_are_refused(workshop: Served, video: bytes) -> None:
    parts = [("file", ("a.mp4", video)), ("file", ("b.mp4", video))]
    problem(workshop.client.post("/v1/videos", files=parts), 422, "invalid_request")
    assert leftovers(workshop) == []


def test_an_upload_above_the_limit_leaves_nothing(strict: Served) -> None:
    try:
        response = strict.client.post("/v1/videos", files={"file": ("a.mp4", b"\0" * 5_000_000)})
    except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
        pass  # refused so early that the rest could not even be sent
    else:
        problem(response, 413, "body_too_large")
    until(lambda: leftovers(strict) == [])


def test_a_sender_that_falls_silent_is_let_go(strict: Served) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as connection:
        connection.sendall(HALF_AN_UPLOAD)
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    until(lambda: leftovers(strict) == [])


def test_a_client_that_leaves_half_way_leaves_nothing_and_is_no_crash(
    workshop: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def left() -> float | None:
        labels = {"method": "POST", "route": "/v1/videos", "status": "499"}
        return workshop.service.metrics.registry.get_sample_value("htav_requests_total", labels)

    before = left() or 0
    with socket.create_connection(("127.0.0.1", workshop.port), timeout=10) as connection:
        connection.sendall(HALF_AN_UPLOAD)
        until(lambda: len(leftovers(workshop)) == 1)
    until(lambda: left() == before + 1)
    assert leftovers(workshop) == []
    assert "crashed" not in caplog.text


def test_what_a_killed_service_had_received_goes_when_the_next_one_starts(library: Library, tmp_path: Path) -> None:
    settings = library.copy(tmp_path / "killed").settings
    (settings.uploads_dir / "kept").mkdir(parents=True)
    kept = settings.uploads_dir / "kept" / "a.mp4"
    kept.write_bytes(b"whole")
    (settings.uploads_dir / f"{TEMPORARY}1").write_bytes(b"half")
    with (settings.uploads_dir / f"{TEMPORARY}2").open("wb") as another_services:
        fcntl.flock(another_services, fcntl.LOCK_EX)
        with serve(settings) as running:
            assert set(leftovers(running)) == {settings.uploads_dir / f"{TEMPORARY}2", kept}


def test_a_service_that_starts_leaves_the_uploads_of_others_alone(workshop: Served) -> None:
    with socket.create_connection(("127.0.0.1", workshop.port), timeout=10) as connection:
        connection.sendall(HALF_AN_UPLOAD)
        until(lambda: len(leftovers(workshop)) == 1)
        clear_leftovers(workshop.settings.uploads_dir)
        assert len(leftovers(workshop)) == 1
    until(lambda: leftovers(workshop) == [])


def test_no_room_is_told_before_a_byte_is_kept(library: Library, tmp_path: Path, video: bytes) -> None:
    with serve(library.copy(tmp_path / "full", min_free_bytes=1 << 60).settings) as full:
        response = full.client.post("/v1/videos", files={"file": ("a.mp4", video)})
        body = problem(response, 507, "insufficient_storage")
        assert "HTAV_MIN_FREE_BYTES" in str(body["hint"])
        assert leftovers(full) == []
        assert full.client.post("/v1/search", json={"query": "a dog"}).status_code == 200, "searching goes on"


def test_an_upload_in_an_unknown_codec_is_told_where_the_client_looks(
    mutable: Served, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    client, odd = mutable.client, unknown_codec(tmp_path / "odd.mp4").read_bytes()
    body = client.post("/v1/videos", files={"file": ("odd.mp4", odd)}).json()
    index(mutable, tiny_checkpoint)
    done = client.get(f"/v1/index-jobs/{body['job_id']}").json()
    assert (done["state"], [failure["code"] for failure in done["failed"]]) == (
        "done_with_failures",
        ["unsupported_codec"],
    )
    video = client.get(f"/v1/videos/{body['video_id']}").json()
    assert (video["state"], video["code"]) == ("failed", "unsupported_codec")
    assert "Convert it" in video["message"]
    assert len(leftovers(mutable)) == 1, "what was sent is not lost"


def test_a_data_folder_that_lost_its_write_permission(library: Library, tmp_path: Path, video: bytes) -> None:
    with serve(library.copy(tmp_path / "kept").settings) as kept:
        open_to_all(kept.settings.data_dir, write=True)
        kept.settings.data_dir.chmod(0o555)
        with bound_by_permissions():
            body = problem(kept.client.post("/v1/videos", files={"file": ("a.mp4", video)}), 507, "storage_error")
        assert "permissions" in str(body["hint"])
        kept.settings.data_dir.chmod(0o755)
        assert kept.client.post("/v1/search", json={"query": "a dog"}).status_code == 200


def test_a_copy_that_cannot_be_reached_is_not_forgotten_by_a_purge(mutable: Served, video: bytes) -> None:
    client = mutable.client
    sent = client.post("/v1/videos", files={"file": ("a.mp4", video)}).json()
    address, folder = f"/v1/videos/{sent['video_id']}", mutable.settings.uploads_dir / sent["video_id"]
    open_to_all(mutable.settings.data_dir, write=True)
    folder.chmod(0)
    with bound_by_permissions():
        problem(client.delete(address, params={"purge": "true"}), 507, "storage_error")
    folder.chmod(0o755)
    assert client.get(address).status_code == 200
    assert client.delete(address, params={"purge": "true"}).status_code == 204
    assert leftovers(mutable) == []


@pytest.mark.parametrize("happening", [OSError(errno.EROFS, "Read-only file system"), KeyboardInterrupt()])
def test_a_copy_that_could_not_be_removed_is_removed_by_the_next_purge(
    mutable: Served, video: bytes, monkeypatch: pytest.MonkeyPatch, happening: BaseException
) -> None:
    """The disk refuses, or the service is stopped at it."""
    client, library = mutable.client, mutable.service.library
    identity = client.post("/v1/videos", files={"file": ("a.mp4", video)}).json()["video_id"]
    address = f"/v1/videos/{identity}"

    def unlink(*_: object, **__: object) -> None:
        raise happening

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", unlink)
        if isinstance(happening, OSError):
            problem(client.delete(address, params={"purge": "true"}), 507, "storage_error")
        else:
            with pytest.raises(KeyboardInterrupt):
                library.delete(mutable.settings, identity, purge=True)
    assert len(leftovers(mutable)) == 1
    assert client.delete(address, params={"purge": "true"}).status_code == 204
    assert leftovers(mutable) == []
    problem(client.delete(address, params={"purge": "true"}), 404, "unknown_video")


@given(st.text(max_size=400))
def test_any_name_becomes_a_harmless_one(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode("utf-8")) <= 160
    assert "/" not in safe and "\\" not in safe and "\0" not in safe and not safe.startswith(".")
    assert safe_name(safe) == safe
