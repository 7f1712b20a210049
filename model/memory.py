"""Memory that is used again and again: what malloc should keep rather than give back."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEEP_BYTES = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Have malloc keep the memory of one batch for the next.

    By default each large tensor is mapped anew and its pages are faulted in again, hundreds of thousands a batch:
    measured, a third of all the processor time that encoding takes. Costs some 200 MB. Only glibc knows these switches.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
