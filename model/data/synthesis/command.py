"""`htav synth`: progress on stderr, a one-line account (or one JSON document) on stdout."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from model.bars import Bars
from model.data.synthesis.library import SAMPLE_FILES, Report, sample_library, synthesise
from model.data.synthesis.request import Request


def run_synth(options: dict[str, Any], json_output: bool) -> None:
    """Make what the options ask for and say what was made."""
    started, out = time.monotonic(), Path(options["out"])
    with Bars() as bars:
        if options["kind"] == "sample":
            items = sample_library(out, options["seed"], lambda done: bars("making sample", done, SAMPLE_FILES))
            report = Report(len(items), sum(item.duration_s for item in items))
        else:
            request = Request(**options)
            report = synthesise(request, lambda done: bars(f"making {request.kind}", done, request.count))
    took = time.monotonic() - started
    if json_output:
        document = {"out": str(out), "files": report.files, "media_s": report.media_s, "took_s": took}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        Console().print(f"{report.files} files, {report.media_s:.0f} s of media, in {out} ({took:.1f} s)", markup=False)
