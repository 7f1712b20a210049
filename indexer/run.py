"""One run over a set of paths: decides what each file needs and keeps decoding, encoding and the catalog in step.

Only the thread that calls `go` writes files, clips and states; another renews the lease. The states of a file are
`queued -> probing -> decoding -> encoding -> committing -> ready | partial | failed | missing | deleted`; a file is
settled in the very transaction that commits its last clip, so that a kill leaves it either unsettled or whole.
"""

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.orm import Session

from indexer import failures
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.decode import DecodedClip, FileFailed
from indexer.encode import encode
from indexer.errors import NothingToIndex
from indexer.feed import Decoded, Ended, Event, Feed, Hashed, Probed, Unreadable, Work
from indexer.jobs import Lease
from indexer.library import Library, Ruling, Task, undeleted
from indexer.progress import Failure, FileEvent, IndexReport, Reporter
from indexer.publish import publish
from indexer.sample import plan
from indexer.scan import resolve, resolve_again, scan
from indexer.tables import SEARCHABLE, Clip, Video, VideoState, now, video_id
from indexer.writer import ClipWriter, NewClip

if TYPE_CHECKING:
    from model import Retriever

DECODERS = 2
HASHED_AHEAD = 8
SLOTS_PER_BATCH = 4
POLL_S = 1.0
PUBLISH_EVERY_S = 300.0
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)  # cameras that know no time say 1904 or 1970
RETRY_NOW = frozenset({"decoder_crashed", "oom_killed", "encode_failed"})
CHANGED = "The file changed while it was read; it will be tried again."
NOT_CHARGED = frozenset({"not_found", "unreadable", "changed"})


