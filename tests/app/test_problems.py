"""Errors have one shape, whoever raises them, and the API's description tells the truth about it."""

import logging

import httpx
import pytest

from app.problems import AppError, error_response, status_of
from indexer.errors import IndexCorrupt, InsufficientStorage, NothingIndexed, OutsideMediaRoot, UnknownVideo
from model.checkpoint import CheckpointError
from model.errors import HtavError
from tests.app.conftest import Served, problem


def test_an_address_that_does_not_exist(client: httpx.Client) -> None:
    body = problem(client.get("/v1/nothing"), 404, "not_found")
    assert body["instance"] == "/v1/nothing"


def test_a_method_that_does_not_exist(client: httpx.Client) -> None:
    response = client.put("/v1/search")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_crash_is_logged_whole_and_tells_nothing(
    mutable: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(mutable.service.library, "videos", crash)
    with caplog.at_level(logging.ERROR):
        response = mutable.client.get("/v1/videos", headers={"X-Request-ID": "trace-me-42"})
    body = problem(response, 500, "internal_error")
    assert body["request_id"] == "trace-me-42"
    assert "secret" not in response.text
    assert "the secret cause" in caplog.text
    monkeypatch.undo()
    assert mutable.client.get("/v1/videos").status_code == 200


def test_a_crash_in_the_lane_fails_one_search(mutable: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = mutable.service.search.searcher
    real = searcher.serve

    def serve(payload: object, *rest: object) -> object:
        if getattr(payload, "query", "") == "poison":
            raise ZeroDivisionError
        return real(payload, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(searcher, "serve", serve)
    problem(mutable.client.post("/v1/search", json={"query": "poison"}), 500, "internal_error")
    assert mutable.client.post("/v1/search", json={"query": "a dog"}).status_code == 200


def test_while_the_database_is_away_requests_are_told_to_come_back(
    mutable: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """What the database said is for the operator: it may name hosts and folders."""
    file = mutable.settings.data_dir / "catalog.db"
    away = file.rename(file.with_name("away.db"))
    file.mkdir()
    mutable.service.catalog.engine.dispose()  # open connections would go on with the file that was moved
    for answer in (mutable.client.get("/readyz"), mutable.client.post("/v1/search", json={"query": "a dog"})):
        problem(answer, 503, "catalog_unusable")
        assert answer.headers["retry-after"] == "10"
        assert "unable to open" not in answer.text
    assert "unable to open" in "".join(str(record.__dict__) for record in caplog.records)
    file.rmdir()
    away.rename(file)
    assert mutable.client.get("/readyz").status_code == 200
    assert mutable.client.post("/v1/search", json={"query": "a dog"}).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownVideo("gone"), 404), (NothingIndexed("nothing"), 409), (InsufficientStorage("full"), 507),
        (OutsideMediaRoot("out"), 403), (IndexCorrupt("torn"), 503), (CheckpointError("altered"), 503),
        (HtavError("odd"), 422), (AppError("ours"), 500),
    ],
)  # fmt: skip
def test_every_error_has_its_status(error: HtavError, status: int) -> None:
    assert status_of(error) == status
    response = error_response(error)
    assert response.status_code == status
    assert ("retry-after" in response.headers) == (status in (503, 507))


def test_the_description_knows_no_other_error_than_ours(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(document)
    operations = [
        (operation["operationId"], operation)
        for path in document["paths"].values()
        for operation in path.values()
        if operation["operationId"] not in ("livez", "metrics", "version")
    ]
    assert len(operations) > 10
    for name, operation in operations:
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (name, status)
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
        assert {"401", "422", "500"} <= operation["responses"].keys(), name


def test_a_request_id_is_ours_unless_it_is_a_sane_one(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 65, "<script>", ""):
        given = client.get("/livez", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert given != odd and len(given) == 32
