"""Progress of long work on stderr: one bar a stage, and in a log, where none can move, a line now and then."""

import sys
import time
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY: Final = 30.0  # seconds from one line to the next


class Bars:
    """Bars on stderr or on `console`. `quiet` leaves them out: short work then says nothing, long work its lines."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console, disable=quiet,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.said = time.monotonic()

    @classmethod
    def of_command(cls, json_output: bool = True) -> "Bars":
        """Bars of a command; none in a pipe where its answer is JSON: a program reads it."""
        return cls(quiet=json_output and not sys.stderr.isatty())

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, what: str, done: int, of: int | None, note: str = "") -> None:
        """Move the bar called `what`; `of` is None as long as nobody knows, and `note` stands behind it."""
        if what not in self.tasks:
            self._make_room()
            self.tasks[what] = self.progress.add_task(what, total=of, note=note)
        self.progress.update(self.tasks[what], completed=done, total=of, note=note, visible=True)
        if not self.console.is_terminal and time.monotonic() - self.said >= EVERY:
            self.say(f"{what}: {done}{f' of {of}' if of else ''}{note and f', {note}'}")
            self.said = time.monotonic()

    def below(self, title: str) -> "Bars":
        """The progress of one part of the work, under its own title."""
        self.say(title)
        for task in self.tasks.values():
            self.progress.update(task, visible=False)
        self.tasks.clear()
        return self

    def _make_room(self) -> None:
        """Hide the bars that are full: with many, the one that moves would be below the screen."""
        for task in self.progress.tasks:
            if task.finished:
                self.progress.update(task.id, visible=False)

    def say(self, message: str) -> None:
        """A line above the bars."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)
