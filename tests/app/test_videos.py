"""The catalog over HTTP: list, look at, correct, delete, more like this."""

import httpx
import numpy as np
import pytest

from app.similar import _vectors
from indexer.catalog import Video, VideoUri, now
from indexer.gc import collect_garbage
from tests.app.conftest import Library, Served, problem

FIELDS = {"id", "uri", "uris", "title", "state", "duration_s", "has_audio", "clips", "tags"}


def test_every_video_is_listed_with_what_the_command_line_says_of_it(client: httpx.Client) -> None:
    body = client.get("/v1/videos").json()
    by_title = {video["title"]: video for video in body["videos"]}
    assert body["next_cursor"] is None
    assert set(by_title) == {"red", "green", "blue", "tone"}
    assert all(video.keys() >= FIELDS for video in by_title.values())
    red = by_title["red"]
    assert (red["uri"], red["uris"], red["state"]) == ("home/red.mp4", ["home/red.mp4"], "ready")
    assert (red["clips"], red["has_audio"], red["has_video"], red["width"]) == (1, True, True, 160)
    assert by_title["blue"]["clips"] == 4
    assert (by_title["tone"]["has_video"], by_title["green"]["has_audio"]) == (False, False)


def test_a_file_that_was_moved_is_listed_where_it_is(mutable: Served, video_ids: dict[str, str]) -> None:
    """And one that is gone where it was."""
    address, catalog = f"/v1/videos/{video_ids['red.mp4']}", mutable.service.catalog
    with catalog.transaction() as session:
        video = session.get_one(Video, video_ids["red.mp4"])
        here = video.uris[0]
        video.uris.append(VideoUri(root_id=here.root_id, path="old.mp4", size=1, mtime_ns=1, missing_since=now()))
    assert mutable.client.get(address).json()["uris"] == ["home/red.mp4"]
    with catalog.transaction() as session:
        session.get_one(VideoUri, here.id).missing_since = now()
    assert sorted(mutable.client.get(address).json()["uris"]) == ["home/red.mp4", "old.mp4"]


