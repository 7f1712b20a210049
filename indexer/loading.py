"""The model for indexing, loaded late: torch takes seconds, and most commands do without it."""

import ctypes
import sys
from typing import TYPE_CHECKING

from indexer.config import IndexSettings

if TYPE_CHECKING:
    from model import Retriever

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEEP_BYTES = (1 << 31) - 1


def load_retriever(settings: IndexSettings) -> "Retriever":
    """The whole network of the configured checkpoint, computing with the configured number of threads."""
    import torch

    from model import Retriever

    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    return Retriever.embedded() if settings.model is None else Retriever.from_pretrained(settings.model)


def keep_freed_memory() -> None:
    """Have malloc keep the memory of one batch for the next.

    By default each large tensor is mapped anew and its pages are faulted in again, hundreds of thousands a batch:
    measured, a third of all the processor time that encoding takes. Costs some 200 MB. Only glibc knows these switches.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
