"""What a run shows and writes down: progress on stderr, `log.csv`, TensorBoard files when that is installed."""

import csv
import importlib.util
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console

from model.bars import Bars

COLUMNS = ("step", "seconds", "name", "value")


class Report:
    """Averages losses between two log lines; a resumed run goes on in the same files, less what it is about to redo.

    Without a folder nothing is written: of processes that train together one does.
    """

    def __init__(self, folder: Path | None, *, resumed_at: int = 0, quiet: bool = False) -> None:
        self.bars = Bars(quiet, Console(stderr=True, quiet=quiet))
        self.file = None if folder is None else _log(folder / "log.csv", resumed_at)
        self.board = None if folder is None else _tensorboard(folder / "tensorboard", resumed_at)
        self.sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __enter__(self) -> "Report":
        self.bars.__enter__()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bars.__exit__()
        if self.file is not None:
            self.file.close()
        if self.board is not None:
            self.board.close()

    def say(self, message: str) -> None:
        """A line above the bars."""
        self.bars.say(message)

    def add(self, name: str, value: float) -> None:
        """One more value into the average of `name`."""
        total = self.sums[name]
        total[0] += value
        total[1] += 1.0

    def log(self, step: int, seconds: float, values: dict[str, float] | None = None) -> dict[str, float]:
        """Write the averages since the last time, and `values` as they are. Returns what was written."""
        written = {name: total / count for name, (total, count) in self.sums.items()} | (values or {})
        self.sums.clear()
        if self.file is not None:
            rows = ([step, f"{seconds:.1f}", name, f"{value:.6g}"] for name, value in written.items())
            csv.writer(self.file).writerows(rows)
            self.file.flush()
        if self.board is not None:
            for name, value in written.items():
                self.board.add_scalar(name, value, step)
        return written


def _log(path: Path, resumed_at: int) -> TextIO:
    """The log, opened to go on in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _forget_after(path, resumed_at)
    log = path.open("a", newline="", encoding="utf-8")
    if log.tell() == 0:
        csv.writer(log).writerow(COLUMNS)
    return log


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
