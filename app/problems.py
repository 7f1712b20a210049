"""Every error answer is one shape: RFC 9457 problem details, whoever raised it.

HtavError
└── AppError                     raised by the service itself; carries its HTTP status
    ├── BadRequest 400           ├── RequestTimeout 408      ├── Unprocessable 422
    ├── Unauthorized 401         ├── SnapshotRetired 410     ├── RateLimited 429
    ├── Forbidden 403            ├── BodyTooLarge 413        └── Unavailable 503
    └── NotFound 404
Errors of the rooms below carry a code only; `STATUS` says what each means over HTTP. Routing errors, validation
errors and crashes pass through here too, so that a client parses one thing. A crash tells the client its request id
and nothing else.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.schemas import Problem
from app.telemetry import request_id
from indexer.errors import CatalogUnusable
from model.errors import HtavError

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT = 499  # nobody reads it; it tells the metrics apart
STATUS = {
    "query_not_understood": 422,
    "unknown_video": 404,
    "unknown_job": 404,
    "nothing_indexed": 409,
    "path_not_found": 404,
    "outside_media_root": 403,
    "insufficient_storage": 507,
    "storage_error": 507,
    "data_folder_unusable": 507,
}
logger = logging.getLogger("htav.problems")


class AppError(HtavError):
    """An error of the service itself."""

    code: ClassVar[str] = "app_error"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str, hint: str = "", *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.problem_code = code or self.code
        self.headers = dict(headers or {})


class BadRequest(AppError):
    """The request is malformed."""

    code, status = "bad_request", 400


class Unauthorized(AppError):
    """An API key is needed, or the one given is unknown."""

    code, status = "unauthorized", 401


class Forbidden(AppError):
    """The caller may not do this."""

    code, status = "forbidden", 403


class NotFound(AppError):
    """What was asked for is not there."""

    code, status = "not_found", 404


class Conflict(AppError):
    """The thing exists but is not in a state for this."""

    code, status = "conflict", 409


class RequestTimeout(AppError):
    """The sender is too slow."""

    code, status = "request_timeout", 408


class SnapshotRetired(AppError):
    """A cursor's snapshot is no longer served."""

    code, status = "snapshot_retired", 410


class BodyTooLarge(AppError):
    """The body is larger than allowed."""

    code, status = "body_too_large", 413


class Unprocessable(AppError):
    """The request is well formed and asks for something that cannot be."""

    code, status = "invalid_request", 422


class RateLimited(AppError):
    """A key asks more often than allowed."""

    code, status = "rate_limited", 429


class Unavailable(AppError):
    """The service cannot take this request now; `Retry-After` says when to come back."""

    code, status = "unavailable", 503

    def __init__(self, message: str, hint: str = "", *, code: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, hint, code=code, headers={"Retry-After": str(retry_after_s)})


def status_of(error: HtavError) -> int:
    if isinstance(error, AppError):
        return error.status
    return STATUS.get(error.code, 503 if error.exit_code == 3 else 422)


def problem_response(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    *,
    instance: str = "",
    headers: Mapping[str, str] | None = None,
    errors: Sequence[dict[str, str]] = (),
) -> Response:
    body = Problem.model_validate(
        {
            "type": f"urn:htav:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "hint": hint or None,
            "instance": instance or None,
            "request_id": request_id.get() or None,
            "errors": list(errors),
        }
    ).model_dump(mode="json")
    return JSONResponse(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def error_response(error: HtavError, instance: str = "") -> Response:
    """The answer to an error raised on purpose."""
    code = error.problem_code if isinstance(error, AppError) else error.code
    headers = error.headers if isinstance(error, AppError) else {}
    status = status_of(error)
    if status in (503, 507):
        headers.setdefault("Retry-After", "10")
    return problem_response(status, code, error.message, error.hint, instance=instance, headers=headers)


def _validation_errors(error: RequestValidationError) -> list[dict[str, str]]:
    """Where and what, never the input itself: it may be huge, secret, or no valid JSON."""
    places = []
    for item in error.errors()[:32]:
        where, *path = (str(part) for part in item["loc"])
        pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
        places.append({"in": where, "pointer": pointer[:200], "detail": str(item["msg"])[:300]})
    return places


async def _on_htav_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HtavError)
    if status_of(error) >= 500 and not isinstance(error, AppError):
        logger.warning("request refused", extra={"code": error.code, "reason": error.message})
    if isinstance(error, CatalogUnusable):  # what the database says names its host: for the operator, not for clients
        error = CatalogUnusable("The catalog does not answer.", "Try again; the reason is in the service's log.")
    return error_response(error, request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=error.headers)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    details = {
        404: f"There is nothing at {request.url.path[:200]}.",
        405: f"{request.url.path[:200]} does not answer to {request.method}.",
    }
    hints = {404: "See /docs for the addresses that exist.", 405: "See the Allow header."}
    return problem_response(
        error.status_code,
        code,
        details.get(error.status_code, str(error.detail)),
        hints.get(error.status_code, ""),
        instance=request.url.path,
        headers=error.headers,
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = _validation_errors(error)
    first = errors[0]
    detail = f"{first['in']} {first['pointer']}: {first['detail']}"
    hint = "See /docs for the fields and their limits."
    if isinstance(error.body, bytes):  # it stays unread where its content type is another, as that of `curl -d`
        detail, hint = "The body is not sent as JSON.", "Send JSON, with the header `content-type: application/json`."
    return problem_response(422, "invalid_request", detail, hint, instance=request.url.path, errors=errors)


async def _on_client_left(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """The client went away while its body was read."""
    return Response(status_code=CLIENT_LEFT)


class CrashBoundary:
    """The per-request boundary: a defect of ours ends one request, is logged whole, and tells the client nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            logger.error("request crashed", exc_info=error)
            if started or scope["type"] != "http":
                raise
            detail = "The service failed on this request; the failure was logged."
            hint = f"Report request id {request_id.get()} to the operator."
            answer = problem_response(500, "internal_error", detail, hint, instance=scope["path"])
            await answer(scope, receive, send)


def install(app: FastAPI) -> None:
    app.add_exception_handler(HtavError, _on_htav_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(ClientDisconnect, _on_client_left)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these error statuses, in their real shape."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    everywhere = (400, 401, 403, 408, 413, 422, 429, 500, 503)
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*everywhere, *statuses})
    }
