"""The commands: one JSON document on stdout, the promised exit status, and errors that say what to do."""

import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from indexer import jobs
from indexer import watch as watching
from indexer.catalog import Catalog
from indexer.cli import commands
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable, NothingIndexed
from indexer.progress import IndexReport
from indexer.tables import file_path
from model import Retriever
from model.errors import HtavError
from tests.index_samples import fill
from tests.indexer.library_files import Bench, cut, overwrite_table, seen, seen_and_heard, small_library, spoil_sound
from tests.media_files import tone, unknown_codec
from tests.permissions import bound_by_permissions, open_to_all


@pytest.fixture(autouse=True)
def environment(settings: IndexSettings, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HTAV_MODEL", str(tiny_checkpoint))
    monkeypatch.setenv("HTAV_MIN_FREE_BYTES", "0")


def run(*arguments: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, HtavError)):
        raise result.exception
    code = result.exception.exit_code if isinstance(result.exception, HtavError) else result.exit_code
    assert code == status, result.output
    return result


def document(*arguments: str | Path, status: int = 0) -> Any:
    """The whole of stdout must be one JSON document."""
    return json.loads(run(*arguments, "--json", status=status).stdout)


def refusal(*arguments: str | Path) -> HtavError:
    error = run(*arguments, status=2).exception
    assert isinstance(error, HtavError) and error.hint
    return error


def test_a_day_with_the_commands(tmp_path: Path) -> None:
    library = small_library(tmp_path / "library")
    (library / "bad.mp4").write_bytes(b"no media" * 100)
    report = document("index", library, status=1)
    assert report["counts"] == {
        "found": 4, "encoded": 3, "unchanged": 0, "duplicate": 0, "partial": 0, "failed": 1, "missing": 0,
    }  # fmt: skip
    rows = document("videos")["videos"]
    assert [list(row) for row in rows] == [
        ["id", "uri", "uris", "title", "state", "duration_s", "has_audio", "clips", "tags"]
    ] * len(rows)
    by_name = {Path(row["uri"]).name: row for row in rows}
    assert by_name["long.mp4"]["clips"] == 3 and by_name["long.mp4"]["uris"] == [str(library / "long.mp4")]
    assert by_name["both.mp4"]["has_audio"] and by_name["both.mp4"]["state"] == "ready"
    assert [row["code"] for row in document("failed")["failed"]] == ["damaged"]
    assert document("verify")["ok"]
    assert "bytes_freed" in document("gc")
    assert document("gc", "--old-models")["clips_dropped"] == 0

    shutil.copy(library / "both.mp4", library / "bad.mp4")
    again = document("retry")
    assert again["counts"]["duplicate"] == 1 and again["failed"] == []
    assert document("failed") == {"failed": []}
    assert document("retry")["counts"]["found"] == 0
    assert document("reindex")["counts"]["unchanged"] == 3
    assert document("videos", "--state", "missing") == {"videos": []}


def test_pictures_in_an_unknown_codec(tmp_path: Path) -> None:
    """Alone they fail the file; beside sound that can be heard they leave it partial, and it is said."""
    library = tmp_path / "library"
    library.mkdir()
    seen(library / "good.mp4")
    unknown_codec(library / "silent.mp4")
    unknown_codec(library / "heard.mp4", sound=tone(1.0, 16_000), sound_rate=16_000)
    report = document("index", library, status=1)
    assert {name: count for name, count in report["counts"].items() if count} == {
        "found": 3, "encoded": 1, "partial": 1, "failed": 1,
    }  # fmt: skip
    (failure,) = report["failed"]
    assert (failure["uri"], failure["code"]) == (str(library / "silent.mp4"), "unsupported_codec")
    assert "silent.mp4" in failure["message"] and "Convert it" in failure["message"]
    assert document("failed")["failed"] == [failure]
    states = {Path(row["uri"]).name: (row["state"], row["has_audio"]) for row in document("videos")["videos"]}
    assert states == {"good.mp4": ("ready", False), "heard.mp4": ("partial", True), "silent.mp4": ("failed", False)}
    again = document("index", library, status=1)
    assert (again["counts"]["unchanged"], again["counts"]["encoded"], again["failed"]) == (2, 0, [failure])


def test_bad_files_whose_names_are_no_text_stop_nothing_and_are_listed(tmp_path: Path) -> None:
    """What is said of a file names it: failed, cut, and without the sound that it has."""
    library = tmp_path / "library"
    library.mkdir()
    seen(library / "good.mp4")
    bad = library / os.fsdecode(b"caf\xe9.mp4")
    bad.write_bytes(b"no media" * 100)
    cut(seen_and_heard(library / "cut.mkv", seconds=14.0), 0.7).rename(library / os.fsdecode(b"fian\xe7ailles.mkv"))
    spoil_sound(seen_and_heard(library / "mute.mkv")).rename(library / os.fsdecode(b"mus\xe9e.mkv"))
    report = document("index", library, status=1)
    assert {name: count for name, count in report["counts"].items() if count} == {
        "found": 4, "encoded": 1, "partial": 2, "failed": 1,
    }  # fmt: skip
    (failure,) = report["failed"]
    assert document("failed")["failed"] == [failure] and failure["code"] == "damaged"
    json.dumps(failure, ensure_ascii=False).encode()  # no half of a character, which strict readers refuse
    assert file_path(failure["uri"]) == bad and "damaged" in run("failed").stdout
    assert sorted(row["state"] for row in document("videos")["videos"]) == ["failed", "partial", "partial", "ready"]
    assert document("retry", status=1)["failed"] == [failure]


