"""What a search refuses, and that each refusal says what is wrong and what to do."""

import shutil
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import Library, Served, problem, serve, until

QUERY = "a dog"


def post(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/v1/search", json=body)


@pytest.mark.parametrize("query", ["", " ", "\t\n"])
def test_an_empty_query(client: httpx.Client, query: str) -> None:
    problem(post(client, query=query), 422, "invalid_request")


def test_the_longest_query_and_one_more(client: httpx.Client) -> None:
    longest = ("dog " * 250)[:1000]
    answer = post(client, query=longest)
    assert answer.status_code == 200
    assert answer.json()["degraded"] == ["unknown_words"], "it is said that not all of it is read"
    refused = problem(post(client, query=longest + "s"), 422, "invalid_request")
    assert "1000" in str(refused["detail"])
    assert refused["errors"][0]["pointer"] == "/query"  # type: ignore[index]


@pytest.mark.parametrize("query", ["???", "!", "...,,,"])
def test_a_query_without_a_word(client: httpx.Client, query: str) -> None:
    body = problem(post(client, query=query), 422, "query_not_understood")
    assert "English" in str(body["hint"])


@pytest.mark.parametrize(
    "field",
    [
        {"limit": 0}, {"limit": -1}, {"limit": 101}, {"limit": 1.5}, {"limit": "10"}, {"limit": True},
        {"shortlist": 0}, {"shortlist": 501}, {"modalities": []}, {"modalities": ["smell"]},
        {"modalities": ["video", "video"]}, {"min_confidence": "sure"}, {"explain": "perhaps"}, {"lmit": 3},
        {"filter": {"colour": "red"}}, {"filter": {"duration_s": {"lte": -1}}}, {"filter": {"duration_s": 5}},
        {"filter": {"added_at": {"gte": "yesterday"}}}, {"filter": {"added_at": {"gte": "2026-01-01T00:00:00"}}},
        {"filter": {"added_at": {"lte": "9999-12-31T23:59:59-05:00"}}},
        {"filter": {"recorded_at": {"gt": "0001-01-01T00:00:00+01:00"}}}, {"filter": {"tags": [""]}},
        {"filter": {"path_prefix": "a\0b"}}, {"cursor": 5}, {"query": None}, {"query": 7},
    ],
)  # fmt: skip
def test_a_field_that_makes_no_sense(client: httpx.Client, field: dict[str, object]) -> None:
    body = problem(post(client, **{"query": QUERY, **field}), 422, "invalid_request")
    assert body["errors"]


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded"])
def test_json_that_is_not_sent_as_json(client: httpx.Client, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    response = client.post("/v1/search", content=b'{"query": "a dog"}', headers=headers)
    body = problem(response, 422, "invalid_request")
    assert "JSON" in str(body["detail"])
    assert "content-type: application/json" in str(body["hint"])


def test_characters_that_are_no_text(client: httpx.Client) -> None:
    response = client.post(
        "/v1/search", content=rb'{"query": "\ud800 dog"}', headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (200, 422)
    assert client.post("/v1/search", json={"query": QUERY}).status_code == 200


def test_a_search_before_anything_is_indexed(empty: Served) -> None:
    body = problem(post(empty.client, query=QUERY), 409, "nothing_indexed")
    assert "htav index" in str(body["hint"])
    assert empty.client.get("/readyz").json() == {"status": "ready", "snapshot": None, "videos": 0}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_checkpoint_is_told_and_the_library_stays(library: Library, tmp_path: Path, name: str) -> None:
    """`htav serve` ends with it; where something else runs the application, every search says it."""
    folder = Path(shutil.copytree(str(library.settings.model), tmp_path / "checkpoint"))
    (folder / name).unlink()
    with serve(library.settings.model_copy(update={"model": str(folder)}), wait=False) as broken:
        until(lambda: broken.client.get("/readyz").json()["code"] == "bad_checkpoint")
        body = problem(post(broken.client, query=QUERY), 503, "bad_checkpoint")
        assert name in str(body["detail"]) and "Restore the checkpoint" in str(body["hint"])
        assert len(broken.client.get("/v1/videos").json()["videos"]) == 4


@pytest.mark.parametrize("address", ["", "/similar", "/stream", "/thumbnail"])
def test_an_unknown_video(client: httpx.Client, address: str) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    problem(client.get(f"/v1/videos/{unknown}{address}"), 404, "unknown_video")
    problem(client.get(f"/v1/videos/no-id{address}"), 422, "invalid_request")


def test_a_validation_error_never_repeats_the_input(client: httpx.Client) -> None:
    assert "secret" not in post(client, query=QUERY, limit="secret").text
