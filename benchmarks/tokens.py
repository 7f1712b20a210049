"""How long a shortlist's token sets take to read: 100 random records, 7 MB, from memory and from the disk (T26).

    python benchmarks/tokens.py [--records 2000] [--rounds 40] [--folder DIR]

Name a folder on the disk that is meant: /tmp may be memory. Cold means that the kernel was told to forget the file.
"""

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from indexer.segments import Location, SegmentFile, SegmentReader, segment_path

SHORTLIST, RECORD_BYTES = 100, 70_000
GOALS_MS = {"warm": 5.0, "cold": 25.0}


def write(folder: Path, records: int) -> list[Location]:
    noise, places = random.Random(0), []
    with SegmentFile.create(folder, "f" * 16, 256) as segment:
        for _ in range(records // SHORTLIST):
            places += segment.append([noise.randbytes(RECORD_BYTES) for _ in range(SHORTLIST)])
    return places


def read(folder: Path, places: list[Location], rounds: int, *, cold: bool) -> list[float]:
    """Milliseconds of each round; the records are checked beforehand, as they are once in a process."""
    reader, chance, took = SegmentReader(folder), random.Random(1), []
    reader.read(places)
    handle = os.open(segment_path(folder, places[0].segment_id), os.O_RDONLY)
    try:
        for _ in range(rounds):
            if cold:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            began = time.perf_counter()
            records = reader.read(chance.sample(places, SHORTLIST))
            took.append(1000 * (time.perf_counter() - began))
            assert None not in records
    finally:
        os.close(handle)
    return took


def main(
    records: Annotated[int, typer.Option(min=SHORTLIST, help="Records in the segment.")] = 2000,
    rounds: Annotated[int, typer.Option(help="Shortlists that are read.")] = 40,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write; the folder for temporary files if left out.")
    ] = None,
) -> None:
    """Measure the token store on this machine."""
    table = Table("read", "p50 ms", "p95 ms", "goal p50 ms", title=f"{SHORTLIST} of {records} records")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        places = write(Path(place), records)
        for name, goal in GOALS_MS.items():
            p50, p95 = np.percentile(read(Path(place), places, rounds, cold=name == "cold"), [50, 95])
            table.add_row(name, f"{p50:.1f}", f"{p95:.1f}", f"{goal:.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
