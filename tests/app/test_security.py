"""API keys: off until one was made, hashed, scoped, limited."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

import app.security as security
from app.problems import Unprocessable
from app.security import TokenBucket, add_key, list_keys, revoke_key
from indexer.catalog import ApiKey
from tests.app.conftest import Library, Served, problem, serve

QUERY = {"query": "a dog"}


@pytest.fixture
def guarded(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service whose keys are read anew for each request."""
    monkeypatch.setattr(security, "REFRESH_S", 0.0)
    with serve(library.copy(tmp_path).settings) as running:
        yield running


def header(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def test_without_a_key_everything_is_open(guarded: Served) -> None:
    assert guarded.client.post("/v1/search", json=QUERY).status_code == 200
    assert guarded.client.post("/v1/search", json=QUERY, headers=header("anything")).status_code == 200


def test_once_a_key_was_made_one_is_needed(guarded: Served) -> None:
    client, catalog = guarded.client, guarded.service.catalog
    key = add_key(catalog, "me", ["search"])
    problem(client.post("/v1/search", json=QUERY), 401, "unauthorized")
    problem(client.post("/v1/search", json=QUERY, headers=header(key[:-1])), 401, "unauthorized")
    problem(client.get("/v1/videos", headers=header("wröng".encode())), 401, "unauthorized")  # type: ignore[arg-type]
    assert client.post("/v1/search", json=QUERY, headers=header(key)).status_code == 200
    bearer = {"Authorization": f"Bearer {key}"}
    assert client.post("/v1/search", json=QUERY, headers=bearer).status_code == 200
    for probe in ("/livez", "/readyz", "/version", "/docs", "/openapi.json", "/metrics"):
        assert client.get(probe).status_code == 200, probe
    revoke_key(catalog, "me")
    for headers in ({}, header(key)):  # the last key's end must not open the service to everyone
        problem(client.post("/v1/search", json=QUERY, headers=headers), 401, "unauthorized")


def test_only_the_settings_open_a_service_that_had_keys(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "REFRESH_S", 0.0)
    with serve(library.copy(tmp_path, require_api_key=False).settings) as opened:
        add_key(opened.service.catalog, "me", ["search"])
        revoke_key(opened.service.catalog, "me")
        assert opened.client.post("/v1/search", json=QUERY).status_code == 200


def test_a_new_key_may_have_the_name_of_a_revoked_one(guarded: Served) -> None:
    client, catalog = guarded.client, guarded.service.catalog
    old = add_key(catalog, "me", ["admin"])
    revoke_key(catalog, "me")
    new = add_key(catalog, "me", ["search"])
    problem(client.post("/v1/search", json=QUERY, headers=header(old)), 401, "unauthorized")
    assert client.post("/v1/search", json=QUERY, headers=header(new)).status_code == 200
    assert [(row.name, row.scopes) for row in list_keys(catalog)] == [("me", ["search"])]


def test_each_scope_permits_its_own(guarded: Served, video_ids: dict[str, str]) -> None:
    client, catalog = guarded.client, guarded.service.catalog
    video = f"/v1/videos/{video_ids['green.mp4']}"
    reader, indexer = header(add_key(catalog, "reader", ["search"])), header(add_key(catalog, "indexer", ["index"]))
    admin = header(add_key(catalog, "admin", ["admin"]))
    requests: list[tuple[str, str, dict[str, object] | None, set[str]]] = [
        ("POST", "/v1/search", QUERY, {"reader", "admin"}),
        ("GET", video, None, {"reader", "admin"}),
        ("GET", f"{video}/stream", None, {"reader", "admin"}),
        ("PATCH", video, {"tags": ["x"]}, {"indexer", "admin"}),
        ("POST", "/v1/index-jobs", {"paths": ["."]}, {"indexer", "admin"}),
        ("DELETE", video, None, {"admin"}),
    ]
    for method, path, body, allowed in requests:
        for name, key in (("reader", reader), ("indexer", indexer), ("admin", admin)):
            response = client.request(method, path, json=body, headers=key)
            if name in allowed:
                assert response.status_code < 300, (method, path, name)
            else:
                problem(response, 403, "forbidden")


def test_what_a_search_answers_can_be_shown_in_a_page(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture or a player sends no header: an address in an answer carries its permission, for its video alone."""
    client, catalog = guarded.client, guarded.service.catalog
    key = header(add_key(catalog, "reader", ["search"]))
    results = client.post("/v1/search", json=QUERY, headers=key).json()["results"]
    moment, other = results[0]["moments"][0], results[1]
    assert client.get(moment["stream_url"]).status_code == 200
    assert client.get(moment["thumbnail_url"]).status_code in (200, 404)
    assert moment["stream_url"].rpartition("#")[2].startswith("t=")
    query = moment["stream_url"].partition("?")[2].partition("#")[0]
    problem(client.get(f"/v1/videos/{other['video_id']}/stream?{query}"), 401, "unauthorized")
    problem(client.get(f"/v1/videos/{results[0]['video_id']}?{query}"), 401, "unauthorized")
    problem(client.get(moment["stream_url"].replace("signature=", "signature=0")), 401, "unauthorized")
    similar = client.get(f"/v1/videos/{other['video_id']}/similar", headers=key).json()["results"]
    assert client.get(similar[0]["moments"][0]["stream_url"]).status_code == 200
    monkeypatch.setattr("app.links.time.time", lambda: 4e9)
    problem(client.get(moment["stream_url"]), 401, "unauthorized")


def test_only_a_digest_is_kept(guarded: Served) -> None:
    key = add_key(guarded.service.catalog, "me", ["search"])
    assert key.startswith("htav_") and len(key) > 40
    with guarded.service.catalog.session() as session:
        row = session.scalars(select(ApiKey)).one()
    assert key.encode() not in row.digest and len(row.digest) == 32
    for path in guarded.settings.data_dir.glob("catalog.db*"):
        assert key.encode() not in path.read_bytes()


def test_names_of_keys(guarded: Served) -> None:
    catalog = guarded.service.catalog
    add_key(catalog, "me", ["search"])
    with pytest.raises(Unprocessable, match="already"):
        add_key(catalog, "me", ["search"])
    with pytest.raises(Unprocessable, match="no key"):
        revoke_key(catalog, "you")
    assert [row.name for row in list_keys(catalog)] == ["me"]


def test_required_without_any_key_lets_nobody_in(library: Library, tmp_path: Path) -> None:
    with serve(library.copy(tmp_path, require_api_key=True).settings) as locked:
        problem(locked.client.post("/v1/search", json=QUERY), 401, "unauthorized")
        assert locked.client.get("/readyz").status_code == 200


def test_a_key_that_asks_too_often_waits(library: Library, tmp_path: Path) -> None:
    with serve(library.copy(tmp_path, requests_per_minute=3).settings) as limited:
        key = header(add_key(limited.service.catalog, "me", ["search"]))
        limited.service.guard._read_at = -security.REFRESH_S
        answers = [limited.client.get("/v1/videos", headers=key) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        problem(answers[-1], 429, "rate_limited")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 21


def test_a_bucket_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(security.time, "monotonic", lambda: at)
    bucket = TokenBucket(60)
    assert [bucket.take() for _ in range(60)] == [0.0] * 60
    assert bucket.take() == pytest.approx(1.0)
    at += 1.0
    assert bucket.take() == 0.0
    at += 10_000
    assert [bucket.take() > 0 for _ in range(61)] == [False] * 60 + [True]


def test_keys_do_not_reach_the_logs(guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
    key = add_key(guarded.service.catalog, "me", ["search"])
    with caplog.at_level("DEBUG", logger="htav"):
        guarded.client.post("/v1/search", json=QUERY, headers=header(key))
    assert key not in caplog.text


def test_the_description_says_how_to_authenticate(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"APIKeyHeader", "HTTPBearer"} <= document["components"]["securitySchemes"].keys()
    assert document["paths"]["/v1/search"]["post"]["security"]
    assert "security" not in document["paths"]["/livez"]["get"]
