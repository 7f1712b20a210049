"""`htav index --watch`: index, then look again every few seconds and index what has changed and come to rest.

A file that is still being copied changes from one look to the next; nothing is indexed until a look equals the one
before. Looking costs a `stat` a file, which works on every file system, network shares included.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import NothingToIndex
from indexer.library import Library
from indexer.pipeline import index_paths
from indexer.progress import IndexReport, Reporter
from indexer.scan import resolve, scan

if TYPE_CHECKING:
    from model import Retriever

INTERVAL_S = 3.0
Look = frozenset[tuple[Path, str, int, int]]


def watch(
    paths: Sequence[Path],
    settings: IndexSettings,
    retriever: "Retriever",
    reporter: Reporter,
    *,
    interval_s: float = INTERVAL_S,
    sleep: Callable[[float], None] = time.sleep,
    on_report: Callable[[IndexReport], None] = lambda report: None,
) -> None:
    """Does not return; ends with KeyboardInterrupt."""
    indexed: Look | None = None
    before = look(paths, settings, retriever.fingerprint)
    while True:
        if indexed is None or (before != indexed):
            try:
                on_report(index_paths(paths, settings, retriever, reporter, revive=indexed is None))
            except NothingToIndex:
                reporter.note("There is nothing to index yet; waiting for files.")
            indexed = before
        sleep(interval_s)
        now = look(paths, settings, retriever.fingerprint)
        while now != before:  # something is being written
            before = now
            sleep(interval_s)
            now = look(paths, settings, retriever.fingerprint)


def look(paths: Sequence[Path], settings: IndexSettings, fingerprint: str) -> Look:
    """Names, sizes and times of all media files there."""
    catalog = Catalog.open(settings)
    try:
        roots = Library(settings, catalog, fingerprint).roots()
    finally:
        catalog.close()
    scopes = [resolve(path, roots, owner=True) for path in paths]
    found = scan(scopes, roots, skip=[settings.data_dir.resolve()])
    return frozenset((one.root, one.path, one.size, one.mtime_ns) for one in found)
