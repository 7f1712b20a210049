"""The process that does queued jobs, one after the other, until it is told to stop.

Workers need no supervisor's care: one that dies leaves a lease that the next one takes over at once. SIGTERM and Ctrl-C
give the job back and end cleanly; what was committed stays.
"""

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from indexer import jobs
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable, IndexerError
from indexer.loading import load_retriever
from indexer.pipeline import run_job
from indexer.progress import IndexReport, Reporter

if TYPE_CHECKING:
    from model import Retriever

POLL_S = 0.5
log = logging.getLogger(__name__)


def run_worker(
    settings: IndexSettings,
    *,
    once: bool = False,
    reporter: Reporter | None = None,
    load: "Callable[[IndexSettings], Retriever]" = load_retriever,
) -> list[IndexReport]:
    """Do jobs until stopped; `once`: until none is waiting. A job that fails as a whole does not end the worker."""
    catalog = Catalog.open(settings)
    reports: list[IndexReport] = []
    retriever: Retriever | None = None
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        while True:
            lease = jobs.claim(catalog, settings)
            if lease is None:
                if once:
                    return reports
                time.sleep(POLL_S)
                continue
            try:
                with lease.kept():
                    retriever = retriever or load(settings)
            except BaseException:
                lease.give_back()
                raise
            try:
                reports.append(run_job(lease, settings, catalog, retriever, reporter))
            except CatalogUnusable:  # whoever started the worker waits and starts it again
                raise
            except IndexerError as err:
                log.warning("job %s: %s (%s)", lease.job_id, err, err.code)
            except (KeyboardInterrupt, SystemExit):
                lease.give_back()
                raise
            if not once:
                reports.clear()
    except KeyboardInterrupt:
        return reports
    finally:
        signal.signal(signal.SIGTERM, before)
        catalog.close()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
