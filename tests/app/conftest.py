"""A real server on a real socket over a real index: small generated media, the tiny checkpoint."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from app.serve import listen
from app.service import Service
from indexer.pipeline import index_paths
from model.retriever import Retriever
from tests.media_files import Picture, tone, write_media


def colour(red: int, green: int, blue: int) -> Picture:
    return np.full((120, 160, 3), (red, green, blue), np.uint8)


@dataclass(frozen=True)
class Library:
    """An indexed folder of media. `settings` names it; `copy` makes one that a test may change."""

    media: Path
    settings: Settings

    def copy(self, folder: Path, **changes: object) -> "Library":
        """The same media, a data folder of its own."""
        data = folder / "data"
        shutil.copytree(self.settings.data_dir, data)
        return Library(self.media, self.settings.model_copy(update={"data_dir": data, **changes}))


@dataclass(frozen=True)
class Served:
    """A running service, how to talk to it, and what is inside."""

    client: httpx.Client
    app: FastAPI
    settings: Settings

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    @property
    def port(self) -> int:
        port = self.client.base_url.port
        assert port is not None
        return port


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Library:
    """Four files: with sound, silent, four clips long, and sound alone. One lies in a folder of its own."""
    media, data = tmp_path_factory.mktemp("media"), tmp_path_factory.mktemp("data")
    (media / "home").mkdir()
    write_media(media / "home" / "red.mp4", seconds=4, picture=lambda _: colour(200, 20, 20), sound=tone(4, 44_100))
    write_media(media / "green.mp4", seconds=3, picture=lambda _: colour(20, 200, 20))
    write_media(
        media / "blue.mp4",
        seconds=30,
        fps=5,
        picture=lambda at: colour(20, 20, int(60 + 5 * at)),
        sound=tone(30, 44_100),
    )
    write_media(media / "tone.m4a", codec=None, sound=tone(2, 44_100))
    settings = Settings(
        data_dir=data, model=str(tiny_checkpoint), min_free_bytes=0, threads=1, media_roots=[media], snapshot_poll_s=0.1
    )
    report = index_paths([media], settings, Retriever.from_pretrained(tiny_checkpoint))
    assert report.counts.failed == 0, report.to_json()
    return Library(media, settings)


@contextmanager
def serve(settings: Settings, wait: bool = True) -> Iterator[Served]:
    """A uvicorn server in a thread, on a port of its own; ready, unless `wait` is false."""
    app = create_app(settings)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                if wait:
                    until(lambda: client.get("/readyz").status_code == 200)
                yield Served(client, app, settings)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to become true; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def served(library: Library) -> Iterator[Served]:
    """A service that tests only read from."""
    with serve(library.settings) as running:
        yield running


@pytest.fixture
def client(served: Served) -> httpx.Client:
    return served.client


@pytest.fixture
def mutable(library: Library, tmp_path: Path) -> Iterator[Served]:
    """A service over a copy that this test may change."""
    with serve(library.copy(tmp_path).settings) as running:
        yield running


@pytest.fixture
def empty(library: Library, tmp_path: Path) -> Iterator[Served]:
    """A service with nothing indexed."""
    with serve(library.settings.model_copy(update={"data_dir": tmp_path / "data"})) as running:
        yield running


@pytest.fixture(scope="session")
def video_ids(served: Served) -> dict[str, str]:
    """Ids by file name."""
    videos = served.client.get("/v1/videos").json()["videos"]
    return {Path(video["uri"]).name: video["id"] for video in videos}


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    """Assert that an answer is this problem document, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:htav:problem:{code}"
    assert body["title"] and body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body
