"""`htav gather`: progress on stderr, a short account (or one JSON document) on stdout."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from model.bars import Bars
from model.data.sources import gather

if TYPE_CHECKING:
    from model.data.sources.listen import Match


def run_gather(out: Path, source: str, packages: Path | None, listened: int, json_output: bool) -> None:
    """Gather one source, say what it gave, and how well `listened` of its transcripts fit their sounds."""
    started = time.monotonic()
    with Bars() as bars:
        report = gather(source, out, packages, lambda done, total: bars(f"gathering {source}", done, total))
    match = listen_to(out / source, listened)
    took = time.monotonic() - started
    if json_output:
        document = {
            "out": str(out / source), "files": report.files, "media_s": report.media_s, "took_s": took,
            "groups": report.groups, "splits": report.splits, "dropped": report.dropped,
            "listen": match and asdict(match),
        }  # fmt: skip
        sys.stdout.write(json.dumps(document) + "\n")
        return
    console = Console()
    account = f"{report.files} files, {report.media_s / 3600:.2f} h, of {len(report.groups)} groups"
    console.print(f"{account}, in {out / source} ({took:.0f} s)", markup=False)
    for reason, count in report.dropped.most_common():
        console.print(f"left out: {count} {reason}")
    if match:
        figures = f"{match.own:.2f} nats a character, others' of its length at {match.other:.2f}"
        console.print(
            f"{match.clips} transcripts align at {figures}; the own one is better {match.wins:.0%} of the time"
        )


def listen_to(folder: Path, count: int) -> "Match | None":
    """The alignment of `count` transcripts; none where it is not asked for, as it needs torch."""
    if count <= 0:
        return None
    from model.data.sources.listen import listen

    return listen(folder, count)
