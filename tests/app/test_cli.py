"""The command line: one document on stdout, errors in two lines on stderr, exit statuses that mean something."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app import about, cli
from app.command_search import search_document
from app.schemas import SearchResponse
from app.serve import check_data_dir
from indexer.catalog import Catalog
from indexer.errors import DataFolderUnusable
from tests.app.conftest import Library

Htav = Callable[..., "Ended"]


class Ended:
    """How a command ended, run in this process."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def htav(library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Htav:
    """Run `htav ...` here, on the shared index unless the environment says otherwise."""
    assert library.settings.model is not None
    monkeypatch.setenv("HTAV_DATA_DIR", str(library.settings.data_dir))
    monkeypatch.setenv("HTAV_MODEL", library.settings.model)
    monkeypatch.setenv("HTAV_MIN_FREE_BYTES", "0")
    monkeypatch.setenv("COLUMNS", "200")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def run(*arguments: str, **environment: str) -> Ended:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            cli.main(list(arguments))
            status: object = 0
        except SystemExit as ended:
            status = ended.code or 0
        captured = capsys.readouterr()
        root.handlers[:] = before  # `serve` sends the process's logs to this test's stderr
        root.setLevel(level)
        assert isinstance(status, int)
        return Ended(status, captured.out, captured.err)

    return run


def refused(ended: Ended, status: int, *words: str) -> None:
    """An error of two lines on stderr, nothing on stdout, no traceback."""
    assert (ended.status, ended.out) == (status, ""), (ended.status, ended.out, ended.err)
    first, hint = ended.err.strip().splitlines()[:2]
    assert first.startswith("error: ") and hint
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err


def test_version_names_both_licences(htav: Htav) -> None:
    ended = htav("--version")
    assert ended.status == 0
    assert about.version() in ended.out
    assert "Apache-2.0" in ended.out and "LICENSE-WEIGHTS" in ended.out


def test_the_commands_of_all_rooms_are_there(htav: Htav) -> None:
    helped = htav("--help").out
    for command in ("serve", "search", "key", "index", "worker", "videos", "failed", "retry", "verify", "gc", "reindex",
                    "synth", "train", "evaluate"):  # fmt: skip
        assert command in helped, command


def test_search_prints_the_document_of_the_api_with_absolute_paths(htav: Htav, library: Library) -> None:
    ended = htav("search", "a red ball", "-k", "3", "--json")
    assert ended.status == 0
    body = json.loads(ended.out)
    SearchResponse.model_validate({**body, "results": [{**result} for result in body["results"]]})
    assert len(body["results"]) == 3
    for result in body["results"]:
        assert result["path"] == str(library.media / result["uri"])


def test_search_for_people(htav: Htav, library: Library) -> None:
    ended = htav("search", "a red ball")
    assert ended.status == 0
    assert str(library.media / "home" / "red.mp4") in ended.out
    assert " 1. " in ended.out and "0:00:0" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", ""], ["query"]),
        (["search", "   "], ["empty"]),
        (["search", "d" * 1001], ["1000"]),
        (["search", "dog", "-k", "0"], ["limit"]),
        (["search", "dog", "-k", "101"], ["limit", "100"]),
        (["search", "???"], ["No word", "English"]),
        (["key", "add", "me", "--scope", "everything"], ["scope", "search"]),
        (["key", "revoke", "nobody"], ["nobody"]),
    ],
)
def test_wrong_use(htav: Htav, arguments: list[str], words: list[str]) -> None:
    refused(htav(*arguments), 2, *words)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["search"], ["search", "dog", "-k", "many"], ["serve", "--prot", "1"]]
)
def test_wrong_syntax(htav: Htav, arguments: list[str]) -> None:
    ended = htav(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err


def test_a_search_before_anything_is_indexed(htav: Htav, tmp_path: Path) -> None:
    refused(htav("search", "dog", HTAV_DATA_DIR=str(tmp_path / "new")), 3, "htav index")
    assert not (tmp_path / "new").exists(), "looking makes nothing"
    (tmp_path / "made").mkdir()
    refused(htav("search", "dog", HTAV_DATA_DIR=str(tmp_path / "made")), 3, "htav index")


@pytest.mark.parametrize("command", [["search", "dog"], ["serve", "--no-worker", "--port", "0"]])
@pytest.mark.parametrize("harm", ["missing", "altered", "no folder"])
def test_a_checkpoint_that_is_not_whole(
    htav: Htav, tmp_path: Path, library: Library, harm: str, command: list[str]
) -> None:
    folder = tmp_path / "checkpoint"
    if harm != "no folder":
        shutil.copytree(str(library.settings.model), folder)
        weights = folder / "model.safetensors"
        if harm == "missing":
            weights.unlink()
        else:
            content = bytearray(weights.read_bytes())
            content[len(content) // 2] ^= 1
            weights.write_bytes(content)
    ended = htav(*command, HTAV_MODEL=str(folder))
    assert ended.status == 3
    assert "error: " in ended.err and "Traceback" not in ended.err
    assert {"missing": "model.safetensors", "altered": "altered", "no folder": "no checkpoint folder"}[
        harm
    ] in ended.err


def test_a_port_in_use(htav: Htav) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(htav("serve", "--port", str(port), "--no-worker"), 2, "already in use", f"--port {port + 1}")


@pytest.mark.parametrize(("option", "value"), [("--port", "99999"), ("--port", "-1"), ("--host", "300.1.1.1")])
def test_an_address_that_cannot_be(htav: Htav, option: str, value: str) -> None:
    ended = htav("serve", option, value, "--no-worker")
    assert ended.status == 2 and "error: " in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("command", [["serve", "--no-worker", "--port", "0"], ["key", "list"]])
def test_a_data_folder_that_cannot_be(htav: Htav, tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    refused(htav(*command, HTAV_DATA_DIR=str(file / "data")), 2, "data folder")


def test_a_data_folder_without_permission(library: Library, tmp_path: Path) -> None:
    """As a user without rights, since root may write everywhere."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    settings = library.settings.model_copy(update={"data_dir": locked})
    me = os.getuid()
    if me == 0:
        os.setresuid(65534, 65534, 0)
    try:
        with pytest.raises(DataFolderUnusable, match="not writable") as serving:
            check_data_dir(settings)
        with pytest.raises(DataFolderUnusable, match="not writable"):
            search_document("dog", 1, settings)
    finally:
        os.setresuid(me, me, me)
    assert serving.value.exit_code == 2 and "HTAV_DATA_DIR" in serving.value.hint


def test_a_setting_that_makes_no_sense(htav: Htav) -> None:
    refused(htav("search", "dog", HTAV_QUEUE_DEPTH="none"), 2, "queue_depth")


def test_keys_from_the_command_line(htav: Htav, tmp_path: Path) -> None:
    folder = {"HTAV_DATA_DIR": str(tmp_path / "data")}
    made = htav("key", "add", "web", "--scope", "search", "--scope", "index", **folder)
    assert made.status == 0 and made.out.startswith("htav_")
    listed = htav("key", "list").out
    assert "web" in listed and "search, index" in listed and made.out.strip() not in listed
    refused(htav("key", "add", "web"), 2, "already")
    assert htav("key", "revoke", "web").status == 0
    assert "web" not in htav("key", "list").out


def test_the_catalog_is_closed_after_a_search(htav: Htav, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    real = Catalog.close
    monkeypatch.setattr(Catalog, "close", lambda self: (closed.append(True), real(self)))
    htav("search", "???")
    assert closed
