"""What a bad file, a full disk or a wrong path costs a run: a code and a message, and nothing else."""

import json
import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from indexer import failures, jobs, listing
from indexer.catalog import Catalog, media_root
from indexer.config import IndexSettings
from indexer.decode import Decoder, FileFailed
from indexer.errors import InsufficientStorage, NothingToIndex, PathNotFound, PathRefused
from indexer.run import Run
from indexer.tables import VideoState
from model import Retriever
from tests.indexer.library_files import Bench, counts, cut, ends_after, searchable, seen, stored
from tests.indexer.postgres import until_it_waits


def test_one_bad_file_stops_nothing_and_is_listed_with_its_code(bench: Bench, library: Path) -> None:
    (library / "empty.mp4").write_bytes(b"")
    (library / "words.mkv").write_text("these are words, not a film " * 50)
    os.mkfifo(library / "pipe.mp4")
    report = bench.index(library)
    assert vars(report.counts) == counts(found=6, encoded=3, failed=3)
    codes = {Path(failure.uri).name: failure.code for failure in report.failed}
    assert codes == {"empty.mp4": "empty", "words.mkv": "damaged", "pipe.mp4": "not_a_file"}
    assert vars(bench.index(library).counts) == counts(found=6, unchanged=3, failed=3)
    shutil.copy(library / "both.mp4", library / "empty.mp4")  # a mended file is tried again
    assert bench.index(library).counts.failed == 2


