"""`htav testset`: progress on stderr, one line a set (or one JSON document) on stdout."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from model.bars import Bars
from model.evaluation.testsets.build import build_sets


def run_testset(out: Path, data: Path, names: Sequence[str], keep_record: bool, json_output: bool) -> None:
    """Make and check test sets, and say where they are."""
    started = time.monotonic()
    with Bars.of_command(json_output) as bars:
        built = build_sets(out, data, names, keep_record=keep_record, progress=bars)
    took = round(time.monotonic() - started, 1)
    if json_output:
        sets = {one.name: {"folder": str(one.folder), "state": one.state, **one.digests} for one in built}
        sys.stdout.write(json.dumps({"out": str(out), "took_s": took, "sets": sets}) + "\n")
        return
    console = Console()
    for one in built:
        what = f"{one.digests['items']} items, {one.digests['queries']} queries"
        console.print(f"{one.name}: {one.state}: {what}: {one.folder}", markup=False, soft_wrap=True)
