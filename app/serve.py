"""Running the service: everything that can be wrong is found before it starts, and it goes down in order.

On SIGTERM the service first refuses new searches (503, /readyz fails) while its socket is still open, so that a
balancer can take it out; then the socket closes and what is in service finishes. A second Ctrl-C ends it at once.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import tempfile
from types import FrameType

import uvicorn

from app.config import Settings
from app.main import create_app
from app.service import Service
from app.telemetry import configure_logging
from app.worker_process import WorkerProcess
from indexer.catalog import ensure_data_dir
from indexer.errors import DataFolderUnusable
from model.errors import HtavError

DRAIN_BEFORE_CLOSE_S = 1.0
logger = logging.getLogger("htav.serve")


class PortUnusable(HtavError):
    """The address cannot be listened on."""

    code = "port_unusable"


class Server(uvicorn.Server):
    """uvicorn, except that a signal drains the service first and ends with exit status 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._closing: asyncio.TimerHandle | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._closing is not None or self.should_exit:
            self.force_exit = sig == signal.SIGINT
            self.should_exit = True
            return
        logger.info("draining", extra={"signal": signal.Signals(sig).name})
        self._service.drain()
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(DRAIN_BEFORE_CLOSE_S, self.close_socket)

    def close_socket(self) -> None:
        self.should_exit = True


def address(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, or a clear error. Port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as err:
        listener.close()
        reason = getattr(err, "errno", None)
        if reason == errno.EADDRINUSE:
            hint = f"Stop the other program, or choose another port: `htav serve --port {port + 1}`."
            raise PortUnusable(f"Port {port} on {host} is already in use.", hint) from err
        hint = "Choose another --host or --port; ports below 1024 need special rights."
        raise PortUnusable(f"{address(host, port)} cannot be listened on: {err}.", hint) from err
    listener.setblocking(False)
    return listener


def check_data_dir(settings: Settings) -> None:
    """Make the data folder and write to it once: permission bits do not tell of a read-only disk."""
    ensure_data_dir(settings.data_dir)
    try:
        with tempfile.TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as err:
        raise DataFolderUnusable(
            f"The data folder {settings.data_dir} is not writable: {err.strerror}.",
            "Choose another folder with HTAV_DATA_DIR or give this user write permission.",
        ) from err


def serve(settings: Settings, *, worker: bool = True) -> None:
    """Serve until a signal comes. Raises HtavError for what makes serving impossible."""
    check_data_dir(settings)
    listener = listen(settings.host, settings.port)
    configure_logging(settings.log_level)
    failures: list[HtavError] = []

    def give_up(error: HtavError) -> None:
        failures.append(error)
        server.should_exit = True

    with listener:
        app = create_app(settings, on_failure=give_up)
        service: Service = app.state.service
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=2 * settings.limit_concurrency,  # connections; requests are counted by `limits.Wall`
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
        server = Server(config, service)
        _announce(settings, service, listener)
        child = WorkerProcess(settings) if worker else None
        if child is not None:
            child.start()
        try:
            server.run(sockets=[listener])
        finally:
            if child is not None:
                child.stop()
    if failures:
        raise failures[0]


def _announce(settings: Settings, service: Service, listener: socket.socket) -> None:
    port = listener.getsockname()[1]  # the settings may leave the choice to the system
    logger.info("listening", extra={"url": f"http://{address(settings.host, port)}", "pid": os.getpid()})
    if not settings.loopback and not service.guard.active:
        logger.warning("anyone who can reach this address can search and delete: make a key with `htav key add`")
