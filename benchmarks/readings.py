"""What the shortlist's second look costs: a query's letters in all readings, beside the coarse index's exact search.

    python benchmarks/readings.py [--clips 10000] [--clips 100000] [--rounds 20]

Letters and vectors are random; the readings are from nothing to as long as fast speech fills a clip with.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from indexer.coarse import FlatIndex
from indexer.readings import Readings

WIDTH, SHORTLIST = 768, 100
QUERIES = {"short": "themeetingmovedtotuesday", "long": "themeetingmovedtotuesdayandnobodyknewofitbeforenoon"}
LONGEST = 200  # letters that twelve seconds of fast speech have
LETTERS = np.frombuffer(b"etaoinshrdlu", np.uint8)


def milliseconds(search: Callable[[], object], rounds: int) -> float:
    """The median of `rounds` searches, after one that does not count."""
    search()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        search()
        took.append(1000 * (time.perf_counter() - began))
    return float(np.median(took))


def main(
    clips: Annotated[list[int] | None, typer.Option(help="Clips in the library; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(help="Searches of each kind.")] = 20,
) -> None:
    """Measure both looks on this machine."""
    table = Table("clips", "query", "coarse ms", "letters ms", "ratio", title="the two looks of a shortlist")
    for n in clips or [1_000, 10_000, 100_000]:
        rng = np.random.default_rng(n)
        index = FlatIndex.build(rng.standard_normal((n, WIDTH)).astype(np.float16))
        readings = Readings.build([rng.choice(LETTERS, rng.integers(0, LONGEST + 1)).tobytes() for _ in range(n)])
        vector = rng.standard_normal((1, WIDTH)).astype(np.float32)
        coarse = milliseconds(partial(index.search, vector, SHORTLIST), rounds)
        for name, query in QUERIES.items():
            letters = milliseconds(partial(readings.search, query, SHORTLIST), rounds)
            table.add_row(f"{n:,}", name, f"{coarse:.1f}", f"{letters:.1f}", f"{letters / coarse:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
