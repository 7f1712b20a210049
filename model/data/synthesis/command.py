"""`htav synth`: progress on stderr, a one-line account (or one JSON document) on stdout."""

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.data.synthesis.library import synthesise
from model.data.synthesis.request import Request


def run_synth(options: dict[str, Any], json_output: bool) -> None:
    """Make what the options ask for and say what was made."""
    started = time.monotonic()
    request = Request(**options)
    columns = (TextColumn("making {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(request.kind, total=request.count)
        report = synthesise(request, lambda done: progress.update(task, completed=done))
    took = time.monotonic() - started
    if json_output:
        document = {"out": str(request.out), "files": report.files, "media_s": report.media_s, "took_s": took}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        Console().print(f"{report.files} files, {report.media_s:.0f} s of media, in {request.out} ({took:.1f} s)")
