"""A deleted video stays deleted until somebody asks for its file anew, wherever a run was when it was deleted."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from indexer import cli, failures, jobs
from indexer.catalog import Catalog, media_root
from indexer.config import IndexSettings
from indexer.gc import collect_garbage
from indexer.progress import IndexReport
from indexer.quarantine import quarantine
from indexer.tables import Clip, JobState, Video, VideoState, now
from indexer.worker import run_worker
from model import Retriever
from tests.index_samples import fill, ident, release, set_state
from tests.indexer.library_files import Bench, counts, searchable
from tests.indexer.postgres import until_it_waits

Change = Callable[[Bench, Path], None]


def delete(bench: Bench, name: str) -> None:
    """What DELETE /v1/videos/{id} does."""
    identity = bench.videos()[name].id
    with closing(Catalog.open(bench.settings)) as catalog, catalog.transaction() as session:
        video = session.get_one(Video, identity)
        video.state, video.deleted_at = VideoState.DELETED, now()


def state(bench: Bench, name: str) -> VideoState:
    return bench.videos()[name].state


def work(bench: Bench) -> list[IndexReport]:
    return run_worker(bench.settings, once=True, load=lambda _: bench.retriever)


def settled(bench: Bench, report: IndexReport) -> dict[str, VideoState]:
    with closing(Catalog.open(bench.settings)) as catalog:
        assert jobs.get(catalog, report.job_id).state is JobState.DONE
        return {file.path: file.state for file in jobs.files(catalog, report.job_id)}


@pytest.fixture
def at_encoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something happen in the middle of a run, when its first clip is encoded."""

    def install(happening: Callable[[], None]) -> None:
        encode, waiting = Retriever.encode_clips, [happening]

        def encode_clips(retriever: Retriever, clips: list[Any]) -> Any:
            while waiting:
                waiting.pop()()
            return encode(retriever, clips)

        monkeypatch.setattr(Retriever, "encode_clips", encode_clips)

    return install


@pytest.mark.parametrize("touched", [False, True], ids=["known by its time", "known by its content"])
def test_a_job_that_asked_before_the_deletion_does_not_bring_it_back(
    bench: Bench, library: Path, touched: bool
) -> None:
    path = library / "both.mp4"
    bench.index(path)
    if touched:
        os.utime(path, (1, 1))
    with closing(Catalog.open(bench.settings)) as catalog:
        jobs.submit(catalog, [path])
        delete(bench, "both.mp4")
        (report,) = work(bench)
        assert vars(report.counts) == counts(found=1, unchanged=1)
        assert state(bench, "both.mp4") is VideoState.DELETED
        assert set(settled(bench, report).values()) == ({VideoState.DELETED} if touched else set())
        jobs.submit(catalog, [path])
        work(bench)
    assert state(bench, "both.mp4") is VideoState.READY


def test_deleted_while_it_is_encoded(
    bench: Bench, library: Path, at_encoding: Callable[[Callable[[], None]], None]
) -> None:
    """Its copy, which waits for it, brings it back no more than the job that named the file."""
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    shutil.copy(library / "long.mp4", library / "long too.mp4")
    paths = [library / name for name in ("long.mp4", "long too.mp4", "both.mp4")]
    at_encoding(lambda: delete(bench, "long.mp4"))
    report = bench.index(*paths)
    assert vars(report.counts) == counts(found=3, encoded=1, unchanged=2)
    ready, gone = bench.videos()["both.mp4"], bench.videos()["long.mp4"]
    assert (gone.state, gone.deleted_at is None) == (VideoState.DELETED, False)
    names = {"long.mp4": VideoState.DELETED, "long too.mp4": VideoState.DELETED, "both.mp4": VideoState.READY}
    assert settled(bench, report) == names
    assert searchable(bench) == {ready.id: 1}
    with closing(Catalog.open(bench.settings)) as catalog:
        collect_garbage(bench.settings, catalog)
    assert {clip[0] for clip in bench.clips()} == {ready.id}, "what was written of it is given back"
    assert bench.index(paths[0]).counts.encoded == 1 and state(bench, "long.mp4") is VideoState.READY


def test_deleted_while_it_is_encoded_for_a_new_model(
    any_settings: IndexSettings,
    retriever: Retriever,
    library: Path,
    at_encoding: Callable[[Callable[[], None]], None],
) -> None:
    bench, path = Bench(any_settings, retriever), library / "both.mp4"
    bench.index(path)
    newer = Bench(any_settings, Retriever.from_preset("tiny", seed=11))
    at_encoding(lambda: delete(bench, "both.mp4"))
    assert vars(newer.index(path).counts) == counts(found=1, unchanged=1)
    assert state(bench, "both.mp4") is VideoState.DELETED and searchable(newer) == {}


def damage(bench: Bench, library: Path) -> None:  # noqa: ARG001
    with closing(Catalog.open(bench.settings)) as catalog:
        with catalog.session() as session:
            clips = session.scalars(select(Clip.id)).all()
        quarantine(catalog, clips, "corrupt_record")


def bring_back(bench: Bench, library: Path) -> None:
    bench.index(library)


def lose_and_find(bench: Bench, path: Path) -> None:
    """Have a run miss the file that is on the disk again when it ends."""
    elsewhere = path.rename(path.with_suffix(".elsewhere"))
    bench.index(path.parent)
    assert state(bench, path.name) is VideoState.MISSING
    elsewhere.rename(path)


