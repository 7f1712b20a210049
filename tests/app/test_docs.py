"""The description of the API: stable names, examples that work when pressed, pages that need no network."""

import asyncio
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from starlette.responses import Response

from app.docs import Assets
from tests.app.conftest import Served

OPERATIONS = {
    "search", "similar_videos", "list_videos", "upload_video", "get_video", "change_video", "delete_video",
    "stream_video", "video_thumbnail", "create_index_job", "list_index_jobs", "get_index_job", "cancel_index_job",
    "retry_index_job", "index_job_events", "livez", "readyz", "metrics", "version",
}  # fmt: skip


def operations(document: dict[str, object]) -> list[tuple[str, str, dict[str, object]]]:
    paths = document["paths"]
    assert isinstance(paths, dict)
    return [(path, method, operation) for path, methods in paths.items() for method, operation in methods.items()]


def test_operation_names_are_stable(client: httpx.Client) -> None:
    found = {operation["operationId"] for _, _, operation in operations(client.get("/openapi.json").json())}
    assert found == OPERATIONS


def test_every_schema_has_an_example(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    top = [
        "SearchRequest", "SearchResponse", "SimilarResponse", "VideoOut", "VideoPatch", "JobCreate", "JobOut",
        "JobAccepted", "UploadAccepted", "Readiness", "Liveness", "VersionOut", "Problem", "Filter", "SecondsRange",
        "TimeRange",
    ]  # fmt: skip
    assert [name for name in top if not schemas[name].get("examples")] == []


def test_every_operation_answers_when_its_example_is_pressed(mutable: Served) -> None:
    """What Swagger UI sends: example identifiers, the example body, nothing optional."""
    client = mutable.client
    made = client.post("/v1/index-jobs", json={"paths": ["."]}).json()["job_id"]
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    answers = {}
    for path, method, operation in operations(document):
        name = str(operation["operationId"])
        if name in ("upload_video", "index_job_events"):
            continue  # a file has to be chosen; a stream that follows a waiting job does not end
        for parameter in operation.get("parameters", []):  # type: ignore[attr-defined]
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", str(parameter["schema"]["examples"][0]))
        body = None
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]  # type: ignore[index]
            body = schemas[reference.rsplit("/", 1)[1]]["examples"][0]
        answers[name] = client.request(method, path, json=body).status_code
    assert answers.pop("delete_video") == 404, "pressing delete must not cost a video"
    assert answers.pop("change_video") == 404, "pressing change must not retitle a video"
    assert answers.pop("cancel_index_job") == 404
    assert answers.pop("retry_index_job") == 409, "the example job has not ended yet"
    assert {name: status for name, status in answers.items() if status not in (200, 202)} == {}
    assert made in json.dumps(document)


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 4
    for address in addresses:
        response = client.get(urljoin("/docs", address))
        assert response.status_code == 200 and len(response.content) > 100, address
    assert "<script>" not in page.text, "the policy forbids inline scripts"


@pytest.mark.parametrize("address", ["/", "/web/index.html"])
def test_the_web_page_is_served(client: httpx.Client, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in response.headers["content-security-policy"]


ASSETS = ["/", "/docs", "/web/main.js", "/web/style.css", "/docs/static/swagger-ui-bundle.js", "/docs/static/start.js"]


@pytest.mark.parametrize("address", ASSETS)
def test_a_browser_asks_again_and_is_told_that_nothing_changed(client: httpx.Client, address: str) -> None:
    first = client.get(address)
    assert first.headers["cache-control"] == "no-cache", "no file is named by its content, so none is immutable"
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"] and again.headers["cache-control"] == "no-cache"
    assert client.get(address, headers={"If-None-Match": '"another"'}).content == first.content
    head = client.head(address)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", first.headers["etag"])


def test_an_upgrade_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    """Archives with fixed times install files that differ in their content alone."""

    async def served(content: bytes) -> Response:
        file = tmp_path / "main.js"
        time.sleep(0.02)  # longer than a tick of the clock that the file system stamps with
        file.write_bytes(content)
        os.utime(file, (315532800, 315532800))
        return await Assets(directory=tmp_path).get_response(
            "main.js", {"type": "http", "method": "GET", "headers": []}
        )

    assert len({asyncio.run(served(content)).headers["etag"] for content in (b"old", b"new")}) == 2


@pytest.mark.parametrize("address", ["/docs/static/none.js", "/web/none.js", "/web/..%2fmain.py"])
def test_a_file_that_is_not_there_is_a_problem_document(client: httpx.Client, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 404 and response.headers["content-type"] == "application/problem+json"


def test_the_licence_of_swagger_ui_is_shipped() -> None:
    from app.docs import WEB

    assert "Apache License" in (WEB / "swagger" / "LICENSE").read_text()
    assert (WEB / "swagger" / "NOTICE").is_file()


def test_a_form_field_of_the_upload_is_described(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]["/v1/videos"]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["file"]["format"] == "binary"
    assert described["responses"]["202"]["links"]["get_index_job"]
