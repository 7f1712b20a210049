"""`htav gather`: progress on stderr, a short account (or one JSON document) on stdout."""

import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.data.sources import gather


def run_gather(out: Path, source: str, packages: Path | None, json_output: bool) -> None:
    """Gather one source and say what it gave."""
    started = time.monotonic()
    columns = (TextColumn("gathering {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(source, total=None)
        report = gather(source, out, packages, lambda done, total: progress.update(task, completed=done, total=total))
    took = time.monotonic() - started
    if json_output:
        document = {
            "out": str(out / source), "files": report.files, "media_s": report.media_s, "took_s": took,
            "groups": report.groups, "splits": report.splits, "dropped": report.dropped,
        }  # fmt: skip
        sys.stdout.write(json.dumps(document) + "\n")
        return
    console = Console()
    account = f"{report.files} files, {report.media_s / 3600:.2f} h, of {len(report.groups)} groups"
    console.print(f"{account}, in {out / source} ({took:.0f} s)")
    for reason, count in report.dropped.most_common():
        console.print(f"left out: {count} {reason}")
