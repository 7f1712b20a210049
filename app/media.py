"""Sending files in parts, as RFC 9110 says, with errors in the service's one shape."""

from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from app.problems import problem_response

DETAILS = {
    400: ("bad_range", "The Range header is malformed.", "Ask for `bytes=first-last`, at most 100 ranges."),
    416: ("range_not_satisfiable", "The file ends before that range.", "Content-Range says how long it is."),
}


class MediaFile(FileResponse):
    """A file with Range support; the refusals of the underlying class become problem documents."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            code, detail, hint = DETAILS[refused["status"]]
            answer = problem_response(refused["status"], code, detail, hint, instance=scope["path"], headers=kept)
            await answer(scope, receive, send)
