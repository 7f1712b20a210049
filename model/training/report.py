"""What a run shows and writes down: progress on stderr, `log.csv`, TensorBoard files when that is installed."""

import csv
import importlib.util
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

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

COLUMNS = ("step", "seconds", "name", "value")


class Report:
    """Averages losses between two log lines; a resumed run goes on in the same files, less what it is about to redo."""

    def __init__(self, folder: Path, *, resumed_at: int = 0, quiet: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.console = Console(stderr=True, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console, disable=quiet,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.path = folder / "log.csv"
        _forget_after(self.path, resumed_at)
        self.file = self.path.open("a", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        if self.file.tell() == 0:
            self.rows.writerow(COLUMNS)
        self.board = _tensorboard(folder / "tensorboard", resumed_at)
        self.sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __enter__(self) -> "Report":
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()

    def advance(self, what: str, done: int, of: int | None, note: str = "") -> None:
        """Move the bar called `what`."""
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=of, note=note)
        self.progress.update(self.tasks[what], completed=done, total=of, note=note)

    def say(self, message: str) -> None:
        self.console.print(message, highlight=False, markup=False)

    def add(self, name: str, value: float) -> None:
        """One more value into the average of `name`."""
        total = self.sums[name]
        total[0] += value
        total[1] += 1.0

    def log(self, step: int, seconds: float, values: dict[str, float] | None = None) -> dict[str, float]:
        """Write the averages since the last time, and `values` as they are. Returns what was written."""
        written = {name: total / count for name, (total, count) in self.sums.items()} | (values or {})
        self.sums.clear()
        for name, value in written.items():
            self.rows.writerow([step, f"{seconds:.1f}", name, f"{value:.6g}"])
            if self.board is not None:
                self.board.add_scalar(name, value, step)
        self.file.flush()
        return written


def _forget_after(path: Path, step: int) -> None:
    """Drop the rows behind `step`: the steps they tell of were lost with the process and are run again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == len(COLUMNS)]
    kept = [row for row in rows if row[0] == COLUMNS[0] or int(row[0]) <= step]
    beside = path.with_suffix(".partial")
    with beside.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(kept)
    beside.replace(path)


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer, or None without the extra `train`."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
