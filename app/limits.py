"""Walls in front of the application: how large and how slow a request body may be, and who may address us.

A body is read here, whole and bounded in bytes and time, before any handler runs: no worker is ever held by a slow or
an endless sender. Uploads are the exception: they stream, and `uploads` bounds them by bytes and by silence.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import AppError, BadRequest, BodyTooLarge, Forbidden, RequestTimeout, Unavailable, error_response

UPLOAD = ("POST", "/v1/videos")
LINGER_S = 1.0
PROBES = {"/livez", "/readyz"}  # asked by address, as Kubernetes does, and they tell no secret
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class BodyLimit:
    """413 above `max_bytes`, 408 when the body has not arrived after `timeout_s`."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == UPLOAD:
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.timeout_s):
                body = await self._read(scope, receive)
        except TimeoutError:
            error: AppError = RequestTimeout(f"The request body did not arrive within {self.timeout_s:g} s.")
        except BodyTooLarge as too_large:
            error = too_large
        else:
            if body is not None:
                await self.app(scope, _replay(body, receive), send)
            return
        await self._refuse(error, scope, receive, send)

    async def _refuse(self, error: AppError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then drop for a moment what still arrives, then close (RFC 9112, section 9.6).

        A socket that is closed with bytes unread resets the connection, and the reset can overtake the answer.
        """

        async def unfinished(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        error.headers["Connection"] = "close"
        await error_response(error, scope["path"])(scope, receive, unfinished)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body"})

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the client left."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self.max_bytes} bytes.", "Send less in one request.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body again, then waits for the client like the original."""
    pending = True

    async def replayed() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed


class Wall:
    """503 when `most` requests are under way: far more than the queue admits, fewer than would exhaust the process."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.inside >= self.most:
            error = Unavailable("Too many requests are under way.", "Ask again after Retry-After seconds.")
            await error_response(error, scope["path"])(scope, receive, send)
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1


class Origin:
    """Refuse what a web page of another site makes a browser send here.

    A service on localhost without keys trusts whoever can reach it, and any page that the user visits can: with a form
    (refused by `Sec-Fetch-Site`, or by `Origin` where the browser does not send that: to plain http on a network) or by
    pointing its own host name at 127.0.0.1 (refused by the `Host` header). `hosts` empty: any host name is answered.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._objection(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
        else:
            await error_response(error, scope["path"])(scope, receive, send)

    def _objection(self, scope: Scope) -> AppError | None:
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self.hosts and _name(host) not in self.hosts and scope["path"] not in PROBES:
            return BadRequest(
                "This service does not answer to that host name.",
                "Use the address it was started with, or add the name to HTAV_ALLOWED_HOSTS.",
                code="unknown_host",
            )
        if scope["method"] not in _SAFE_METHODS and self._from_elsewhere(headers, host):
            return Forbidden(
                "Another site's page may not change anything here.",
                "If it is this service's own page, behind a proxy: have the proxy pass `Host` on unchanged, or name "
                "the page's host and the one that the proxy asks for in HTAV_ALLOWED_HOSTS.",
                code="cross_site",
            )
        return None

    def _from_elsewhere(self, headers: dict[bytes, str], host: str) -> bool:
        """Whether a browser says that another site's page asks; programs that are none say nothing.

        What the browser itself has judged counts first: a proxy may have put another `Host`. For the same reason an
        allowed name is none of elsewhere. `Origin: null` is a page that hides where it is from.
        """
        if b"sec-fetch-site" in headers:
            return headers[b"sec-fetch-site"] == "cross-site"
        if b"origin" not in headers:
            return False
        origin = headers[b"origin"].partition("://")[2]
        return not origin or (origin != host and _name(origin) not in self.hosts)


def _name(host: str) -> str:
    """A host without its port."""
    return host if host.endswith("]") else host.rsplit(":", 1)[0]
