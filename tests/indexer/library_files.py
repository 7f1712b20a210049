"""A small library of real media files and the means to index it, for the tests of the pipeline and its neighbours."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
from sqlalchemy import select

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.pipeline import index_paths
from indexer.progress import FileEvent, IndexReport, NullReporter
from indexer.snapshot import open_current
from indexer.tables import Clip, Video, VideoState
from model import Retriever
from tests.media_files import clock, tone, write_media

SIZE = (96, 64)


class RecordingReporter(NullReporter):
    """Keeps all it hears."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.events: list[FileEvent] = []
        self.notes: list[str] = []
        self.reports: list[IndexReport] = []

    def scanned(self, found: int, pending: int) -> None:  # noqa: ARG002
        self.pending.append(pending)

    def file(self, event: FileEvent) -> None:
        self.events.append(event)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finished(self, report: IndexReport) -> None:
        self.reports.append(report)

    def states(self, uri: str) -> list[VideoState]:
        """The states a file went through, repeats left out."""
        states = [event.state for event in self.events if event.uri == uri]
        return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]


def seen(path: Path, seconds: float = 2.0, shade: int = 0, fps: int = 10) -> Path:
    """A video without sound; another shade is another content."""
    length = seconds + 10
    return write_media(
        path, seconds=seconds, fps=fps, size=SIZE, picture=lambda time_s: clock(*SIZE, time_s + shade / 10, length)
    )


def seen_and_heard(path: Path, seconds: float = 2.0, hertz: float = 440.0) -> Path:
    sound = tone(seconds, 16_000, hertz=hertz)
    return write_media(path, seconds=seconds, fps=10, size=SIZE, sound=sound, sound_rate=16_000)


def heard(path: Path, seconds: float = 2.0) -> Path:
    return write_media(path, codec=None, sound=tone(seconds, 16_000), sound_rate=16_000, sound_codec="pcm_s16le")


def cut(path: Path, share: float) -> Path:
    """Leave the first part of a file that is readable from its start."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def spoil_sound(path: Path) -> Path:
    """Overwrite the content of every sound packet."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            raw = bytes(packet)
            at = data.find(raw) if len(raw) > 8 else -1
            if at >= 0:
                data[at : at + len(raw)] = b"\xff" * len(raw)
    path.write_bytes(data)
    return path


def overwrite_table(settings: IndexSettings, name: str) -> None:
    """Damage an SQLite catalog that nobody has open, where this table begins."""
    path = settings.data_dir / "catalog.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name])
        ((size,),) = connection.execute("PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def small_library(folder: Path) -> Path:
    """A long video, one with sound, one that is sound alone, and what is no media at all."""
    (folder / "below").mkdir(parents=True)
    seen(folder / "long.mp4", seconds=20.0)
    seen_and_heard(folder / "both.mp4")
    heard(folder / "below" / "voice.wav")
    (folder / "manifest.jsonl").write_text('{"file": "both.mp4", "texts": ["never read"]}\n')
    (folder / "notes.txt").write_text("not media")
    return folder


class Bench:
    """A data folder, a model and what can be asked of them."""

    def __init__(self, settings: IndexSettings, retriever: Retriever) -> None:
        self.settings, self.retriever = settings, retriever
        self.heard = RecordingReporter()

    def index(self, *paths: Path, retry: bool = False, settings: IndexSettings | None = None) -> IndexReport:
        self.heard = RecordingReporter()
        return index_paths(paths, settings or self.settings, self.retriever, self.heard, retry=retry)

    def videos(self) -> dict[str, Video]:
        """The catalog's videos by the name of their first file, loaded whole."""
        catalog = Catalog.open(self.settings)
        with catalog.session() as session:
            rows = session.scalars(select(Video)).all()
            named = {uri.path: video for video in rows for uri in video.uris}
        catalog.close()
        return named

    def clips(self) -> list[tuple[str, int, float, float]]:
        catalog = Catalog.open(self.settings)
        with catalog.session() as session:
            query = select(Clip.video_id, Clip.ordinal, Clip.start_s, Clip.end_s).order_by(Clip.video_id, Clip.ordinal)
            rows = [tuple(row) for row in session.execute(query)]
        catalog.close()
        return rows


def counts(**changed: int) -> dict[str, int]:
    names = ("found", "encoded", "unchanged", "duplicate", "partial", "failed", "missing")
    return dict.fromkeys(names, 0) | changed


def searchable(bench: Bench) -> dict[str, int]:
    """Video id -> clips of the published snapshot."""
    with closing(Catalog.open(bench.settings)) as catalog:
        snapshot = open_current(bench.settings.data_dir, catalog, bench.retriever.fingerprint)
        vector = np.ones(3 * bench.retriever.config.width, np.float32)
        _, ids = snapshot.search(vector, 1000)
        rows = snapshot.clip_rows([int(one) for one in ids if one >= 0])
        assert all(tokens is not None for tokens in snapshot.fetch([row.clip_id for row in rows]))
        found: dict[str, int] = {}
        for row in rows:
            found[row.video_id] = found.get(row.video_id, 0) + 1
        return found


def stored(bench: Bench) -> list[bytes]:
    """The token records of all clips, in the order of the files."""
    with closing(Catalog.open(bench.settings)) as catalog:
        snapshot = open_current(bench.settings.data_dir, catalog, bench.retriever.fingerprint)
        _, ids = snapshot.search(np.ones(3 * bench.retriever.config.width, np.float32), 1000)
        rows = sorted(
            snapshot.clip_rows([int(one) for one in ids if one >= 0]), key=lambda row: (row.video_id, row.start_s)
        )
        sets = snapshot.fetch([row.clip_id for row in rows])
        return [tokens.to_bytes() for tokens in sets if tokens is not None]


def ends_after(batches: int) -> Callable[[Retriever, list[Any]], Any]:
    """`Retriever.encode_clips` as it is for so many batches; then the process is told to end."""
    encode, done = Retriever.encode_clips, []

    def encode_clips(retriever: Retriever, clips: list[Any]) -> Any:
        if len(done) == batches:
            raise SystemExit
        done.append(clips)
        return encode(retriever, clips)

    return encode_clips


def wait_for(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
