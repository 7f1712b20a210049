"""Child processes for tests that kill them, forked from a server that has the imports done: a start costs 10 ms.

What a child runs must be importable, so it stands here or in the module that starts it.
"""

import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess

from sqlalchemy.orm import configure_mappers

from indexer import jobs
from indexer.catalog import Catalog
from indexer.config import IndexSettings

configure_mappers()  # once in the server instead of once in every child
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.processes", "tests.index_samples"])


def start(work: Callable[..., None], *arguments: object) -> ForkServerProcess:
    child = CONTEXT.Process(target=work, args=arguments)
    child.start()
    return child


def kill_myself() -> None:
    """The real thing: no handler, no flush, no cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)


def claim_take_die(settings: IndexSettings, file_ids: Sequence[int]) -> None:
    catalog = Catalog.open(settings)
    lease = jobs.claim(catalog, settings)
    assert lease is not None
    for file_id in file_ids:
        lease.take(file_id)
    kill_myself()