def test_a_cut_file_is_partial_above_a_half_and_failed_below(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    noise = np.random.default_rng(3)
    from tests.media_files import write_media

    for name, share in (("most.mkv", 0.7), ("little.mkv", 0.3)):
        path = write_media(
            folder / name, seconds=14.0, fps=8, size=(64, 48),
            picture=lambda _: noise.integers(0, 255, (48, 64, 3), np.uint8),
        )  # fmt: skip
        cut(path, share)
    report = bench.index(folder)
    assert vars(report.counts) == counts(found=2, partial=1, failed=1)
    most = bench.videos()["most.mkv"]
    assert (most.state, most.code) == (VideoState.PARTIAL, "truncated")
    assert most.duration_s == pytest.approx(9.8, abs=0.5)
    assert [failure.code for failure in report.failed] == ["truncated"]
    assert searchable(bench) == {most.id: 1}
    assert vars(bench.index(folder).counts)["unchanged"] == 1


def test_a_file_that_kills_its_decoder_costs_three_attempts_and_no_more(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    probe = Decoder.probe

    def deadly(decoder: Decoder, path: Path) -> Any:
        tried.append(path.name)
        if path.name == "both.mp4":
            raise FileFailed("decoder_crashed", "The decoder died (SIGSEGV).")
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", deadly)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert report.failed[0].attempts == 3 and tried.count("both.mp4") == 3
    assert bench.videos()["both.mp4"].state is VideoState.FAILED
    bench.index(library)
    assert tried.count("both.mp4") == 3
    monkeypatch.undo()
    assert vars(bench.index(library, retry=True).counts) == counts(found=3, encoded=1, unchanged=2)


def test_copies_of_a_bad_file_fail_alike(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"no media" * 100)
    report = bench.index(folder)
    assert vars(report.counts) == counts(found=3, failed=3)
    assert {(Path(failure.uri).name, failure.code) for failure in report.failed} == {
        ("a.mp4", "damaged"), ("b.mp4", "damaged"), ("c.mp4", "damaged"),
    }  # fmt: skip


def test_a_file_that_goes_while_it_waits_is_missing_not_failed(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Decoder.probe

    def too_late(decoder: Decoder, path: Path) -> Any:
        (library / "both.mp4").unlink(missing_ok=True)
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", too_late)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=2, encoded=2, missing=1) and report.failed == []
    assert bench.videos()["both.mp4"].state is VideoState.MISSING


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_what_it_was(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Decoder.probe

    def swapped(decoder: Decoder, path: Path) -> Any:
        if path.name == "both.mp4":
            seen(path, shade=40)
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", swapped)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert (report.failed[0].code, report.failed[0].attempts) == ("changed", 0)
    assert bench.videos()["both.mp4"].id not in searchable(bench)
    monkeypatch.undo()
    assert vars(bench.index(library).counts) == counts(found=3, encoded=1, unchanged=2)


def test_clips_of_a_file_that_changes_under_way_are_not_used_for_a_copy_of_what_it_was(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run had committed stays; the copy, which waits for the file, gets the rest of its own clips."""
    folder = tmp_path / "library"
    folder.mkdir()
    one = seen(folder / "1.mp4", seconds=60.0, fps=4)
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    control = Bench(bench.settings.model_copy(update={"data_dir": tmp_path / "control"}), bench.retriever)
    control.index(one)
    encode, encoded = Retriever.encode_clips, []

    def changing(retriever: Retriever, clips: list[Any]) -> Any:
        encoded.append(clips)
        if len(encoded) == 2:
            seen(one, seconds=60.0, shade=40, fps=4)
        return encode(retriever, clips)

    monkeypatch.setattr(Retriever, "encode_clips", ends_after(2))
    with pytest.raises(SystemExit):
        bench.index(one)
    kept = bench.clips()
    assert len(kept) == 2
    shutil.copy(one, folder / "2.mp4")
    taken: list[list[Any]] = []
    fail = Run._give_up

    def watched(run: Run, work: Any, failure: FileFailed) -> None:
        taken.append(bench.clips())
        fail(run, work, failure)

    monkeypatch.setattr(Retriever, "encode_clips", changing)
    monkeypatch.setattr(Run, "_give_up", watched)
    report = bench.index(folder)
    assert vars(report.counts) == counts(found=2, encoded=1, failed=1)
    assert (report.failed[0].code, Path(report.failed[0].uri).name) == ("changed", "1.mp4")
    assert taken == [kept]
    assert stored(bench) == stored(control)


def test_a_run_that_ends_after_a_file_has_changed_leaves_no_clip_of_what_came_later(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = seen(tmp_path / "1.mp4", seconds=60.0, fps=4)
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    ends, encoded = ends_after(3), []

    def changing(retriever: Retriever, clips: list[Any]) -> Any:
        encoded.append(clips)
        if len(encoded) == 2:
            seen(one, seconds=60.0, shade=40, fps=4)
        return ends(retriever, clips)

    monkeypatch.setattr(Retriever, "encode_clips", changing)
    with pytest.raises(SystemExit):
        bench.index(one)
    assert (len(encoded), len(bench.clips())) == (4, 1)


def test_a_clip_that_cannot_be_encoded_fails_its_own_file_alone(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = bench.settings.model_copy(update={"batch_clips": 8})
    encode = Retriever.encode_clips

    def poisoned(retriever: Retriever, clips: list[Any]) -> Any:
        if any(clip.frames is None for clip in clips):
            raise RuntimeError("a poisoned clip")
        return encode(retriever, clips)

    monkeypatch.setattr(Retriever, "encode_clips", poisoned)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert (report.failed[0].code, Path(report.failed[0].uri).name) == ("encode_failed", "voice.wav")


def test_a_clip_that_fails_before_its_file_is_decoded_to_the_end_does_not_hold_the_run_up(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one: the only clip of a short file is encoded before the end of the file is heard of."""
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})

    def poisoned(*_: Any) -> Any:
        raise RuntimeError("a poisoned clip")

    monkeypatch.setattr(Retriever, "encode_clips", poisoned)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, failed=3)
    assert {(failure.code, failure.attempts) for failure in report.failed} == {("encode_failed", 3)}


def test_no_room_on_the_disk_fails_the_run_and_no_file(bench: Bench, library: Path) -> None:
    full = bench.settings.model_copy(update={"min_free_bytes": 1 << 60})
    with pytest.raises(InsufficientStorage):
        bench.index(library, settings=full)
    with closing(Catalog.open(bench.settings)) as catalog:
        assert [job.code for job in jobs.list_jobs(catalog)] == ["insufficient_storage"]
        assert failures.failed_files(catalog) == []
    assert vars(bench.index(library).counts) == counts(found=3, encoded=3)


def test_a_folder_without_media_and_a_path_that_is_not_there_are_errors(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "notes.txt").write_text("nothing to see")
    with pytest.raises(NothingToIndex):
        bench.index(tmp_path / "bare")
    with pytest.raises(PathNotFound):
        bench.index(tmp_path / "nowhere")


def test_names_that_no_catalog_was_made_for_stop_nothing(
    any_settings: IndexSettings, retriever: Retriever, library: Path
) -> None:
    """One path too long for PostgreSQL's indexes, one that is no UTF-8; on either database."""
    bench = Bench(any_settings, retriever)
    folder = library
    for _ in range(12):
        folder /= secrets.token_hex(120)  # random, for PostgreSQL compresses what repeats
    folder.mkdir(parents=True)
    deep = Path(shutil.copy(library / "both.mp4", folder / "deep.mp4"))
    os.rename(library / "both.mp4", os.fsencode(library) + b"/caf\xe9.mp4")
    for _ in range(2):
        report = bench.index(library)
        assert [failure.code for failure in report.failed] == ["path_too_long"]
        assert report.failed[0].uri.endswith(".mp4") and len(report.failed[0].uri) < len(str(library)) + 250
        with closing(Catalog.open(any_settings)) as catalog:
            assert [file.uri for file in listing.failed(catalog)] == [report.failed[0].uri]
        json.dumps(report.to_json()).encode()
    assert vars(report.counts) == counts(found=4, unchanged=3, failed=1)
    assert len(searchable(bench)) == 3
    deep.rename(library / "shallow.mp4")
    assert vars(bench.index(library).counts) == counts(found=4, unchanged=3, duplicate=1)
    with closing(Catalog.open(any_settings)) as catalog:
        assert listing.failed(catalog) == []


def test_a_root_whose_path_is_too_long_is_refused(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(12):
        folder /= "deep" * 60
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"x")
    with pytest.raises(PathRefused, match="2600 bytes"):
        bench.index(folder)


@pytest.mark.parametrize("earlier", [0, 1])
def test_two_runs_that_meet_one_bad_file_at_once_charge_it_twice(
    settings: IndexSettings, postgres_url: str, earlier: int
) -> None:
    settings = settings.model_copy(update={"database_url": postgres_url})

    def charge(session: Session) -> int:
        return failures.record(session, root, "a.mp4", "timeout", "It took too long.", size=1, mtime_ns=1)

    def beside() -> int:
        with catalog.transaction() as session:
            return charge(session)

    with closing(Catalog.open(settings)) as catalog, ThreadPoolExecutor() as pool:
        with catalog.transaction() as session:
            root = media_root(session, "/media").id
            for _ in range(earlier):
                charge(session)
        with catalog.transaction() as session:
            assert charge(session) == earlier + 1
            other = pool.submit(beside)
            until_it_waits(session, other)
        assert other.result() == earlier + 2
