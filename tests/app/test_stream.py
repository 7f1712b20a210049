"""Playing files: Range requests by RFC 9110 (T17), thumbnails, and no way out of the media roots (T13)."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.media import excessive
from indexer.decode import Decoder
from tests.app.conftest import Library, Served, problem, until
from tests.permissions import bound_by_permissions, open_to_all


@pytest.fixture
def address(video_ids: dict[str, str]) -> str:
    return f"/v1/videos/{video_ids['red.mp4']}/stream"


@pytest.fixture
def content(library: Library) -> bytes:
    return (library.media / "home" / "red.mp4").read_bytes()


def get(client: httpx.Client, address: str, ranges: str, **headers: str) -> httpx.Response:
    return client.get(address, headers={"Range": ranges, **headers})


def test_the_whole_file(client: httpx.Client, address: str, content: bytes) -> None:
    response = client.get(address)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-length"] == str(len(content))


def test_head_tells_without_sending(client: httpx.Client, address: str, content: bytes) -> None:
    response = client.head(address)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("ranges", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=100-", 100, None), ("bytes=-50", -50, None),
     ("bytes=0-99999999", 0, None), ("BYTES=5-6", 5, 6)],
)  # fmt: skip
def test_one_range(
    client: httpx.Client, address: str, content: bytes, ranges: str, first: int, last: int | None
) -> None:
    size = len(content)
    start = first if first >= 0 else size + first
    end = size - 1 if last is None else last
    response = get(client, address, ranges)
    assert (response.status_code, response.content) == (206, content[start : end + 1])
    assert response.headers["content-range"] == f"bytes {start}-{end}/{size}"


def test_several_ranges_come_as_parts(client: httpx.Client, address: str, content: bytes) -> None:
    response = get(client, address, "bytes=0-3,10-13")
    assert response.status_code == 206
    assert response.headers["content-type"].startswith("multipart/byteranges")
    assert content[0:4] in response.content and content[10:14] in response.content


@pytest.mark.parametrize("ranges", ["bytes=99999999-", "bytes=99999999-100000000"])
def test_a_range_behind_the_end(client: httpx.Client, address: str, content: bytes, ranges: str) -> None:
    response = get(client, address, ranges)
    problem(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize("ranges", ["bytes=5-2", "bytes", "bytes=a-b", "lines=1-2", "bytes=-", "bytes=1-2-3"])
def test_a_range_that_is_none(client: httpx.Client, address: str, ranges: str) -> None:
    response = get(client, address, ranges)
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        problem(response, 400, "bad_range")


def test_an_inverted_range_is_refused(client: httpx.Client, address: str) -> None:
    problem(get(client, address, "bytes=5-2"), 400, "bad_range")


def test_a_hundred_ranges_pass_and_one_more_does_not(client: httpx.Client, address: str, content: bytes) -> None:
    def ranges(count: int) -> str:
        return "bytes=" + ",".join(f"{3 * n}-{3 * n}" for n in range(count))

    assert len(content) > 303
    assert get(client, address, ranges(100)).status_code == 206
    refused = get(client, address, ranges(101))
    problem(refused, 416, "range_not_satisfiable")
    assert refused.headers["content-range"] == f"bytes */{len(content)}"


def test_an_absurd_number_of_ranges_costs_nothing() -> None:
    """10^5 ranges exceed any server's header limit, so the application is asked directly.

    Time of this thread on a processor: a busy machine does not count.
    """
    header = "bytes=" + ",".join("0-0" for _ in range(100_000))
    began = time.thread_time()
    assert excessive(header)
    assert time.thread_time() - began < 0.01


def test_if_range_decides_whether_the_range_still_means_the_same_file(
    client: httpx.Client, address: str, content: bytes
) -> None:
    etag = client.get(address).headers["etag"]
    assert get(client, address, "bytes=0-3", **{"If-Range": etag}).status_code == 206
    stale = get(client, address, "bytes=0-3", **{"If-Range": '"stale"'})
    assert (stale.status_code, stale.content) == (200, content)


def test_sound_is_played_as_sound(client: httpx.Client, video_ids: dict[str, str]) -> None:
    response = client.get(f"/v1/videos/{video_ids['tone.m4a']}/stream")
    assert response.headers["content-type"].startswith("audio/")


def test_a_thumbnail_shows_the_frame_in_its_shape(client: httpx.Client, video_ids: dict[str, str]) -> None:
    response = client.get(f"/v1/videos/{video_ids['red.mp4']}/thumbnail", params={"t": 1.5})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    picture = Image.open(io.BytesIO(response.content))
    assert picture.size == (160, 120)
    red, green, blue = picture.convert("RGB").getpixel((80, 60))  # type: ignore[misc]
    assert red > 150 and green < 80 and blue < 80


def test_thumbnails_differ_by_second(client: httpx.Client, video_ids: dict[str, str]) -> None:
    def brightness(t: float) -> int:
        answer = client.get(f"/v1/videos/{video_ids['blue.mp4']}/thumbnail", params={"t": t})
        pixel = Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((5, 5))
        return int(pixel[2])  # type: ignore[index]

    assert brightness(28) - brightness(1) > 80
    assert abs(brightness(28.001) - brightness(28)) < 3
    assert brightness(99999) > 180, "behind the end the last frame is shown"


@pytest.mark.parametrize("t", ["-1", "nan", "inf", "x", "1e9"])
def test_a_second_that_cannot_be(client: httpx.Client, video_ids: dict[str, str], t: str) -> None:
    problem(client.get(f"/v1/videos/{video_ids['red.mp4']}/thumbnail?t={t}"), 422, "invalid_request")


def test_sound_has_no_thumbnail(client: httpx.Client, video_ids: dict[str, str]) -> None:
    problem(client.get(f"/v1/videos/{video_ids['tone.m4a']}/thumbnail"), 404, "no_picture")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGSEGV, "decoder_crashed"), (signal.SIGSTOP, "timeout")])
def test_a_decoder_that_crashes_or_hangs_costs_one_thumbnail(
    mutable: Served, video_ids: dict[str, str], number: signal.Signals, code: str
) -> None:
    def picture(t: float) -> httpx.Response:
        return mutable.client.get(f"/v1/videos/{video_ids['blue.mp4']}/thumbnail", params={"t": t})

    assert picture(1).status_code == 200
    decoder = mutable.service.thumbnails._idle[-1]
    assert decoder._child is not None, "it is kept for the next picture"
    os.kill(decoder._child.pid, number)
    decoder._cpu_s, usual = 0.2, decoder._cpu_s
    problem(picture(2), 422, code)
    decoder._cpu_s = usual
    assert picture(3).status_code == 200
    problem(picture(2), 422, code)  # not tried again at every view


class HeldDecoding:
    """Decoding that takes until `gate` opens; `seconds` tells what was decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.seconds: list[float] = []
        monkeypatch.setattr(Decoder, "picture", self.picture)

    def picture(self, path: Path, time_s: float, size: int) -> NDArray[np.uint8]:  # noqa: ARG002
        self.seconds.append(time_s)
        assert self.gate.wait(20)
        return np.zeros((size, size, 3), np.uint8)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, mutable: Served) -> Iterator[HeldDecoding]:  # noqa: ARG001
    """In force until the service has ended."""
    decoding = HeldDecoding(monkeypatch)
    yield decoding
    decoding.gate.set()


