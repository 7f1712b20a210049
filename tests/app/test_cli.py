"""The command line: one document on stdout, errors in two lines on stderr, exit statuses that mean something."""

import contextlib
import json
import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import about, cli
from app.command_search import search_document
from app.config import Settings
from app.schemas import SearchResponse
from app.serve import check_data_dir
from indexer.catalog import Catalog
from indexer.errors import DataFolderUnusable
from tests.app.conftest import Library
from tests.permissions import bound_by_permissions, open_to_all

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
        (["key", "add", " "], ["needs a name"]),
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


def remove(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(path: Path) -> None:
    values = json.loads(path.read_text())
    values["config"]["dtw_gamma"] *= 2
    path.write_text(json.dumps(values))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "command", [["search", "dog"], ["serve", "--no-worker", "--port", "0"], ["evaluate", "--data", ".", "--model"]]
)
@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("config.json", remove, "has no config.json"),
        ("config.json", change, "config.json was altered"),
        ("config.json", truncate, "is not a checkpoint's config"),
        ("model.safetensors", remove, "lacks model.safetensors"),
        ("model.safetensors", flip, "model.safetensors was altered"),
        ("tokenizer.json", remove, "lacks tokenizer.json"),
        ("tokenizer.json", flip, "tokenizer.json was altered"),
        ("", shutil.rmtree, "no checkpoint folder"),
    ],
)
def test_a_checkpoint_that_is_not_whole(
    htav: Htav,
    tmp_path: Path,
    library: Library,
    command: list[str],
    name: str,
    harm: Callable[[Path], None],
    words: str,
) -> None:
    folder = Path(shutil.copytree(str(library.settings.model), tmp_path / "checkpoint"))
    harm(folder / name)
    where = {"HTAV_MODEL": str(folder)}
    ended = htav(*command, str(folder)) if command[-1] == "--model" else htav(*command, **where)
    assert (ended.status, ended.out) == (3, "")
    assert "error: " in ended.err and words in ended.err and "Traceback" not in ended.err
    assert ("local checkpoint folder" if name == "" else "Restore the checkpoint") in ended.err, "what to do"


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
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    open_to_all(locked)
    settings = library.settings.model_copy(update={"data_dir": locked})
    with bound_by_permissions():
        with pytest.raises(DataFolderUnusable, match="not writable") as serving:
            check_data_dir(settings)
        with pytest.raises(DataFolderUnusable, match="not writable"):
            search_document("dog", 1, settings)
    assert serving.value.exit_code == 2 and "HTAV_DATA_DIR" in serving.value.hint


def test_what_the_system_refuses_is_no_traceback(htav: Htav, library: Library, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    sets = ["--data", str(tmp_path), "--sets", str(tmp_path), "--model", str(library.settings.model)]
    refused(htav("figures", str(file / "out"), *sets), 1, str(file / "out"), "Not a directory", "read and write")


def test_a_setting_that_makes_no_sense(htav: Htav) -> None:
    refused(htav("search", "dog", HTAV_QUEUE_DEPTH="none"), 2, "queue_depth")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_plain_text(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """None asks for JSON: that would end in a traceback, for it is read before anything is validated."""
    monkeypatch.setenv(f"HTAV_{name.upper()}", "some words, no JSON")
    with contextlib.suppress(ValidationError):
        Settings()


def test_keys_from_the_command_line(htav: Htav, tmp_path: Path) -> None:
    folder = {"HTAV_DATA_DIR": str(tmp_path / "data")}
    made = htav("key", "add", "web", "--scope", "search", "--scope", "index", **folder)
    assert made.status == 0 and made.out.startswith("htav_")
    listed = htav("key", "list").out
    assert "web" in listed and "search, index" in listed and made.out.strip() not in listed
    refused(htav("key", "add", "web"), 2, "already")
    htav("key", "add", "other")
    htav("key", "add", "bob [/x] [red]")
    assert "bob [/x] [red]" in htav("key", "list").out
    htav("key", "revoke", "bob [/x] [red]")
    revoked = htav("key", "revoke", "web")
    assert (revoked.status, revoked.err) == (0, "")
    assert "web" not in htav("key", "list").out
    assert "refuses every request" in htav("key", "revoke", "other").err


def test_the_catalog_is_closed_after_a_search(htav: Htav, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    real = Catalog.close
    monkeypatch.setattr(Catalog, "close", lambda self: (closed.append(True), real(self)))
    htav("search", "???")
    assert closed
