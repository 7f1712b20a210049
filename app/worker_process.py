"""The worker as a child of `htav serve`: started, restarted when it dies, ended with us, whatever ends us."""

import ctypes
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from indexer.config import IndexSettings
from model.children import ours_first

RESTART_S = (1.0, 2.0, 5.0, 15.0, 60.0)
HEALTHY_S = 60.0
STOP_S = 15.0
POLL_S = 0.2
PR_SET_PDEATHSIG = 1
logger = logging.getLogger("htav.worker")


def command() -> list[str]:
    return [sys.executable, "-m", "app.cli", "worker"]


def environment(settings: IndexSettings) -> dict[str, str]:
    """This process's environment, with the settings that the worker shares with us as they are here."""
    shared = {}
    for name in IndexSettings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, list):
            value = os.pathsep.join(str(Path(entry).absolute()) for entry in value)
        if value is not None:
            shared[f"HTAV_{name.upper()}"] = str(value.absolute() if isinstance(value, Path) else value)
    return {**os.environ, **shared}


class WorkerProcess:
    """Keeps one worker alive. A worker that keeps dying, or cannot be started, is started ever more slowly, and each
    time is logged."""

    def __init__(self, settings: IndexSettings, arguments: list[str] | None = None) -> None:
        self._arguments = arguments or command()
        self._environment = ours_first(environment(settings))
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="htav-worker", daemon=True)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to stop after what it has in hand; insist after a while."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        failures = 0
        while not self._stop.is_set():
            # The child is the thread's: PDEATHSIG fires when the thread that forked ends, which outlives every child.
            if (process := self._started()) is not None:
                if self._wait(process, HEALTHY_S):
                    failures = 0
                    self._wait(process, math.inf)
                if self._stop.is_set():
                    self._end(process)
                    return
            pause = RESTART_S[min(failures, len(RESTART_S) - 1)]
            failures += 1
            if process is not None:
                logger.error("the worker died", extra={"status": process.returncode, "restart_s": pause})
            self._stop.wait(pause)

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new worker; None where the system has no room for one now."""
        try:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # or Ctrl-C would reach it beside us and look like its death
                preexec_fn=_die_with_parent,
            )
        except (OSError, subprocess.SubprocessError) as err:
            logger.error("the worker cannot be started: %s", err)
            return None
        return self._process

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Whether the worker lives for that long (or we are to stop)."""
        waited = 0.0
        while waited < seconds and not self._stop.is_set():
            if process.poll() is not None:
                return False
            self._stop.wait(POLL_S)
            waited += POLL_S
        return True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """In the child, before exec: a killed service leaves no worker behind, and indexing does not slow searches."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.nice(10)
