"""`htav demo` goes only as far as is needed, and what it tells people to try is what the page offers."""

import json
import os
import re
import socket
from pathlib import Path

import pytest

from app import demo
from app.config import Settings
from app.docs import WEB
from app.serve import PortUnusable
from model.data.synthesis import library
from model.data.synthesis.library import DEMO_QUERIES
from tests.app.conftest import until


def write_library(folder: Path) -> None:
    """A library as far as `is_complete` can tell: files by name, and texts for today's queries."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {query.file: [other.text for other in DEMO_QUERIES if other.file == query.file] for query in DEMO_QUERIES}
    lines = [{"file": file, "texts": texts} for file, texts in files.items()]
    for line in lines:
        (folder / str(line["file"])).write_bytes(b"media")
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_whole_library_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_library(tmp_path)
    monkeypatch.setattr(library, "sample_library", lambda *_, **__: pytest.fail("made a second time"))
    demo.make_library(tmp_path)
    assert demo.is_complete(tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "manifest.jsonl").unlink(),
        lambda folder: (folder / "manifest.jsonl").write_text('{"file": "v0'),
        lambda folder: (folder / DEMO_QUERIES[0].file).unlink(),
        lambda folder: (folder / "manifest.jsonl").write_text('{"file": "v01.mp4", "texts": ["of another version"]}\n'),
    ],
    ids=["stopped before its end", "cut off", "a file is gone", "for other queries"],
)
def test_a_library_that_lacks_something_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm) -> None:  # type: ignore[no-untyped-def]
    write_library(tmp_path)
    harm(tmp_path)
    monkeypatch.setattr(library, "sample_library", lambda folder, progress: (write_library(folder), progress(1)))
    assert not demo.is_complete(tmp_path)
    demo.make_library(tmp_path)
    assert demo.is_complete(tmp_path)


def test_the_page_offers_the_queries_of_the_demo() -> None:
    examples = re.search(r"EXAMPLES = \[(.*?)\]", (WEB / "main.js").read_text(), re.DOTALL)
    assert examples is not None
    assert re.findall(r'"([^"]+)"', examples[1]) == [query.text for query in DEMO_QUERIES]


def test_a_port_in_use_is_told_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortUnusable):
            demo.demo(host="127.0.0.1", port=taken.getsockname()[1], folder=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_a_free_port_is_served_and_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []
    served: list[int] = []
    for step in ("choose_index", "make_library", "index_library"):
        monkeypatch.setattr(demo, step, lambda _: None)
    monkeypatch.setattr(demo, "announce", announced.append)
    monkeypatch.setattr("app.serve.serve", lambda settings: served.append(settings.port))
    demo.demo(host="127.0.0.1", port=0, folder=tmp_path)
    until(lambda: announced == [f"http://localhost:{served[0]}"])
    assert served != [0]


def test_the_users_index_is_not_the_demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    exported = {"HTAV_DATA_DIR": "/mine", "htav_database_url": "postgresql://me@host/mine", "HTAV_MODEL": "mine",
                "HTAV_MEDIA_ROOTS": "/mine", "HTAV_MIN_FREE_BYTES": "7", "HTAV_THREADS": "1"}  # fmt: skip
    os.environ.update(exported)
    demo.choose_index(tmp_path / "data")
    settings = Settings()
    assert (settings.data_dir, settings.database_url, settings.model) == (tmp_path / "data", None, None)
    assert settings.media_roots == []
    assert (settings.min_free_bytes, settings.threads) == (7, 1), "what the machine can give is the demo's as well"


def test_an_index_run_that_cannot_work_stops_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(demo.DemoFailed):
        demo.index_library(tmp_path / "nothing here")


def test_the_demo_indexes_with_this_program_wherever_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("app", "library"):
        (tmp_path / name).mkdir()
    (tmp_path / "app" / "__init__.py").write_text("(open('stranger', 'w'), exit(1))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTAV_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(demo.DemoFailed):  # the folder is empty
        demo.index_library(Path("library"))
    assert (tmp_path / "data" / "catalog.db").exists() and not (tmp_path / "stranger").exists()


def test_nothing_is_announced_for_a_service_that_never_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "READY_S", 0.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        demo.announce(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "ready" not in capsys.readouterr().err.replace("readyz", "")
