"""What the service tells its operator: metrics for Prometheus and one JSON line a request.

Query texts are private: they never appear in a metric, nor in a log line at INFO or above. The request id ties an
answer, its problem document and its log lines together.
"""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

request_id: ContextVar[str] = ContextVar("request_id", default="")
access = logging.getLogger("htav.access")

_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
_USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STANDARD_FIELDS = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_METHODS = frozenset(HTTPMethod)
_UNLOGGED = {"/livez", "/readyz", "/metrics"}


class Metrics:
    """The service's metrics, in a registry of their own so that two applications in one process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "htav_requests_total", "Answers by route and status", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram("htav_request_seconds", "Time to answer", ["route"], registry=registry)
        self.stage = Histogram(
            "htav_stage_seconds", "Time of a search's stages", ["stage"], registry=registry, buckets=_STAGE_BUCKETS
        )
        self.queue_depth = Gauge("htav_queue_depth", "Searches that wait", registry=registry)
        self.inflight = Gauge("htav_inflight", "Searches being computed", registry=registry)
        self.rejected = Counter("htav_rejected_total", "Searches refused", ["reason"], registry=registry)
        self.dropped = Counter(
            "htav_dropped_total", "Searches dropped before they were computed", ["reason"], registry=registry
        )
        self.degraded = Counter(
            "htav_degraded_total", "Answers that are less than whole", ["reason"], registry=registry
        )
        self.snapshot = Gauge(
            "htav_snapshot_info", "The snapshot that is served", ["snapshot", "model"], registry=registry
        )
        self.videos = Gauge("htav_snapshot_videos", "Videos in the served snapshot", registry=registry)
        self.clips = Gauge("htav_snapshot_clips", "Clips in the served snapshot", registry=registry)
        self.ready = Gauge("htav_ready", "1 when searches are answered", registry=registry)
        self.index_files = Gauge(
            "htav_index_files", "Files of the catalog by state and error code", ["state", "code"], registry=registry
        )

    def text(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class RequestLog:
    """ASGI middleware: gives each request its id, counts it, and writes its one line.

    While the service is `closing`, answers also close their connection: nobody should send on one about to go.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, closing: Callable[[], bool] = lambda: False) -> None:
        self.app = app
        self.metrics = metrics
        self.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        offered = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identifier = offered if _USABLE_ID.fullmatch(offered) else uuid.uuid4().hex
        request_id.set(identifier)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identifier.encode())]
                if self.closing():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # A method is any word that a stranger makes up, and each label is kept for good.
        method = scope["method"] if route != "unmatched" and scope["method"] in _METHODS else ""
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if route not in _UNLOGGED:
            fields = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            access.info("request", extra=fields)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := request_id.get():
            entry["request_id"] = identifier
        entry |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Send every log of this process to stderr as JSON lines; uvicorn's own access log is replaced by ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.access").addHandler(logging.NullHandler())
