"""`htav synth`: progress on stderr, a one-line account (or one JSON document) on stdout."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.data.synthesis.library import SAMPLE_FILES, Report, sample_library, synthesise
from model.data.synthesis.request import Request


def run_synth(options: dict[str, Any], json_output: bool) -> None:
    """Make what the options ask for and say what was made."""
    started, out = time.monotonic(), Path(options["out"])
    columns = (TextColumn("making {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        if options["kind"] == "sample":
            task = progress.add_task("sample", total=SAMPLE_FILES)
            items = sample_library(out, options["seed"], lambda done: progress.update(task, completed=done))
            report = Report(len(items), sum(item.duration_s for item in items))
        else:
            request = Request(**options)
            task = progress.add_task(request.kind, total=request.count)
            report = synthesise(request, lambda done: progress.update(task, completed=done))
    took = time.monotonic() - started
    if json_output:
        document = {"out": str(out), "files": report.files, "media_s": report.media_s, "took_s": took}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        Console().print(f"{report.files} files, {report.media_s:.0f} s of media, in {out} ({took:.1f} s)")
