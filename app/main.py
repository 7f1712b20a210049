"""The application: settings in, ASGI application out. Importing this module loads no model and opens nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from app import about, docs, problems
from app.config import Settings
from app.limits import BodyLimit, Origin, Wall
from app.openapi import complete, with_live_examples
from app.problems import CrashBoundary
from app.routes import jobs, ops, search, videos
from app.service import Service
from app.telemetry import RequestLog
from model.errors import HtavError

DESCRIPTION = """Find the moment in your videos that answers a sentence.

Search by what is **seen, said or heard**, in English. Scores order results; `confidence` says how far to trust them.
Every error is an RFC 9457 problem document with a stable `code`."""


def create_app(
    settings: Settings | None = None, on_failure: Callable[[HtavError], None] = lambda error: None
) -> FastAPI:
    """The service. Its state is built here and started with the application; `on_failure` hears of a failed start."""
    settings = settings or Settings()
    service = Service(settings, on_failure)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="HTAV",
        version=about.version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(RequestLog, metrics=service.metrics, closing=lambda: service.draining),
            Middleware(CrashBoundary),
            Middleware(Wall, most=settings.limit_concurrency),
            Middleware(Origin, hosts=hosts(settings)),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s),
        ],
    )
    app.state.service = service
    problems.install(app)
    for module in (search, videos, jobs, ops):
        app.include_router(module.router)
    _add_pages(app, service)
    return app


def hosts(settings: Settings) -> list[str]:
    """Host names to answer to: any, unless only this machine is meant to reach us or names were given.

    This machine's own names are always among them: health checks come from here.
    """
    if not settings.loopback and not settings.allowed_hosts:
        return []
    return ["localhost", "127.0.0.1", "[::1]", *map(_written, [settings.host, *settings.allowed_hosts])]


def _written(host: str) -> str:
    """A host as `Host` has it: an IPv6 address in its short form and in brackets (RFC 5952; RFC 3986, 3.2.2)."""
    try:
        return f"[{IPv6Address(host.strip('[]'))}]"
    except ValueError:
        return host


def _add_pages(app: FastAPI, service: Service) -> None:
    """What people open in a browser, and the description that it is made from."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = complete(document)
        return app.openapi_schema

    def openapi_json() -> dict[str, Any]:
        return with_live_examples(openapi(), service.library, service.catalog)

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/openapi.json", openapi_json, include_in_schema=False)
    docs.install(app)
