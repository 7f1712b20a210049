"""Sending files in parts, as RFC 9110 says, with errors in the service's one shape."""

import os

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from app.problems import problem_response

DETAILS = {
    400: ("bad_range", "The Range header is malformed.", "Ask for `bytes=first-last`."),
    416: (
        "range_not_satisfiable",
        "The file ends before that range, or there are too many ranges.",
        "Content-Range says how long it is; ask for at most 100 ranges.",
    ),
}


class MediaFile(FileResponse):
    """A file with Range support; the refusals of the underlying class become problem documents."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if excessive(Headers(scope=scope).get("range", "")):
            size = (await run_in_threadpool(os.stat, self.path)).st_size
            await _refuse(416, {"Content-Range": f"bytes */{size}"}, scope, receive, send)
            return
        refused: Message | None = None

        async def intercept(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in DETAILS:
                refused = message
            elif refused is None:
                await send(message)

        await super().__call__(scope, receive, intercept)
        if refused is not None:
            kept = {k.decode(): v.decode() for k, v in refused["headers"] if k in (b"content-range", b"accept-ranges")}
            await _refuse(refused["status"], kept, scope, receive, send)


def excessive(ranges: str) -> bool:
    """RFC 9110 lets a server reject many ranges; sending the whole file instead would cost the most."""
    return ranges.count(",") >= FileResponse.max_ranges


async def _refuse(status: int, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    code, detail, hint = DETAILS[status]
    answer = problem_response(status, code, detail, hint, instance=scope["path"], headers=headers)
    await answer(scope, receive, send)
