"""What a run says while it works, and what it says at the end.

The pipeline calls a `Reporter`; who listens is none of its business: nobody, a test, a terminal, or the job's history
in the catalog that the API shows. The report's JSON is relied on from outside (docs/indexing.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from indexer.failures import is_settled
from indexer.jobs import Lease
from indexer.tables import VideoState


@dataclass(frozen=True)
class FileEvent:
    """A file has come to a state; `progress` is the share of its clips that is safe on disk."""

    file_id: int
    uri: str
    state: VideoState
    progress: float = 0.0
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Failure:
    """A file that is not indexed, and why."""

    uri: str
    code: str
    message: str
    attempts: int

    def to_json(self) -> dict[str, Any]:
        return {"uri": self.uri, "code": self.code, "message": self.message, "attempts": self.attempts}


@dataclass
class Counts:
    """found = encoded + unchanged + duplicate + partial + failed; `missing` are known files that are gone."""

    found: int = 0
    encoded: int = 0
    unchanged: int = 0
    duplicate: int = 0
    partial: int = 0
    failed: int = 0
    missing: int = 0


@dataclass
class IndexReport:
    """The outcome of a run; `media_s` is the media encoded by it."""

    job_id: str = ""
    snapshot: str | None = None
    took_s: float = 0.0
    media_s: float = 0.0
    counts: Counts = field(default_factory=Counts)
    failed: list[Failure] = field(default_factory=list)
    cancelled: bool = False

    @property
    def realtime_factor(self) -> float:
        return self.media_s / self.took_s if self.took_s else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "snapshot": self.snapshot,
            "took_s": round(self.took_s, 3),
            "media_s": round(self.media_s, 3),
            "realtime_factor": round(self.realtime_factor, 3),
            "counts": vars(self.counts).copy(),
            "failed": [failure.to_json() for failure in sorted(self.failed, key=lambda one: one.uri)],
        }


class Reporter(Protocol):
    """Someone who wants to know. Calls come from one thread, and must be quick."""

    def scanned(self, found: int, pending: int) -> None: ...

    def file(self, event: FileEvent) -> None: ...

    def note(self, text: str) -> None: ...

    def finished(self, report: IndexReport) -> None: ...


class NullReporter:
    """Nobody listens."""

    def scanned(self, found: int, pending: int) -> None:
        pass

    def file(self, event: FileEvent) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def finished(self, report: IndexReport) -> None:
        pass


class DatabaseReporter(NullReporter):
    """Writes to the job's history, where the API reads it.

    Files' states are written by the run itself, in the transactions that make them true.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    def scanned(self, found: int, pending: int) -> None:
        self.lease.event("scanned", {"found": found, "pending": pending})

    def note(self, text: str) -> None:
        self.lease.event("note", {"text": text})


class RichReporter(NullReporter):
    """A progress bar on stderr, and a line for each file that failed. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self.progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self.bar = self.progress.add_task("looking for media files", total=None)

    def __enter__(self) -> "RichReporter":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def scanned(self, found: int, pending: int) -> None:  # noqa: ARG002
        self.progress.update(self.bar, total=pending, completed=0, description="indexing")

    def file(self, event: FileEvent) -> None:
        if is_settled(event.state):
            self.progress.advance(self.bar)
        if event.state is VideoState.FAILED:
            self.console.print(
                Text("failed", "red"), f"{event.uri}: {event.message} ({event.code})", highlight=False, markup=False
            )
        else:
            self.progress.update(self.bar, description=f"{event.state.value} {event.uri[-48:]}")

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


class Reporters(NullReporter):
    """Several listeners as one."""

    def __init__(self, members: Sequence[Reporter]) -> None:
        self.members = members

    def scanned(self, found: int, pending: int) -> None:
        for member in self.members:
            member.scanned(found, pending)

    def file(self, event: FileEvent) -> None:
        for member in self.members:
            member.file(event)

    def note(self, text: str) -> None:
        for member in self.members:
            member.note(text)

    def finished(self, report: IndexReport) -> None:
        for member in self.members:
            member.finished(report)
