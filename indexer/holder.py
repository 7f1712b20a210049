"""Who holds a job, and whether he is still alive.

A lease names host, boot, process and the process's start: on the same host a dead holder is seen at once, even when his
process number was given to someone else or the machine was restarted. From another host only time tells, and from
another container: a process number means something in its own PID namespace, and containers may share a host's name.
"""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from indexer.tables import Job


@dataclass(frozen=True)
class Holder:
    """A process, named so that it cannot be mistaken for another; `boot` is the machine's and the PID namespace."""

    host: str
    boot: str
    pid: int
    pid_start: int

    @classmethod
    def me(cls) -> "Holder":
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), pid, process_start(pid) or 0)

    @classmethod
    def of(cls, job: Job) -> "Holder | None":
        if job.lease_host is None or job.lease_boot is None or job.lease_pid is None or job.lease_pid_start is None:
            return None
        return cls(job.lease_host, job.lease_boot, job.lease_pid, job.lease_pid_start)

    def is_dead(self) -> bool:
        """True only when that is certain."""
        if self.host != socket.gethostname():
            return False
        if self.boot == _boot():
            return process_start(self.pid) != self.pid_start
        return not self.boot.startswith(_boot_id())


def process_start(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None when there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@cache
def _boot() -> str:
    namespace = Path("/proc/self/ns/pid")
    return f"{_boot_id()}/{namespace.stat().st_ino if namespace.exists() else 0}"


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