class Run:
    """The state of one run. Files move from `to_hash` through `ready` into the feed, and their clips into `batch`."""

    def __init__(
        self, lease: Lease, settings: IndexSettings, catalog: Catalog, retriever: "Retriever", reporter: Reporter
    ) -> None:
        self.lease, self.settings, self.catalog = lease, settings, catalog
        self.retriever, self.reporter = retriever, reporter
        self.library = Library(settings, catalog, retriever.fingerprint)
        self.report = IndexReport(job_id=lease.job_id)
        self.to_hash: deque[Task] = deque()
        self.suspects: deque[Task] = deque()
        self.hashing = 0
        self.ready: deque[Work] = deque()
        self.active = 0
        self.in_progress: dict[str, Work] = {}
        self.batch: list[tuple[Work, DecodedClip]] = []
        self.beat_at = self.publish_at = 0.0

    def go(self, paths: Sequence[str | Path], *, retry: bool, owner: bool, asked_at: datetime | None) -> IndexReport:
        started = time.monotonic()
        roots = self.library.roots()
        find = resolve_again if retry else resolve
        scopes = [find(path, roots, owner=owner) for path in paths]
        found = list(scan(scopes, roots, skip=[self.settings.data_dir.resolve()]))
        if not (found or retry or self.library.knows(scopes)):  # a failed file that is gone was never indexed
            raise NothingToIndex("There are no media files in what was given.", "Name a folder with videos in it.")
        # a job taken over has forgiven its files before: what they have cost it since must end it
        forgiving = retry and not self.lease.files()
        comparison = self.library.compare(scopes, found, retry=forgiving, asked_at=asked_at)
        counts = self.report.counts
        counts.found, counts.unchanged = len(found), comparison.unchanged
        self.report.failed += [failure for _, failure in comparison.failed]
        self._enlist(comparison.pending, comparison.failed)
        self.reporter.scanned(len(found), len(comparison.pending))
        if comparison.pending:
            self._work_through()
        counts.missing = self.library.hide_missing(scopes)
        counts.failed = len(self.report.failed)
        self.report.snapshot = self._publish()
        self.report.took_s = time.monotonic() - started
        if self.report.cancelled:
            self.lease.cancelled(vars(counts))
        else:
            self.lease.finish(vars(counts), self.report.snapshot)
        self.reporter.finished(self.report)
        return self.report

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def _enlist(self, pending: Sequence[Task], failed: Sequence[tuple[Task, Failure]]) -> None:
        """Make the files part of the job; those of an interrupted run of it that need nothing more are settled."""
        tasks = {(task.root_id, task.found.path): task for task in pending}
        refused = {(task.root_id, task.found.path): failure for task, failure in failed}
        self.lease.add_files([*tasks, *refused])
        rows = self.lease.files()
        with self.catalog.transaction() as session:
            for row in rows:
                name = row.root_id, row.path
                task, failure = tasks.get(name), refused.get(name)
                if task is not None:
                    task.file_id = row.id
                elif failure is not None:
                    detail = {"code": failure.code, "message": failure.message, "attempts": failure.attempts}
                    self.lease.settle(row.id, VideoState.FAILED, detail=detail, session=session)
                elif not failures.is_settled(row.state):
                    state = VideoState.READY if row.file_path.exists() else VideoState.MISSING
                    self.lease.settle(row.id, state, session=session)
        self.to_hash = deque(task for task in pending if not task.alone)
        self.suspects = deque(task for task in pending if task.alone)

    def _work_through(self) -> None:
        config, batch = self.retriever.config.video, self.settings.batch_clips
        feed = Feed(
            config.frames,
            config.image_size,
            decoders=DECODERS,
            slots=SLOTS_PER_BATCH * batch,
            max_duration_s=self.settings.max_duration_s,
        )
        writer = ClipWriter(self.settings, self.catalog, self.retriever.fingerprint, self.retriever.config.width)
        with writer, feed:
            self.feed, self.writer = feed, writer
            self.publish_at = time.monotonic() + PUBLISH_EVERY_S
            while self._pump() and self._alive():
                event = feed.next_event(POLL_S)
                if event is not None:
                    self._handle(event)
                if len(self.batch) >= batch or (self.batch and not self.active and feed.inbox.empty()):
                    self._encode_batch()

    def _pump(self) -> bool:
        """Hand on what can be handed on; False when nothing is left."""
        busy = self.hashing or self.ready or self.in_progress or self.to_hash
        if not busy and self.suspects:  # one at a time, with nothing else in hand
            self.to_hash.append(self.suspects.popleft())
        while self.to_hash and self.hashing + len(self.ready) < HASHED_AHEAD:
            self.feed.hash(self.to_hash.popleft())
            self.hashing += 1
        while self.ready and self.active < DECODERS:
            work = self.ready.popleft()
            self.lease.take(work.task.file_id)
            self._enter(work, VideoState.PROBING)
            self.active += 1
            self.feed.decode(work)
        return bool(self.hashing or self.ready or self.in_progress or self.to_hash)

    def _alive(self) -> bool:
        """Publish what a long run has so far; False when the job was cancelled."""
        moment = time.monotonic()
        if moment >= self.beat_at:
            self.beat_at = moment + self.settings.lease_s / 4
            self.report.cancelled = not self.lease.heartbeat()
        if moment >= self.publish_at:
            self._publish()
            self.publish_at = time.monotonic() + PUBLISH_EVERY_S
        return not self.report.cancelled

    def _publish(self) -> str:
        model = self.retriever
        return publish(
            self.settings, self.catalog, fingerprint=model.fingerprint, model=model.name, width=model.config.width
        )

    def _handle(self, event: Event) -> None:
        match event:
            case Hashed(task, content_hash):
                self.hashing -= 1
                self._identified(task, content_hash)
            case Unreadable(task, failure):
                self.hashing -= 1
                self._fail(task, failure)
            case Probed(work, seen):
                work.seen = seen
                if seen.unknown_coding:
                    message = (
                        f"HTAV cannot decode its {seen.unknown_coding}: only the rest is searched. Convert the file."
                    )
                    work.problem = ("unsupported_codec", message)
                self._enter(work, VideoState.DECODING)
            case Decoded(work, clip):
                work.waiting += 1
                work.problem = work.problem or clip.problem
                self.batch.append((work, clip))
            case Ended(work):
                self.active -= 1
                self._decoded(work, event)

    # ---- one file ----------------------------------------------------------------------------------------------------

    def _identified(self, task: Task, content_hash: str) -> None:
        """The content is known: somebody is at it, nothing is to do, or it gets in line."""
        identity = video_id(content_hash)
        if identity in self.in_progress:
            task.content_hash = content_hash
            self.in_progress[identity].followers.append(task)
            return
        ruling = self.library.decide(task, content_hash)
        if ruling is not Ruling.WORK:
            self._needs_nothing(task, ruling, identity)
            return
        with self.catalog.session() as session:
            ours = session.get_one(Video, identity).state not in SEARCHABLE
        work = Work(task, identity, frozenset(self.writer.committed(identity)), ours)
        self.in_progress[identity] = work
        self.ready.append(work)

    def _decoded(self, work: Work, end: Ended) -> None:
        failure = end.failure
        if work.task.has_changed():  # whatever the decoder says is of something else
            failure = FileFailed("changed", CHANGED)
            self._take_back(work)
        if failure is not None:
            self._give_up(work, failure)
            return
        work.duration_s, work.expected = end.duration_s, len(plan(end.duration_s))
        if end.cut is not None:
            work.problem = (end.cut.code, end.cut.message)
        if not work.waiting:  # else the batch that holds its last clips decides
            self._keep_or_give_up(work, [])

    def _encode_batch(self) -> None:
        batch, self.batch = self.batch, []
        results = encode(self.retriever, [clip for _, clip in batch])
        for _ in batch:
            self.feed.slots.release()
        by_work: dict[Work, list[NewClip]] = {}
        for (work, _), result in zip(batch, results, strict=True):
            work.waiting -= 1
            clips = by_work.setdefault(work, [])
            if isinstance(result, NewClip):
                clips.append(result)
            else:
                work.failed = work.failed or result
        for work, clips in by_work.items():
            self._keep_or_give_up(work, clips)

    def _keep_or_give_up(self, work: Work, clips: list[NewClip]) -> None:
        """Keep the clips of a file that is well so far; give up one that is not, once nothing of it is under way."""
        if work.failed is None and work.task.has_changed():  # a run that ends before the file's end takes nothing back
            work.failed = FileFailed("changed", CHANGED)
        if work.failed is None:
            self._commit(work, clips)
        elif work.expected is not None and not work.waiting:
            self._give_up(work, work.failed)

    def _commit(self, work: Work, clips: list[NewClip]) -> None:
        """Make clips durable; with a file's last one goes all that makes it searchable."""
        last = work.expected is not None and not work.waiting
        total = max(work.expected or len(plan(work.seen.duration_s if work.seen else 0.0)), 1)
        state = VideoState.COMMITTING if last else VideoState.ENCODING
        progress = min((len(work.done) + work.committed + len(clips)) / total, 1.0)
        self.reporter.file(FileEvent(work.task.file_id, work.task.uri, state, progress))

        def also(session: Session) -> None:
            if last:
                self._complete(session, work)
            else:
                self._move(session, work, state, progress)

        self.writer.commit(work.video_id, clips, also)
        work.committed += len(clips)
        if last:
            self._completed(work, share=work.committed / total)

    def _complete(self, session: Session, work: Work) -> None:
        """Write what is known of the video now, and settle the file."""
        video, seen = undeleted(session, work.video_id), work.seen
        if video is None:
            work.deleted = True
            return
        assert seen is not None and work.expected is not None
        beyond = Clip.fingerprint == self.retriever.fingerprint, Clip.ordinal >= work.expected
        session.execute(delete(Clip).where(Clip.video_id == work.video_id, *beyond))
        video.state = VideoState.PARTIAL if work.problem else VideoState.READY
        video.code, video.message = work.problem or (None, None)
        video.format, video.duration_s = seen.format[:64], work.duration_s
        video.has_video, video.has_audio = seen.has_video, seen.has_audio
        video.width, video.height, video.missing_since = seen.width, seen.height, None
        video.recorded_at = video.recorded_at or _moment(seen.recorded_at)
        detail = {"code": video.code, "message": video.message}
        self.lease.settle(work.task.file_id, video.state, work.video_id, detail=detail, session=session)

    def _completed(self, work: Work, share: float) -> None:
        self.in_progress.pop(work.video_id)
        self.report.media_s += work.duration_s * share
        if work.deleted:
            self._needs_nothing(work.task, Ruling.DELETED, work.video_id)
        else:
            state = VideoState.PARTIAL if work.problem else VideoState.READY
            self.report.counts.partial += state is VideoState.PARTIAL
            self.report.counts.encoded += state is VideoState.READY
            code, message = work.problem or (None, None)
            self.reporter.file(FileEvent(work.task.file_id, work.task.uri, state, 1.0, code, message))
        for task in work.followers:
            self._identified(task, task.content_hash or "")

    def _give_up(self, work: Work, failure: FileFailed) -> None:
        """The file failed: drop its clips, and try again at once where that may help."""
        kept = [(other, clip) for other, clip in self.batch if other is not work]
        for _ in range(len(self.batch) - len(kept)):
            self.feed.slots.release()
        self.batch, work.failed = kept, failure
        self.in_progress.pop(work.video_id, None)
        again = self._fail(work.task, failure, work)
        if again:
            self.to_hash.append(work.task)
        for task in work.followers:
            if again or work.deleted or failure.code in NOT_CHARGED:
                self.to_hash.append(task)
            else:
                self._fail(task, failure)

    def _take_back(self, work: Work) -> None:
        """Drop the clips that this work committed: some may show what came later, under the name of what was hashed."""
        fresh = Clip.fingerprint == self.retriever.fingerprint, Clip.ordinal.not_in(work.done)
        with self.catalog.transaction() as session:
            session.execute(delete(Clip).where(Clip.video_id == work.video_id, *fresh))

    def _fail(self, task: Task, failure: FileFailed, work: Work | None = None) -> bool:
        """Write a failure down; True when the file should be tried again in this run."""
        if failure.code == "not_found":
            self._settled(task, VideoState.MISSING, None)
            self.report.counts.found -= 1
            return False
        with self.catalog.transaction() as session:
            state, attempts = self._record(session, task, failure, work)
        if work is not None and work.deleted:
            self._needs_nothing(task, Ruling.DELETED, work.video_id)
            return False
        self.reporter.file(FileEvent(task.file_id, task.uri, state, 0.0, failure.code, failure.message))
        if state is VideoState.FAILED:
            self.report.failed.append(Failure(task.uri, failure.code, failure.message, attempts))
        return state is VideoState.QUEUED

    def _record(self, session: Session, task: Task, failure: FileFailed, work: Work | None) -> tuple[VideoState, int]:
        """Write a failure into the catalog; returns the file's state now and its attempts so far."""
        video = undeleted(session, work.video_id) if work else None
        if work is not None and video is None:
            work.deleted = True
            return VideoState.DELETED, 0
        one, charge = task.found, failure.code not in NOT_CHARGED
        identity = work.video_id if work else None
        attempts = failures.record(
            session, task.root_id, one.path, failure.code, failure.message,
            size=one.size, mtime_ns=one.mtime_ns, video_id=identity, charge=charge,
        )  # fmt: skip
        again = failure.code in RETRY_NOW and attempts < self.settings.max_attempts
        state = VideoState.QUEUED if again else VideoState.FAILED
        if work is not None and video is not None and work.state_is_ours:
            video.state, video.code, video.message = state, failure.code, failure.message
        if again:
            self.lease.move(task.file_id, state, progress=0.0, session=session)
        else:
            detail = {"code": failure.code, "message": failure.message, "attempts": attempts}
            self.lease.settle(task.file_id, state, identity, detail=detail, session=session)
        return state, attempts

    # ---- small things ------------------------------------------------------------------------------------------------

    def _enter(self, work: Work, state: VideoState) -> None:
        with self.catalog.transaction() as session:
            self._move(session, work, state, 0.0)
        self.reporter.file(FileEvent(work.task.file_id, work.task.uri, state))

    def _move(self, session: Session, work: Work, state: VideoState, progress: float) -> None:
        self.lease.move(work.task.file_id, state, progress=progress, session=session)
        if work.state_is_ours and (video := undeleted(session, work.video_id)) is not None:
            video.state = state

    def _settled(self, task: Task, state: VideoState, identity: str | None) -> None:
        self.lease.settle(task.file_id, state, identity)
        self.reporter.file(FileEvent(task.file_id, task.uri, state, 1.0))

    def _needs_nothing(self, task: Task, ruling: Ruling, identity: str) -> None:
        if ruling is Ruling.DUPLICATE:
            self.report.counts.duplicate += 1
        else:
            self.report.counts.unchanged += 1
        self._settled(task, VideoState.DELETED if ruling is Ruling.DELETED else VideoState.READY, identity)


def _moment(text: str | None) -> datetime | None:
    """A file's own account of when it was recorded, if it is a sensible one."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if EARLIEST <= moment <= now() else None