def test_thumbnails_that_wait_stop_no_search(
    mutable: Served, held: HeldDecoding, video_ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than the service has threads; and none waits for ever."""
    monkeypatch.setattr("app.thumbnails.PATIENCE_S", 6.0)
    address = f"{mutable.client.base_url}/v1/videos/{video_ids['blue.mp4']}/thumbnail?t="
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(httpx.get, f"{address}{number / 4}", timeout=20) for number in range(60)]
        until(lambda: len(held.seconds) == 2)
        for _ in range(10):
            answer = mutable.client.post("/v1/search", json={"query": "a red ball"}, timeout=5)
            assert answer.status_code == 200
        for waited in asked:
            problem(waited.result(), 503, "unavailable")
    assert len(held.seconds) == 2, "what nobody waits for is not decoded"


def test_who_waited_gets_the_picture_that_was_made_meanwhile(
    mutable: Served, held: HeldDecoding, video_ids: dict[str, str]
) -> None:
    address = f"{mutable.client.base_url}/v1/videos/{video_ids['red.mp4']}/thumbnail"
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(httpx.get, address, timeout=20) for _ in range(12)]
        until(lambda: mutable.service.thumbnails._threads._work_queue.qsize() == 10)
        held.gate.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert len(held.seconds) == 2, "the two that were begun together"


def test_a_file_that_is_gone_or_replaced_by_a_link_out_is_not_served(
    mutable: Served, library: Library, tmp_path: Path, video_ids: dict[str, str]
) -> None:
    green, secret = library.media / "green.mp4", tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    aside = tmp_path / "green.mp4"
    address = f"/v1/videos/{video_ids['green.mp4']}/stream"
    os.rename(green, aside)
    try:
        problem(mutable.client.get(address), 404, "file_gone")
        green.symlink_to(secret)
        problem(mutable.client.get(address), 404, "file_gone")
        green.unlink()
        green.symlink_to(green)
        problem(mutable.client.get(address), 404, "file_gone")
        green.unlink()
        os.mkfifo(green)
        problem(mutable.client.get(address), 404, "file_gone")
    finally:
        green.unlink(missing_ok=True)
        os.rename(aside, green)
    assert mutable.client.get(address).status_code == 200


@pytest.mark.parametrize(("name", "closed"), [("green.mp4", "green.mp4"), ("red.mp4", "home")])
def test_a_file_that_cannot_be_read_any_more_is_told_before_an_answer_begins(
    mutable: Served, library: Library, video_ids: dict[str, str], name: str, closed: str
) -> None:
    open_to_all(mutable.settings.data_dir, write=True)
    open_to_all(library.media)
    address, client = f"/v1/videos/{video_ids[name]}", mutable.client
    mode = (library.media / closed).stat().st_mode
    (library.media / closed).chmod(0)
    try:
        with bound_by_permissions():
            problem(client.get(f"{address}/stream"), 404, "file_gone")
            problem(client.get(f"{address}/thumbnail"), 404, "file_gone")
            assert client.head(f"{address}/stream").status_code == 404
    finally:
        (library.media / closed).chmod(mode)
    assert client.get(f"{address}/stream").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/videos/../../etc/passwd", "/web/../main.py", "/web/%2e%2e/main.py", "/docs/static/..%2f..%2fmain.py",
     "/docs/static/../../main.py", "/web/..%5cmain.py"],
)  # fmt: skip
def test_no_address_leads_out_of_what_is_served(served: Served, path: str) -> None:
    request = httpx.Request("GET", f"http://127.0.0.1:{served.port}", extensions={"target": path.encode()})
    with httpx.Client() as client:
        response = client.send(request)
    assert response.status_code in (404, 422)
    assert "root:" not in response.text and "import" not in response.text