def test_a_file_that_may_not_be_read_is_listed_and_indexed_once_it_may(
    tmp_path: Path, settings: IndexSettings, tiny_checkpoint: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    seen(library / "open.mp4")
    document("index", library)
    shut = seen(library / "shut.mp4", shade=9)
    shut.chmod(0)
    open_to_all(library, tiny_checkpoint)
    open_to_all(settings.data_dir, write=True)
    with bound_by_permissions():
        report = document("index", library, status=1)
        (failure,) = document("failed")["failed"]
    assert {name: count for name, count in report["counts"].items() if count} == {
        "found": 2, "unchanged": 1, "failed": 1,
    }  # fmt: skip
    assert report["failed"] == [failure]
    assert (failure["uri"], failure["code"], failure["attempts"]) == (str(shut), "unreadable", 0)
    assert "permission" in failure["message"]
    shut.chmod(0o644)
    assert document("index", library)["counts"]["encoded"] == 1
    assert document("failed") == {"failed": []}


def test_a_link_that_failed_neither_stops_a_retry_nor_opens_another_folder(tmp_path: Path, bench: Bench) -> None:
    library, private = tmp_path / "library", tmp_path / "private"
    for folder in (library, private):
        folder.mkdir()
    (library / "bad.mp4").write_bytes(b"no media" * 100)
    (library / "out.mp4").symlink_to(seen(private / "secret.mp4", shade=9))
    (library / "nowhere.mp4").symlink_to(tmp_path / "gone" / "nowhere.mp4")
    (library / "round.mp4").symlink_to(library / "round.mp4")
    refused = {"out.mp4": "outside_media_root", "nowhere.mp4": "unreadable", "round.mp4": "unreadable"}

    def codes() -> dict[str, str]:
        return {Path(row["uri"]).name: row["code"] for row in document("failed")["failed"]}

    document("index", library, status=1)
    assert codes() == refused | {"bad.mp4": "damaged"}
    seen(library / "bad.mp4")
    report = document("retry", status=1)
    assert (report["counts"]["found"], report["counts"]["encoded"], report["counts"]["failed"]) == (4, 1, 3)
    assert codes() == refused
    document("retry", status=1)
    assert list(bench.videos()) == ["bad.mp4"]


def test_a_retry_forgets_failed_files_that_are_gone(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    lost = library / "lost.mp4"
    lost.symlink_to(tmp_path / "gone.mp4")
    assert document("index", library, status=1)["counts"]["failed"] == 1
    lost.unlink()
    report = document("retry")
    assert set(report["counts"].values()) == {0} and report["failed"] == []
    assert document("failed") == {"failed": []}


def test_a_path_too_long_stays_listed_until_its_folder_is_looked_through(
    tmp_path: Path, catalog: Catalog, bench: Bench
) -> None:
    """It goes by a shortened name, by which no retry finds it."""
    library, folder = tmp_path / "library", tmp_path / "library" / "below"
    for _ in range(11):
        folder /= "deep" * 60
    folder.mkdir(parents=True)
    deep = seen(library / "short.mp4").rename(folder / f"{'x' * 240}.mp4")
    report = document("index", library, status=1)
    (failure,) = report["failed"]
    assert failure["code"] == "path_too_long"
    document("retry")
    assert document("failed") == {"failed": [failure]}
    again = jobs.retry(catalog, report["job_id"])
    assert document("worker", "--once")["jobs"][0]["job_id"] == again
    assert document("failed") == {"failed": [failure]}
    deep.rename(library / "short.mp4")
    assert document("index", library)["counts"]["encoded"] == 1
    assert document("failed") == {"failed": []} and list(bench.videos()) == ["short.mp4"]


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    folder = tmp_path / "a["
    folder.mkdir()
    (folder / "b].mp4").write_bytes(b"no media" * 100)
    (tmp_path / "film [x264].mp4").write_bytes(b"nor this" * 100)
    told = run("index", tmp_path, status=1).stderr
    assert f"{folder}/b].mp4: b].mp4" in told and "film [x264].mp4: film [x264].mp4" in told
    assert f"{folder}/b].mp4" in run("failed").stdout


def test_for_people_the_commands_speak_plainly(tmp_path: Path) -> None:
    seen(tmp_path / "library.mp4")
    assert "1 encoded" in run("index", tmp_path / "library.mp4").stdout
    assert "ready" in run("videos").stdout
    assert "No file has failed" in run("failed").stdout
    assert "sound" in run("verify").stdout
    assert "freed" in run("gc").stdout


@pytest.mark.parametrize("command", ["index", "worker", "videos", "failed", "retry", "verify", "gc", "reindex"])
def test_every_command_has_help_and_json(command: str) -> None:
    assert "--json" in run(command, "--help").stdout


def test_wrong_use_says_what_is_wrong_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare").mkdir()
    assert refusal("index", tmp_path / "nowhere").code == "path_not_found"
    assert refusal("index", tmp_path / "bare").code == "nothing_to_index"
    assert refusal("videos", "--state", "asleep").code == "invalid_request"
    assert refusal("index", tmp_path, "--watch", "--json").code == "invalid_request"
    assert refusal("worker", "--json").code == "invalid_request"
    run("index", status=2)
    monkeypatch.setenv("HTAV_MODEL", str(tmp_path / "no-checkpoint"))
    seen(tmp_path / "a.mp4")
    error = run("index", tmp_path / "a.mp4", status=3).exception
    assert isinstance(error, HtavError) and "no-checkpoint" in error.message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_checkpoint_indexes_nothing(
    tmp_path: Path, settings: IndexSettings, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    (folder / name).unlink()
    monkeypatch.setenv("HTAV_MODEL", str(folder))
    error = run("index", seen(tmp_path / "a.mp4"), status=3).exception
    assert isinstance(error, HtavError) and error.code == "bad_checkpoint"
    assert name in error.message and "Restore the checkpoint" in error.hint
    assert document("videos") == {"videos": []} and not (settings.data_dir / "segments").exists()


def test_an_unwritable_data_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HTAV_DATA_DIR", str(tmp_path / "file" / "data"))
    assert refusal("videos").code == "data_folder_unusable"


@pytest.mark.parametrize("command", [["index", "."], ["videos"], ["worker", "--once"], ["verify"]])
def test_a_data_folder_without_write_permission_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    open_to_all(locked)
    monkeypatch.setenv("HTAV_DATA_DIR", str(locked))
    with bound_by_permissions():
        error = refusal(*command)
    assert error.code == "data_folder_unusable"
    assert str(locked) in error.message and "HTAV_DATA_DIR" in error.hint
    assert list(locked.iterdir()) == []


def test_reindexing_nothing_is_an_index_that_cannot_be_used() -> None:
    error = run("reindex", status=3).exception
    assert isinstance(error, NothingIndexed)


def test_damage_is_found_queued_and_mended_by_the_worker(tmp_path: Path, settings: IndexSettings) -> None:
    library = small_library(tmp_path / "library")
    document("index", library)
    (segment,) = (settings.data_dir / "segments").glob("*.tok")
    data = bytearray(segment.read_bytes())
    data[200] ^= 0xFF
    segment.write_bytes(data)
    found = document("verify", status=1)
    assert not found["ok"] and all(set(row) == {"kind", "id", "code", "repaired"} for row in found["problems"])
    done = document("worker", "--once")
    assert sum(job["counts"]["encoded"] for job in done["jobs"]) == 1
    assert document("verify")["ok"]
    assert {row["state"] for row in document("videos")["videos"]} == {"ready"}


def test_a_damaged_catalog_is_told(settings: IndexSettings) -> None:
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, [1])
    overwrite_table(settings, "clip")
    error = run("verify", status=3).exception
    assert isinstance(error, CatalogUnusable) and "damaged" in error.message and "backup" in error.hint


def test_watching_waits_until_files_rest(tmp_path: Path, settings: IndexSettings, tiny_checkpoint: Path) -> None:
    """Time is faked: each sleep is a moment at which somebody copies, removes or leaves."""
    folder = tmp_path / "library"
    folder.mkdir()
    bench = Bench(settings, Retriever.from_pretrained(tiny_checkpoint))
    made = seen(tmp_path / "made.mp4").read_bytes()
    reports: list[IndexReport] = []
    moments = iter(
        [
            lambda: (folder / "a.mp4").write_bytes(made[:1000]),
            lambda: (folder / "a.mp4").write_bytes(made[:2000]),
            lambda: (folder / "a.mp4").write_bytes(made),
            lambda: None,
            lambda: None,
            lambda: (folder / "a.mp4").unlink(),
            lambda: None,
        ]
    )

    def sleep(_: float) -> None:
        moment = next(moments, None)
        if moment is None:
            raise KeyboardInterrupt
        moment()

    with pytest.raises(KeyboardInterrupt):
        watching.watch([folder], settings, bench.retriever, bench.heard, sleep=sleep, on_report=reports.append)
    assert [(report.counts.encoded, report.counts.missing, len(report.failed)) for report in reports] == [
        (1, 0, 0),
        (0, 1, 0),
    ]
    assert any("waiting for files" in note for note in bench.heard.notes)
