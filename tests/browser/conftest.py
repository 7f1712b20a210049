"""A real service over a small real index, started as a user starts it, and a browser that may reach nothing else."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.media_files import Picture, tone, write_media
from tests.needs import chromium

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PATIENCE_MS, PATIENCE_S = 30_000, 240  # met only by a machine that is busy with other things


def colour(red: int, green: int, blue: int) -> Picture:
    return np.full((120, 160, 3), (red, green, blue), np.uint8)


@contextmanager
def htav(folder: Path, checkpoint: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command line as a user runs it, with its index in `folder`; and the file that it writes to."""
    environment = {
        **os.environ,
        "HTAV_DATA_DIR": str(folder),
        "HTAV_MODEL": str(checkpoint),
        "HTAV_MIN_FREE_BYTES": "0",
    }
    command = [sys.executable, "-m", "app.cli", *arguments]
    said = folder.with_suffix(f".{arguments[0]}.log")
    with said.open("w") as output:  # a pipe that nobody reads would stop the service when it is full
        process = subprocess.Popen(command, env=environment, text=True, stdout=output, stderr=output)
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: Path, checkpoint: Path) -> Iterator[str]:
    """A service on a port of its own; its address once it is ready."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    with htav(folder, checkpoint, "serve", "--port", str(port)) as (server, said):
        deadline = time.monotonic() + PATIENCE_S
        while not answers(f"{address}/readyz"):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the service did not become ready:\n{said.read_text()}")
            time.sleep(0.1)
        yield address
        server.terminate()
        assert server.wait(PATIENCE_S) == 0, said.read_text()


def answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except (URLError, TimeoutError, ConnectionError):
        return False
    return True


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """Three videos, one with sound, one silent, one of two clips, in the format that most files have: H.264 and AAC."""
    media, data = tmp_path_factory.mktemp("media"), tmp_path_factory.mktemp("data")
    write_media(media / "red.mp4", seconds=4, picture=lambda _: colour(200, 20, 20), sound=tone(4, 44_100))
    write_media(media / "green.mp4", seconds=3, picture=lambda _: colour(20, 200, 20))
    write_media(
        media / "blue.mp4", seconds=14, picture=lambda at: colour(20, 20, int(60 + 10 * at)), sound=tone(14, 44_100)
    )
    with htav(data, tiny_checkpoint, "index", str(media)) as (run, said):
        assert run.wait(PATIENCE_S) == 0, said.read_text()
    return data


@pytest.fixture(scope="session")
def address(index: Path, tiny_checkpoint: Path) -> Iterator[str]:
    yield from serve(index, tiny_checkpoint)


@pytest.fixture(scope="session")
def empty_address(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[str]:
    """A service that has nothing indexed."""
    yield from serve(tmp_path_factory.mktemp("empty"), tiny_checkpoint)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose requests stay on this machine; errors of its scripts and requests elsewhere fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    opened, wrong = context.new_page(), []

    def only_here(route: Route) -> None:
        if route.request.url.startswith("http://127.0.0.1:"):
            route.continue_()
        else:
            wrong.append(route.request.url)
            route.abort()

    context.route("**/*", only_here)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert wrong == []


def ask(page: Page, address: str, query: str = "a red room") -> None:
    page.goto(address)
    page.get_by_role("searchbox").fill(query)
    page.keyboard.press("Enter")
    expect(page.locator(".card h3")).to_have_count(3)


def ask_for_one(page: Page, address: str) -> None:
    """A page of one result, so that there is more to show."""
    page.goto(address)
    page.locator("select[name=limit]").evaluate("limit => limit.prepend(new Option('1', '1', true, true))")
    page.get_by_role("searchbox").fill("a red room")
    page.keyboard.press("Enter")
    expect(page.locator(".card h3")).to_have_count(1)