@pytest.fixture
def shared(
    settings: IndexSettings, postgres_url: str, retriever: Retriever, made: Path, tmp_path: Path
) -> tuple[Bench, Path]:
    """A file that is indexed, in a catalog where two may write at once, as only PostgreSQL lets them."""
    bench = Bench(settings.model_copy(update={"database_url": postgres_url}), retriever)
    path = Path(shutil.copy(made / "both.mp4", tmp_path))
    bench.index(path)
    return bench, path


@pytest.mark.parametrize("change", [damage, bring_back])
def test_deleted_in_the_instant_in_which_it_is_changed(shared: tuple[Bench, Path], change: Change) -> None:
    """What read the video before it was deleted must not write over that."""
    bench, path = shared
    if change is bring_back:
        lose_and_find(bench, path)
    beside(bench, deleted, partial(change, bench, path.parent))
    assert state(bench, "both.mp4") is VideoState.DELETED


@pytest.mark.parametrize("whole", [True, False], ids=["with its clips", "its clips alone"])
def test_forgotten_in_the_instant_in_which_it_comes_back(shared: tuple[Bench, Path], whole: bool) -> None:
    bench, path = shared
    lose_and_find(bench, path)

    def forgotten(session: Session) -> None:
        session.execute(select(Video).with_for_update())
        session.query(Clip).delete()
        if whole:
            session.query(Video).delete()

    beside(bench, forgotten, partial(bench.index, path.parent))
    assert state(bench, "both.mp4") is VideoState.READY and len(bench.clips()) == 1


def deleted(session: Session) -> None:
    video = session.scalars(select(Video)).one()
    video.state, video.deleted_at = VideoState.DELETED, now()


def beside(bench: Bench, first: Callable[[Session], None], second: Callable[[], object]) -> None:
    """Two changes of one instant: the second begins before the first is committed, and must wait for it."""
    with closing(Catalog.open(bench.settings)) as catalog, ThreadPoolExecutor() as pool:
        with catalog.transaction() as session:
            first(session)
            session.flush()
            changed = pool.submit(second)
            until_it_waits(session, changed)
        changed.result()


def test_brought_back_in_the_instant_in_which_its_clips_would_go(settings: IndexSettings, postgres_url: str) -> None:
    settings = settings.model_copy(update={"database_url": postgres_url})
    with closing(Catalog.open(settings)) as catalog, ThreadPoolExecutor() as pool:
        fill(settings, catalog, [0, 1])
        release(settings, catalog)
        for number in (0, 1):
            set_state(catalog, number, VideoState.DELETED)
        with catalog.transaction() as session:
            session.get_one(Video, ident(0)).state = VideoState.READY
            session.flush()
            collected = pool.submit(collect_garbage, settings, catalog)
            until_it_waits(session, collected)
        assert collected.result().clips_dropped == 3
        with catalog.session() as session:
            assert session.scalars(select(Clip.video_id)).all() == [ident(0)] * 3


def test_deleted_while_it_fails(bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that would be tried again at once is neither tried again nor noted."""
    tried: list[object] = []

    def encode_clips(_: Retriever, clips: object) -> None:
        if not tried:
            delete(bench, "both.mp4")
        tried.append(clips)
        raise RuntimeError("a poisoned clip")

    monkeypatch.setattr(Retriever, "encode_clips", encode_clips)
    report = bench.index(library / "both.mp4")
    assert vars(report.counts) == counts(found=1, unchanged=1) and report.failed == []
    assert settled(bench, report) == {"both.mp4": VideoState.DELETED}
    assert state(bench, "both.mp4") is VideoState.DELETED
    with closing(Catalog.open(bench.settings)) as catalog:
        assert not failures.failed_files(catalog)


def test_reindexing_names_files_and_asks_for_none(bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted behind the listing, before there is a job."""
    bench.index(library)
    newer = Retriever.from_preset("tiny", seed=11)

    def load(_: object) -> Retriever:
        delete(bench, "both.mp4")
        return newer

    monkeypatch.setattr(cli, "_settings", lambda: bench.settings)
    monkeypatch.setattr(cli, "_retriever", load)
    cli.reindex()
    assert state(bench, "both.mp4") is VideoState.DELETED
    assert set(searchable(Bench(bench.settings, newer))) == {
        video.id for name, video in bench.videos().items() if name != "both.mp4"
    }


def test_trying_failed_files_again_asks_for_none(bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the command nor by a job for what another left undone."""

    def poisoned(*_: object) -> None:
        raise RuntimeError("a poisoned clip")

    with monkeypatch.context() as poison:
        poison.setattr(Retriever, "encode_clips", poisoned)
        report = bench.index(library)
    assert report.counts.failed == 3
    delete(bench, "both.mp4")
    with closing(Catalog.open(bench.settings)) as catalog:
        jobs.retry(catalog, report.job_id)
    (again,) = work(bench)
    assert (again.counts.encoded, state(bench, "both.mp4")) == (2, VideoState.DELETED)
    with closing(Catalog.open(bench.settings)) as catalog:
        with catalog.transaction() as session:
            failures.record(session, media_root(session, library).id, "both.mp4", "encode_failed", "")
        monkeypatch.setattr(cli, "_settings", lambda: bench.settings)
        monkeypatch.setattr(cli, "_retriever", lambda _: bench.retriever)
        cli.retry()
        assert state(bench, "both.mp4") is VideoState.DELETED and not failures.failed_files(catalog)
