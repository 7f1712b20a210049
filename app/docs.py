"""Swagger UI from files that we serve ourselves, so that /docs works with no network.

`app/web/swagger/` holds swagger-ui-dist (Apache-2.0, its LICENSE and NOTICE beside it). The page carries no inline
script, so that the content security policy can forbid all of them.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from app.problems import NotFound

WEB = Path(str(files("app"))) / "web"
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
PAGE_HEADERS = {"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
SWAGGER_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HTAV API</title>
<link rel="icon" href="docs/static/favicon-32x32.png">
<link rel="stylesheet" href="docs/static/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script src="docs/static/start.js"></script>
</body>
</html>
"""
START = """window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def docs() -> Response:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    @routes.get("/docs/static/{name}")
    def static(name: str) -> Response:
        if name == "start.js":
            return Response(START, media_type="text/javascript")
        if name not in SWAGGER_FILES:
            raise NotFound(f"There is no file {name!r}.")
        return FileResponse(WEB / "swagger" / name, media_type=SWAGGER_FILES[name])

    return routes


def web_page(page: Path = WEB / "index.html") -> Callable[[], Response]:
    """The handler of `/`: the web page, or the way to the documentation where the page is not installed."""

    def root() -> Response:
        if page.is_file():
            return FileResponse(page, headers=PAGE_HEADERS)
        return Response(status_code=307, headers={"Location": "docs"})

    return root
