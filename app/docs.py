"""The pages that people open in a browser and their files, served by us so that they work with no network.

`app/web/` is the search page; `app/web/swagger/` is Swagger UI: swagger-ui-dist (Apache-2.0, its LICENSE and NOTICE
beside it) and our page around it. The pages carry no inline script, so that the content security policy can forbid all
of them. No file is named by its content, so none may be kept unasked: browsers ask each time and are told 304.
"""

import hashlib
import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

WEB = Path(str(files("app"))) / "web"
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
PAGE_HEADERS = {"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
PAGES = {"/": "index.html", "/docs": "swagger/index.html"}


class Assets(StaticFiles):
    """Static files whose ETag is of their content: size and time can outlive an upgrade, where archives fix times."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        tag = _content_tag(str(full_path), stat_result.st_ctime_ns)
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if str(full_path).endswith(".html"):
            headers |= PAGE_HEADERS
        response = FileResponse(full_path, status_code=status_code, stat_result=stat_result, headers=headers)
        if self.is_not_modified(response.headers, Request(scope).headers):
            return NotModifiedResponse(response.headers)
        return response


@lru_cache(maxsize=256)
def _content_tag(path: str, _changed_ns: int) -> str:
    """The ETag of a file; read again only when its time of change, which nobody can set, is new."""
    with open(path, "rb") as file:
        return f'"{hashlib.file_digest(file, "blake2b").hexdigest()[:32]}"'


def install(app: FastAPI) -> None:
    """Add the pages and what they load."""
    assets = Assets(directory=WEB)

    async def page(request: Request) -> Response:
        return await assets.get_response(PAGES[request.scope["route"].path], request.scope)

    for path in PAGES:
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)
    app.mount("/docs/static", Assets(directory=WEB / "swagger"), name="swagger")
    app.mount("/web", assets, name="web")
