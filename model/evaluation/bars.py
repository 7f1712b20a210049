"""Progress of long work on stderr: one bar a stage, and in a log, where none can move, a line now and then."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

EVERY: Final = 30.0  # seconds from one line to the next


class Bars:
    """Progress on stderr. `quiet` leaves out the bars, so that short work says nothing; long work says its lines."""

    def __init__(self, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self.tasks: dict[str, TaskID] = {}
        self.said = time.monotonic()

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=of)
        self.progress.update(self.tasks[what], completed=done)
        if not self.progress.console.is_terminal and time.monotonic() - self.said >= EVERY:
            self.progress.console.print(f"{what}: {done} of {of}", markup=False, highlight=False, soft_wrap=True)
            self.said = time.monotonic()

    def below(self, title: str) -> Callable[[str, int, int], None]:
        """The progress of one part of the work, under its own title."""
        self.progress.console.print(title, markup=False, highlight=False, soft_wrap=True)
        self.tasks.clear()
        return self