def test_pages_of_videos(client: httpx.Client) -> None:
    seen, cursor = [], None
    while True:
        page = client.get("/v1/videos", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [video["id"] for video in page["videos"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(set(seen)) and len(seen) == 4


@pytest.mark.parametrize("cursor", ["\0", "x", "7b0c3e9e"])
def test_a_page_after_no_video(client: httpx.Client, cursor: str) -> None:
    problem(client.get("/v1/videos", params={"cursor": cursor}), 422, "invalid_request")


def test_videos_by_state(client: httpx.Client) -> None:
    assert len(client.get("/v1/videos?state=ready").json()["videos"]) == 4
    assert client.get("/v1/videos?state=failed").json()["videos"] == []
    problem(client.get("/v1/videos?state=lost"), 422, "invalid_request")
    problem(client.get("/v1/videos?limit=0"), 422, "invalid_request")


def test_one_video(client: httpx.Client, video_ids: dict[str, str]) -> None:
    body = client.get(f"/v1/videos/{video_ids['blue.mp4']}").json()
    assert (body["title"], body["duration_s"]) == ("blue", pytest.approx(30, abs=0.1))


def test_title_and_tags_can_be_corrected(mutable: Served, video_ids: dict[str, str]) -> None:
    client, address = mutable.client, f"/v1/videos/{video_ids['red.mp4']}"
    assert client.patch(address, json={"title": "Ein roter Ball ⚽"}).json()["title"] == "Ein roter Ball ⚽"
    body = client.patch(address, json={"tags": ["home", "ball", "home"]}).json()
    assert (body["title"], body["tags"]) == ("Ein roter Ball ⚽", ["ball", "home"])
    assert client.get(address).json() == body
    assert client.patch(address, json={"tags": []}).json()["tags"] == []
    assert client.patch(address, json={"title": ""}).json()["title"] == ""


@pytest.mark.parametrize(
    "change", [{}, {"title": "x" * 301}, {"tags": ["x" * 65]}, {"tags": [""]}, {"tags": "home"}, {"state": "ready"},
               {"title": "a\nb"}, {"title": None}, {"collection": "x" * 256}, {"collection": "\0"}, {"collection": 1}],
)  # fmt: skip
def test_a_correction_that_makes_no_sense(client: httpx.Client, video_ids: dict[str, str], change: object) -> None:
    problem(client.patch(f"/v1/videos/{video_ids['red.mp4']}", json=change), 422, "invalid_request")


def test_tags_are_searched_by_filter_and_never_by_score(mutable: Served, video_ids: dict[str, str]) -> None:
    client, query = mutable.client, {"query": "a purple elephant"}
    before = {r["video_id"]: r["score"] for r in client.post("/v1/search", json=query).json()["results"]}
    client.patch(f"/v1/videos/{video_ids['blue.mp4']}", json={"title": "a purple elephant", "tags": ["elephant"]})
    after = client.post("/v1/search", json=query).json()["results"]
    assert {r["video_id"]: r["score"] for r in after} == before
    tagged = client.post("/v1/search", json={**query, "filter": {"tags": ["elephant"]}}).json()["results"]
    assert [r["video_id"] for r in tagged] == [video_ids["blue.mp4"]]


def test_a_collection_is_set_searched_within_and_cleared(mutable: Served, video_ids: dict[str, str]) -> None:
    client, address = mutable.client, f"/v1/videos/{video_ids['blue.mp4']}"
    request = {"query": "a blue picture", "filter": {"collection": "archive"}}
    assert client.post("/v1/search", json=request).json()["results"] == []
    assert client.patch(address, json={"collection": "archive"}).json()["collection"] == "archive"
    assert client.patch(address, json={"tags": ["old"]}).json()["collection"] == "archive", "a field left out stays"
    found = client.post("/v1/search", json=request).json()["results"]
    assert [result["video_id"] for result in found] == [video_ids["blue.mp4"]]
    listed = client.get("/v1/videos").json()["videos"]
    assert {video["title"]: video["collection"] for video in listed if video["collection"]} == {"blue": "archive"}
    assert client.patch(address, json={"collection": None}).json()["collection"] is None
    assert client.post("/v1/search", json=request).json()["results"] == []


def test_deleting_hides_at_once_and_never_touches_the_file(
    mutable: Served, library: Library, video_ids: dict[str, str]
) -> None:
    client, address = mutable.client, f"/v1/videos/{video_ids['green.mp4']}"
    assert client.delete(address, params={"purge": True}).status_code == 204
    problem(client.get(address), 404, "unknown_video")
    problem(client.delete(address), 404, "unknown_video")
    assert len(client.get("/v1/videos").json()["videos"]) == 3
    assert [video["title"] for video in client.get("/v1/videos?state=deleted").json()["videos"]] == ["green"]
    found = client.post("/v1/search", json={"query": "green"}).json()["results"]
    assert video_ids["green.mp4"] not in [result["video_id"] for result in found]
    assert (library.media / "green.mp4").is_file()
    report = collect_garbage(mutable.settings, mutable.service.catalog)
    assert report.clips_dropped == 1, "the index data goes with the next collection"


def test_more_like_this(client: httpx.Client, video_ids: dict[str, str]) -> None:
    body = client.get(f"/v1/videos/{video_ids['red.mp4']}/similar").json()
    found = [result["video_id"] for result in body["results"]]
    assert video_ids["red.mp4"] not in found
    assert sorted(found) == sorted(set(video_ids.values()) - {video_ids["red.mp4"]})
    scores = [result["score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True) and all(-1.01 <= score <= 1.01 for score in scores)
    for rank, result in enumerate(body["results"], 1):
        assert result["rank"] == rank
        assert result["moments"][0]["start_s"] <= result["moments"][0]["peak_s"] <= result["moments"][0]["end_s"]
    one = client.get(f"/v1/videos/{video_ids['red.mp4']}/similar?limit=1").json()["results"]
    assert [result["video_id"] for result in one] == found[:1]


def test_a_sound_is_more_like_a_sound(client: httpx.Client, video_ids: dict[str, str]) -> None:
    """The tone alone and the red video carry the same tone; the green video has none to compare with."""
    found = client.get(f"/v1/videos/{video_ids['tone.m4a']}/similar").json()["results"]
    assert found[0]["title"] in {"red", "blue"}
    assert found[-1]["title"] == "green"


def test_what_is_alike_is_compared_by_pictures_and_sound_alone(served: Served) -> None:
    """The third part of coarse vectors is taught how queries rank, and must not move what is like a video."""
    snapshot = served.service.search.current.get()
    for video_id in snapshot.video_ids:
        vectors = _vectors(snapshot, video_id)
        parts = vectors.reshape(len(vectors), 3, -1)
        assert not parts[:, 2].any()
        np.testing.assert_allclose(np.linalg.norm(parts, axis=2).sum(axis=1), 1.0, atol=1e-3)
