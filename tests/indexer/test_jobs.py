"""A job has one worker at a time, survives his death, and lays no one's death at an innocent file's door."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from indexer import failures, jobs
from indexer.catalog import Catalog, Job, JobFile, JobState, VideoState, file_path, media_root
from indexer.config import IndexSettings
from indexer.errors import LeaseLost, UnknownJob
from indexer.failures import Verdict
from indexer.holder import Holder
from indexer.jobs import Lease
from indexer.lease import _take
from tests.index_samples import ident
from tests.indexer.postgres import until_it_waits
from tests.processes import claim_take_die, start


@pytest.fixture
def root(any_catalog: Catalog, tmp_path: Path) -> int:
    with any_catalog.transaction() as session:
        return media_root(session, tmp_path).id


def claimed(catalog: Catalog, settings: IndexSettings, job_id: str | None = None) -> Lease:
    lease = jobs.claim(catalog, settings, job_id)
    assert lease is not None
    return lease


def edit(catalog: Catalog, job_id: str, **values: object) -> None:
    with catalog.transaction() as session:
        job = session.get_one(Job, job_id)
        for name, value in values.items():
            setattr(job, name, value)


def die_with(settings: IndexSettings, *file_ids: int) -> None:
    """A worker that claims the job, takes these files in hand and is killed."""
    child = start(claim_take_die, settings, file_ids)
    child.join()
    assert child.exitcode == -9


def test_the_oldest_job_is_claimed_once(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    first, second = (jobs.submit(any_catalog, [f"/media/{name}"]) for name in "ab")
    assert [claimed(any_catalog, any_settings).job_id for _ in range(2)] == [first, second]
    assert jobs.claim(any_catalog, any_settings) is None
    job = jobs.get(any_catalog, first)
    assert job.state is JobState.RUNNING and job.started_at is not None
    assert Holder.of(job) == Holder.me()


def test_a_job_may_be_claimed_by_name(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    jobs.submit(any_catalog, ["/a"])
    mine = jobs.submit(any_catalog, ["/b"])
    assert claimed(any_catalog, any_settings, mine).job_id == mine
    assert jobs.claim(any_catalog, any_settings, mine) is None


def test_many_claimers_never_share_a_job(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    submitted = {jobs.submit(any_catalog, [f"/{number}"]) for number in range(12)}
    taken: list[str] = []

    def work() -> None:
        while (lease := jobs.claim(any_catalog, any_settings)) is not None:
            taken.append(lease.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 12 and set(taken) == submitted


def test_paths_that_are_no_utf8_reach_the_worker(any_catalog: Catalog) -> None:
    path = Path(os.fsdecode(b"/media/caf\xe9"))
    job = jobs.get(any_catalog, jobs.submit(any_catalog, [path]))
    assert [file_path(one) for one in job.paths] == [path]
    job.paths[0].encode()


def test_files_go_through_their_states(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a.mp4"), (root, "b.mp4")])
    lease.add_files([(root, "b.mp4"), (root, "c.mp4")])
    a, b, c = lease.files()
    assert [file.path for file in (a, b, c)] == ["a.mp4", "b.mp4", "c.mp4"]
    lease.take(a.id)
    lease.move(a.id, VideoState.DECODING, progress=0.25)
    assert [file.in_hand for file in lease.files()] == [True, False, False]
    lease.settle(a.id, VideoState.READY, ident(1))
    lease.settle(b.id, VideoState.FAILED, detail={"code": "truncated"})
    assert [file.path for file in lease.files(VideoState.QUEUED)] == ["c.mp4"]
    lease.settle(c.id, VideoState.PARTIAL, ident(2))
    assert jobs.file_states(any_catalog, job_id) == {
        VideoState.READY: 1,
        VideoState.FAILED: 1,
        VideoState.PARTIAL: 1,
    }
    assert lease.finish({"found": 3}, "snapshot") is JobState.DONE_WITH_FAILURES
    job = jobs.get(any_catalog, job_id)
    assert (job.counts, job.snapshot_id, job.lease_token) == ({"found": 3}, "snapshot", None)
    assert job.finished_at is not None


def test_a_step_of_one_file_does_not_read_the_paths_of_all(catalog: Catalog, settings: IndexSettings) -> None:
    with catalog.transaction() as session:
        folder = media_root(session, "/media").id
    paths = [f"/media/{number}.mp4" for number in range(3000)]
    job_id = jobs.submit(catalog, paths)
    lease = claimed(catalog, settings)
    lease.add_files([(folder, "1.mp4")])
    (file,) = lease.files()
    statements: list[str] = []
    event.listen(catalog.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    lease.take(file.id)
    lease.move(file.id, VideoState.DECODING, progress=0.5)
    lease.settle(file.id, VideoState.READY, ident(1))
    assert lease.heartbeat()
    assert len(statements) > 8 and not [statement for statement in statements if "paths" in statement]
    lease.finish({})
    assert jobs.get(catalog, job_id).paths == paths


def test_a_job_without_failures_is_done(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    jobs.submit(any_catalog, ["/media"])
    assert claimed(any_catalog, any_settings).finish({}) is JobState.DONE


def test_events_tell_the_story_from_any_point(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a.mp4")])
    (file,) = lease.files()
    lease.settle(file.id, VideoState.FAILED, detail={"code": "empty"})
    lease.event("progress", {"clips": 7})
    lease.finish({})
    told = jobs.events(any_catalog, job_id)
    assert [event.kind for event in told] == ["state", "state", "found", "file", "progress", "state"]
    assert told[3].data == {
        "file_id": file.id, "path": "a.mp4", "state": "failed", "video_id": None, "code": "empty",
    }  # fmt: skip
    assert told[-1].data["state"] == "done_with_failures"
    rest = jobs.events(any_catalog, job_id, after=told[3].id)
    assert [event.id for event in rest] == [event.id for event in told[4:]]
    assert len(jobs.events(any_catalog, job_id, limit=2)) == 2


def test_jobs_are_listed_newest_first_in_pages(any_catalog: Catalog) -> None:
    made = sorted((jobs.submit(any_catalog, ["/x"]) for _ in range(5)), reverse=True)
    assert [job.id for job in jobs.list_jobs(any_catalog, limit=2)] == made[:2]
    assert [job.id for job in jobs.list_jobs(any_catalog, before=made[1])] == made[2:]
    assert jobs.list_jobs(any_catalog, state=JobState.DONE) == []


@pytest.mark.parametrize(
    "call", [jobs.get, jobs.cancel, jobs.retry, jobs.files, jobs.events], ids=lambda call: call.__name__
)
def test_an_unknown_job_is_an_error(catalog: Catalog, call: Callable[[Catalog, str], object]) -> None:
    with pytest.raises(UnknownJob, match="nosuch"):
        call(catalog, "nosuch")


def test_a_waiting_job_is_cancelled_at_once(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    assert jobs.cancel(any_catalog, job_id) is JobState.CANCELLED
    assert jobs.claim(any_catalog, any_settings) is None
    assert jobs.cancel(any_catalog, job_id) is JobState.CANCELLED


def test_a_running_job_is_asked_to_stop(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a.mp4")])
    lease.take(lease.files()[0].id)
    assert lease.heartbeat()
    assert jobs.cancel(any_catalog, job_id) is JobState.RUNNING
    assert not lease.heartbeat()
    lease.cancelled({"found": 1})
    assert jobs.get(any_catalog, job_id).state is JobState.CANCELLED
    assert [(file.state, file.in_hand) for file in jobs.files(any_catalog, job_id)] == [(VideoState.QUEUED, False)]
    with pytest.raises(LeaseLost):
        lease.heartbeat()


def test_a_job_that_is_taken_in_the_instant_of_its_cancellation_is_asked_to_stop(
    settings: IndexSettings, postgres_url: str
) -> None:
    """Only PostgreSQL lets two write at once: one that nobody seemed to work on must not be cancelled behind him."""
    settings = settings.model_copy(update={"database_url": postgres_url})
    with closing(Catalog.open(settings)) as catalog, ThreadPoolExecutor() as pool:
        job_id = jobs.submit(catalog, ["/media"])
        with catalog.transaction() as session:
            token = _take(session, session.get_one(Job, job_id), settings)
            assert token is not None
            session.flush()
            cancelled = pool.submit(jobs.cancel, catalog, job_id)
            until_it_waits(session, cancelled)
        assert cancelled.result() is JobState.RUNNING
        lease = Lease(catalog, settings, job_id, token)
        assert not lease.heartbeat()
        lease.cancelled({})
        assert jobs.get(catalog, job_id).state is JobState.CANCELLED


def test_a_lease_is_worth_nothing_once_its_job_has_ended(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    edit(any_catalog, job_id, state=JobState.CANCELLED)
    with pytest.raises(LeaseLost):
        lease.heartbeat()
    with pytest.raises(LeaseLost):
        lease.finish({})
    assert jobs.get(any_catalog, job_id).state is JobState.CANCELLED


def test_retry_takes_what_failed(any_catalog: Catalog, any_settings: IndexSettings, root: int, tmp_path: Path) -> None:
    job_id = jobs.submit(any_catalog, ["/media"], options={"collection": "home"})
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "good.mp4"), (root, "bad.mp4"), (root, "unwanted.mp4")])
    good, bad, unwanted = lease.files()
    lease.settle(good.id, VideoState.READY, ident(1))
    lease.settle(unwanted.id, VideoState.DELETED, ident(2))
    with any_catalog.transaction() as session:
        failures.record(session, root, "bad.mp4", "timeout", "too slow", size=1, mtime_ns=1)
        lease.settle(bad.id, VideoState.FAILED, session=session)
    lease.finish({})
    again = jobs.get(any_catalog, jobs.retry(any_catalog, job_id))
    assert [file_path(one) for one in again.paths] == [tmp_path / "bad.mp4"]
    first = jobs.get(any_catalog, job_id)
    asked = {"asked_at": first.created_at.isoformat()}
    assert again.options == {"collection": "home", "retry": True, "retry_of": job_id, **asked}
    assert jobs.asked_at(again) == jobs.asked_at(first) == first.created_at, "a video deleted since stays deleted"
    assert not failures.failed_files(any_catalog)


def test_retry_of_an_aborted_job_takes_everything(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a.mp4")])
    lease.abort("insufficient_storage", "full")
    job = jobs.get(any_catalog, job_id)
    assert (job.state, job.code, job.message) == (JobState.FAILED, "insufficient_storage", "full")
    assert jobs.get(any_catalog, jobs.retry(any_catalog, job_id)).paths == ["/media"]


def test_a_job_given_back_goes_on_elsewhere(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a.mp4"), (root, "b.mp4")])
    a, b = lease.files()
    lease.settle(a.id, VideoState.READY, ident(1))
    lease.take(b.id)
    lease.move(b.id, VideoState.ENCODING)
    lease.give_back()
    with pytest.raises(LeaseLost):
        lease.settle(b.id, VideoState.READY)
    again = claimed(any_catalog, any_settings)
    assert again.job_id == job_id
    assert [file.path for file in again.files(VideoState.QUEUED)] == ["b.mp4"]
    with any_catalog.session() as session:
        assert failures.find(session, root, "b.mp4") is None


def test_a_dead_workers_job_is_taken_over_at_once(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, name) for name in ("done.mp4", "in hand.mp4", "waiting.mp4")])
    done, in_hand, _ = lease.files()
    lease.settle(done.id, VideoState.READY, ident(1))
    lease.give_back()
    die_with(any_settings, in_hand.id)
    again = claimed(any_catalog, any_settings)
    assert again.job_id == job_id
    assert [file.path for file in again.files(VideoState.QUEUED)] == ["in hand.mp4", "waiting.mp4"]
    assert not any(file.in_hand for file in again.files())


def test_one_death_charges_nothing_and_two_make_a_file_suspect(
    any_catalog: Catalog, any_settings: IndexSettings, root: int, tmp_path: Path
) -> None:
    (tmp_path / "poison.mp4").write_bytes(b"x")
    status = (tmp_path / "poison.mp4").stat()
    jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "poison.mp4"), (root, "innocent.mp4")])
    poison, innocent = lease.files()
    lease.give_back()
    seen = []
    for hands in ((poison.id, innocent.id), (poison.id,), (poison.id,), (poison.id,)):
        die_with(any_settings, *hands)
        claimed(any_catalog, any_settings).give_back()
        with any_catalog.session() as session:
            row = failures.find(session, root, "poison.mp4")
            assert row is not None
            verdict = failures.verdict(session, root, "poison.mp4", status.st_size, status.st_mtime_ns, 3)
            seen.append((row.deaths, row.attempts, verdict))
    assert seen == [(1, 0, Verdict.TRY), (2, 1, Verdict.ALONE), (3, 2, Verdict.ALONE), (4, 3, Verdict.REFUSE)]
    with any_catalog.session() as session:
        assert failures.verdict(session, root, "innocent.mp4", 1, 1, 3) is Verdict.TRY
    assert [(row.path, row.code) for row in failures.failed_files(any_catalog)] == [("poison.mp4", "worker_died")]


def test_attempts_are_counted_and_end(any_catalog: Catalog, root: int) -> None:
    for attempt in (1, 2, 3):
        with any_catalog.transaction() as session:
            assert failures.verdict(session, root, "a", 5, 6, 3) is Verdict.TRY
            assert failures.record(session, root, "a", "timeout", "slow", size=5, mtime_ns=6) == attempt
    with any_catalog.session() as session:
        assert failures.verdict(session, root, "a", 5, 6, 3) is Verdict.REFUSE
        assert failures.verdict(session, root, "a", 5, 7, 3) is Verdict.TRY  # it changed
        assert failures.verdict(session, root, "b", 5, 6, 3) is Verdict.TRY
    with any_catalog.transaction() as session:
        assert failures.record(session, root, "a", "timeout", "slow", size=9, mtime_ns=9) == 1


def test_a_terminal_code_is_never_tried_again(any_catalog: Catalog, root: int) -> None:
    with any_catalog.transaction() as session:
        failures.record(session, root, "a", "unsupported_codec", "odd", size=5, mtime_ns=6)
        assert failures.verdict(session, root, "a", 5, 6, 3) is Verdict.REFUSE
        assert failures.verdict(session, root, "a", 8, 6, 3) is Verdict.TRY


def test_what_is_not_the_files_fault_costs_it_nothing(any_catalog: Catalog, root: int) -> None:
    for _ in range(5):
        with any_catalog.transaction() as session:
            failures.record(session, root, "a", "insufficient_storage", "full", size=5, mtime_ns=6, charge=False)
    with any_catalog.session() as session:
        assert failures.verdict(session, root, "a", 5, 6, 3) is Verdict.TRY


def test_an_indexed_file_is_forgiven(any_catalog: Catalog, any_settings: IndexSettings, root: int) -> None:
    with any_catalog.transaction() as session:
        failures.record(session, root, "a", "timeout", "slow", size=5, mtime_ns=6)
    jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a")])
    lease.settle(lease.files()[0].id, VideoState.READY, ident(1))
    assert not failures.failed_files(any_catalog)


def test_a_settled_file_commits_with_its_transaction(
    any_catalog: Catalog, any_settings: IndexSettings, root: int
) -> None:
    jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    lease.add_files([(root, "a")])
    file: JobFile = lease.files()[0]
    with pytest.raises(RuntimeError, match="no"), any_catalog.transaction() as session:
        lease.settle(file.id, VideoState.READY, ident(1), session=session)
        raise RuntimeError("no")
    assert lease.files()[0].state is VideoState.QUEUED
