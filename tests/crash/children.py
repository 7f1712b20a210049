"""What the processes do that the crash tests kill. Importable, because a child imports what it runs."""

import errno
import os
import resource
import zlib
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from indexer.catalog import Catalog, Video, VideoState
from indexer.config import IndexSettings
from indexer.errors import InsufficientStorage
from indexer.segments import Location, SegmentFile, align
from indexer.snapshot import open_current
from indexer.snapshot_files import COARSE, snapshot_dir
from indexer.writer import ClipWriter, NewClip
from tests.index_samples import add_videos, clips, coarse, ident, release, writer
from tests.processes import kill_myself

BUFFER_BYTES = 8192
BIG_RECORD = 1 << 20


def index_forever(settings: IndexSettings, acknowledgements: Path, first: int, buffered: bool) -> None:
    """Finish what an earlier life left, then index new videos, in two commits each, publishing now and then."""
    if buffered:
        SegmentFile.append = _append_to_a_buffer  # type: ignore[method-assign]
    catalog = Catalog.open(settings)
    handle = os.open(acknowledgements, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with writer(settings, catalog) as open_writer:
        number = first
        for number in _begun(catalog, first):
            index_video(open_writer, number)
            os.write(handle, b"%d\n" % number)
        while True:
            number += 1
            add_videos(catalog, [number], VideoState.ENCODING)
            index_video(open_writer, number)
            os.write(handle, b"%d\n" % number)
            if number % 5 == 0:
                release(settings, catalog)


def _begun(catalog: Catalog, below: int) -> Sequence[int]:
    """Numbers of videos that have a row and are not ready; the size of a sample's file is its number."""
    with catalog.session() as session:
        videos = session.scalars(select(Video).where(Video.state == VideoState.ENCODING)).all()
        return sorted(video.uris[0].size for video in videos if video.uris[0].size <= below)


def index_video(open_writer: ClipWriter, number: int) -> None:
    """Commit a video's clips in two parts; it is ready with the last."""

    def ready(session: Session) -> None:
        session.get_one(Video, ident(number)).state = VideoState.READY

    made = clips(number)
    open_writer.commit(ident(number), made[:1])
    open_writer.commit(ident(number), made, also=ready)


def _append_to_a_buffer(self: SegmentFile, records: Sequence[bytes]) -> list[Location]:
    """The mistake that the control makes: rows are committed while their bytes sit in this process."""
    waiting: bytearray = self.__dict__.setdefault("waiting", bytearray())
    locations = []
    for record in records:
        start = align(self.end)
        waiting += b"\0" * (start - self.end) + record
        locations.append(Location(self.id, start, len(record), zlib.crc32(record)))
        self.end = start + len(record)
    if len(waiting) > BUFFER_BYTES:
        os.pwrite(self._handle, waiting, self.end - len(waiting))
        waiting.clear()
    return locations


def publish_and_die(settings: IndexSettings, step: str) -> None:
    """Publish, and be killed the moment that `step` is done."""

    def on_step(name: str) -> None:
        if name == step:
            kill_myself()

    release(settings, Catalog.open(settings), force=True, on_step=on_step)


def overwrite_and_die(settings: IndexSettings) -> None:
    """How not to publish: write over the files that are being served."""
    catalog = Catalog.open(settings)
    current = open_current(settings.data_dir, catalog)
    with (snapshot_dir(settings.data_dir, current.id) / COARSE).open("r+b") as file:
        file.write(b"half of a new index")
        file.flush()
        kill_myself()


def fill_the_disk(settings: IndexSettings, first: int, limit: int | None) -> None:
    """Write until the disk refuses, then go on searching; with `limit`, go on writing once it is lifted."""
    if limit is not None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    catalog = Catalog.open(settings)
    before = open_current(settings.data_dir, catalog)
    expected = before.search(coarse(0, 0), 5)[1].tolist()
    number = first
    refused = False
    with writer(settings, catalog) as open_writer:
        while not refused and number < first + 100:
            number += 1
            try:
                add_videos(catalog, [number], VideoState.ENCODING)
                open_writer.commit(ident(number), [_big(number)])
            except InsufficientStorage as err:
                refused = err.code == "insufficient_storage" and _from_the_disk(err)
        assert refused, "the disk took everything"
        assert before.search(coarse(0, 0), 5)[1].tolist() == expected
        assert None not in before.fetch(before.clip_ids[:3])
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            open_writer.commit(ident(number), [_big(number)])
    catalog.close()


def _from_the_disk(err: BaseException) -> bool:
    """Refused by the system call, not by a look at the free space before it."""
    cause = err.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EFBIG)


def _big(number: int) -> NewClip:
    clip = clips(number, 1)[0]
    return NewClip(0, 0.0, 1.0, os.urandom(BIG_RECORD), clip.coarse)
