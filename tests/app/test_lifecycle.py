"""Coming up and going down: ready only when warm (T23), in order on SIGTERM (T24), a worker that is kept alive."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.search import Searcher
from app.worker_process import WorkerProcess, environment
from indexer.config import IndexSettings
from indexer.holder import process_start
from tests.app.conftest import Library, problem, serve, until
from tests.media_files import write_media

QUERY = {"query": "a red ball rolls across the grass"}


@contextmanager
def started(settings: Settings, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`htav serve` as a user starts it, and its port. Its network is closed: a look outside would fail loudly."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**environment(settings), "HF_HUB_OFFLINE": "1", "HTAV_SNAPSHOT_POLL_S": "0.1", "HTAV_DEADLINE_S": "60"}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *options]
    # Logs go to a file: a pipe that nobody reads would fill up and stop the service.
    with (settings.data_dir / "service.log").open("w") as log:
        # A group of its own, so that a test can press Ctrl-C.
        process = subprocess.Popen(command, env=variables, stderr=log, start_new_session=True)
        try:
            yield process, port
        finally:
            process.kill()
            process.wait()


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def processor_s(pid: int) -> float:
    """The time that a process has had of the processors: a busy machine does not count."""
    return time.clock_gettime(~pid << 3 | 2)  # Linux's number for that clock, as clock_getcpuclockid(3) makes it


def test_ready_waits_for_a_search_of_its_own(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks first would pay for what is made once: with the tiny model too little to be measured below."""
    begun, gate, search = threading.Event(), threading.Event(), Searcher.serve

    def held(*arguments: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return search(*arguments)

    monkeypatch.setattr(Searcher, "serve", held)
    with serve(library.settings, wait=False) as running:
        try:
            assert begun.wait(60)
            problem(running.client.get("/readyz"), 503, "starting")
        finally:
            gate.set()
        until(lambda: ready(running.client), 60)


def test_ready_means_warm(library: Library) -> None:
    with started(library.settings, "--no-worker") as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            seen = set()
            deadline = time.monotonic() + 200
            while time.monotonic() < deadline:
                try:
                    answer = client.get("/readyz")
                except httpx.TransportError:
                    seen.add("refused")
                else:
                    seen.add(str(answer.json().get("code", "ready")))
                    if answer.status_code == 200:
                        break
                    assert answer.headers["retry-after"]
                    assert client.get("/livez").status_code == 200, "alive while it starts"
                time.sleep(0.02)
            assert "ready" in seen
            took = []
            for _ in range(9):
                began = processor_s(process.pid)
                assert client.post("/v1/search", json=QUERY).status_code == 200
                took.append(processor_s(process.pid) - began)
            assert took[0] <= 2 * statistics.median(took), took  # 1.5, and what others cost it in the caches
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        errors = (library.settings.data_dir / "service.log").read_text()
        lines = [json.loads(line) for line in errors.splitlines()]
        assert any(line["message"] == "ready" for line in lines)
        assert "grass" not in errors


def test_sigterm_under_load_finishes_what_it_has_and_refuses_the_rest(library: Library) -> None:
    answers: list[int | str] = []
    stop = threading.Event()

    def ask(port: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while not stop.is_set():
                try:
                    response = client.post("/v1/search", json=QUERY)
                except httpx.ConnectError:
                    answers.append("closed")
                    return
                except httpx.TransportError as error:
                    answers.append(f"broken off: {error!r}")
                    return
                code = response.json().get("code") if response.status_code != 200 else None
                answers.append(code or response.status_code)
                if code == "draining":
                    assert response.headers["connection"] == "close" and response.headers["retry-after"]
                    return

    with started(library.settings, "--no-worker") as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: ready(client), 200)
        askers = [threading.Thread(target=ask, args=(port,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        until(lambda: answers.count(200) >= 8, 100)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(60)
        took = time.monotonic() - began
        stop.set()
        for asker in askers:
            asker.join(30)
    assert process.returncode == 0
    assert took < 15
    assert set(answers) <= {200, "draining", "queue_full", "closed"}, "nothing that was accepted is broken off"
    assert "draining" in answers


UNFINISHED = b"""POST /v1/search HTTP/1.1\r
Host: localhost\r
Content-Type: application/json\r
Content-Length: 99\r
Expect: 100-continue\r
\r
"""


def test_a_second_signal_ends_it_at_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a request is under way, which the first signal waits for."""
    monkeypatch.setenv("HTAV_DRAIN_S", "600")
    monkeypatch.setenv("HTAV_BODY_TIMEOUT_S", "600")
    with started(library.settings, "--no-worker") as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: ready(client), 200)
        with socket.create_connection(("127.0.0.1", port), 60) as unfinished:
            unfinished.sendall(UNFINISHED)
            assert b" 100 " in unfinished.recv(100), "it has begun to read the request"
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_that_was_taken_is_told(library: Library, tmp_path: Path, host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    settings = library.copy(tmp_path).settings
    log = settings.data_dir / "service.log"
    with started(settings, "--no-worker", "--host", host, "--port", "0"):
        until(lambda: "listening" in log.read_text(), 200)
        said = next(line for line in log.read_text().splitlines() if "listening" in line)
        assert httpx.get(f"{json.loads(said)['url']}/livez", timeout=60).status_code == 200


def test_serve_indexes_what_it_is_asked_to(library: Library, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    write_media(media / "asked.mp4", seconds=1)
    copied = library.copy(tmp_path, media_roots=[media])
    with started(copied.settings) as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: ready(client), 200)
            made = client.post("/v1/index-jobs", json={"paths": ["asked.mp4"]}).json()["job_id"]
            until(lambda: client.get(f"/v1/index-jobs/{made}").json()["state"] == "done", 200)
            until(lambda: client.post("/v1/search", json=QUERY).json()["pool"]["videos"] == 5, 60)
        children = children_of(process.pid)
        assert children
        process.kill()
        process.wait()
        until(lambda: all(process_start(pid) is None for pid in children), 60)


def children_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_ctrl_c_ends_the_worker_and_takes_it_for_no_death(library: Library, tmp_path: Path) -> None:
    """The terminal sends it to the service and to whatever shares its process group."""
    settings = library.copy(tmp_path).settings
    with started(settings) as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: ready(client), 200)
        workers = children_of(process.pid)
        assert workers
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        assert all(process_start(pid) is None for pid in workers)
    said = (settings.data_dir / "service.log").read_text()
    assert "draining" in said and "the worker died" not in said


SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def test_a_worker_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker_process.RESTART_S", (0.05,))
    worker = WorkerProcess(IndexSettings(data_dir=tmp_path), SLEEPER)
    worker.start()
    until(lambda: worker.pid is not None)
    first = worker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: worker.pid not in (None, first))
    second = worker.pid
    worker.stop()
    assert worker.pid is None
    assert second is not None and process_start(second) is None


@pytest.mark.parametrize("refusal", [BlockingIOError(11, "no process left"), subprocess.SubprocessError("preexec_fn")])
def test_a_worker_that_cannot_be_started_is_started_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    start, refusals = subprocess.Popen, [refusal, refusal]

    def refuse(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        if refusals:
            raise refusals.pop()
        return start(*arguments, **options)

    monkeypatch.setattr("app.worker_process.RESTART_S", (0.05,))
    monkeypatch.setattr("app.worker_process.subprocess.Popen", refuse)
    worker = WorkerProcess(IndexSettings(data_dir=tmp_path), SLEEPER)
    worker.start()
    until(lambda: worker.pid is not None)
    worker.stop()
    assert worker.pid is None
    assert caplog.text.count("the worker cannot be started") == 2


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker_process.STOP_S", 0.3)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    worker = WorkerProcess(IndexSettings(data_dir=tmp_path), [sys.executable, "-c", stubborn])
    worker.start()
    until(lambda: worker.pid is not None)
    time.sleep(0.5)
    worker.stop()
    assert worker.pid is None


def test_the_worker_is_ours_wherever_the_service_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("app", "indexer", "model"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    worker = WorkerProcess(IndexSettings(data_dir=Path("data")))
    worker.start()
    try:
        until(lambda: (tmp_path / "data" / "catalog.db").exists(), 60)
    finally:
        worker.stop()


def test_the_worker_gets_the_settings_of_the_service(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, media_roots=[tmp_path / "a", tmp_path / "b"], threads=3, port=9)
    given = environment(settings)
    assert given["HTAV_DATA_DIR"] == str(tmp_path)
    assert given["HTAV_MEDIA_ROOTS"] == f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}"
    assert given["HTAV_THREADS"] == "3"
    assert "HTAV_MODEL" not in given and "HTAV_PORT" not in given
