"""POST /v1/search: the shape that clients rely on, and what its fields promise."""

import math
from pathlib import Path

import httpx
import pytest

from app.schemas import SearchResponse
from indexer.pipeline import index_paths
from model.retriever import Retriever, Scores
from tests.app.conftest import Served, problem, until
from tests.media_files import write_media

QUERY = "a red ball rolls across the grass"
DOCUMENT = {
    "query_id", "snapshot", "model", "pool", "degraded", "best_confidence", "took_ms", "truncated_at", "results",
    "next_cursor",
}  # fmt: skip
RESULT = {
    "rank", "video_id", "title", "uri", "score", "confidence", "modality_scores", "moments", "explanation",
}  # fmt: skip


def search(client: httpx.Client, query: str = QUERY, **fields: object) -> dict[str, object]:
    response = client.post("/v1/search", json={"query": query, **fields})
    assert response.status_code == 200, response.text
    body: dict[str, object] = response.json()
    return body


def results(body: dict[str, object]) -> list[dict[str, object]]:
    found = body["results"]
    assert isinstance(found, list)
    return found


def test_the_answer_has_the_promised_shape(client: httpx.Client) -> None:
    body = search(client)
    assert DOCUMENT <= body.keys()
    assert body["pool"] == {"videos": 4, "clips": 7, "seconds": pytest.approx(39, abs=0.2)}
    assert str(body["model"]).startswith("htav-tiny@")
    assert body["truncated_at"] is None
    for rank, result in enumerate(results(body), 1):
        assert RESULT <= result.keys()
        assert result["rank"] == rank
        assert -1 <= float(str(result["score"])) <= 1
        assert result["confidence"] in {"high", "medium", "low", "none"}
        assert result["explanation"] is None
    SearchResponse.model_validate(body)


def test_every_stage_says_what_it_took(client: httpx.Client) -> None:
    took = search(client)["took_ms"]
    assert isinstance(took, dict)
    assert {"encode", "shortlist", "fetch", "rerank", "total"} <= took.keys()
    assert all(value > 0 for value in took.values())
    assert took["total"] >= sum(value for name, value in took.items() if name != "total") - 0.1


def test_results_are_sorted_and_each_video_is_there_once(client: httpx.Client) -> None:
    found = results(search(client))
    keys = [(-float(str(result["score"])), str(result["video_id"])) for result in found]
    assert keys == sorted(keys)
    assert len({key[1] for key in keys}) == len(found) == 4


def test_addresses_are_relative_to_the_media_root(client: httpx.Client, served: Served) -> None:
    body = client.post("/v1/search", json={"query": QUERY}).text
    assert {result["uri"] for result in results(search(client))} == {
        "home/red.mp4", "green.mp4", "blue.mp4", "tone.m4a",
    }  # fmt: skip
    assert str(served.settings.media_roots[0]) not in body


def test_moments_lie_inside_their_video(client: httpx.Client) -> None:
    lengths = {video["id"]: video["duration_s"] for video in client.get("/v1/videos").json()["videos"]}
    for result in results(search(client)):
        moments = result["moments"]
        assert isinstance(moments, list) and moments
        for moment in moments:
            length = lengths[result["video_id"]] + 0.01
            assert 0 <= moment["start_s"] < moment["peak_s"] < moment["end_s"] <= length
        ordered = sorted(moments, key=lambda moment: moment["start_s"])
        assert all(a["end_s"] <= b["start_s"] for a, b in zip(ordered, ordered[1:], strict=False))


def test_the_addresses_in_a_moment_answer(client: httpx.Client) -> None:
    for result in results(search(client)):
        moment = result["moments"][0]  # type: ignore[index]
        assert client.get(moment["stream_url"]).status_code == 200
        expected = 404 if result["title"] == "tone" else 200
        assert client.get(moment["thumbnail_url"]).status_code == expected


def test_a_modality_that_a_video_lacks_is_null(client: httpx.Client) -> None:
    scores = {result["title"]: result["modality_scores"] for result in results(search(client))}
    assert scores["green"]["audio"] is None and scores["green"]["video"] is not None  # type: ignore[index]
    assert scores["tone"]["video"] is None and scores["tone"]["audio"] is not None  # type: ignore[index]
    assert None not in scores["red"].values()  # type: ignore[attr-defined]


def test_modalities_choose_what_is_scored(client: httpx.Client) -> None:
    seen = {r["title"]: r for r in results(search(client, modalities=["video"]))}
    assert all(r["modality_scores"]["audio"] is None for r in seen.values())  # type: ignore[index]
    assert "tone" not in seen, "a file without pictures is no answer where pictures alone are asked for"
    heard = [r["title"] for r in results(search(client, modalities=["audio"]))]
    assert "tone" in heard and "green" not in heard
    assert search(client, modalities=["audio"])["pool"]["videos"] == 3  # type: ignore[index]
    deaf = search(client, modalities=["audio"], filter={"has_audio": False})
    assert deaf["results"] == [] and deaf["degraded"] == ["audio_missing"]
    both = {r["title"]: r for r in results(search(client))}
    assert seen["red"]["score"] == pytest.approx(seen["red"]["modality_scores"]["video"], abs=1e-5)  # type: ignore[index]
    assert seen["red"]["score"] != both["red"]["score"]


def test_no_sound_in_what_was_reranked_is_said(client: httpx.Client) -> None:
    assert search(client)["degraded"] == []
    silent = search(client, filter={"has_audio": False})
    assert silent["degraded"] == ["audio_missing"]
    assert search(client, modalities=["video"], filter={"has_audio": False})["degraded"] == []


def test_an_explanation_belongs_to_the_best_clip(client: httpx.Client) -> None:
    for result in results(search(client, explain=True)):
        why = result["explanation"]
        assert isinstance(why, dict)
        N = len(why["tokens"])
        assert N == len(why["video_attention"]) == len(why["audio_kept"]) == len(why["audio_alignment"]) > 0
        for row in why["video_attention"]:
            assert len(row) == len(why["frames"])
            assert not why["frames"] or math.isclose(sum(row), 1, abs_tol=1e-3)
        for row in [*why["audio_kept"], *why["audio_alignment"]]:
            assert len(row) == len(why["audio_times"])
        assert why["gates"]


def test_a_search_of_pictures_is_not_explained_by_sounds(client: httpx.Client) -> None:
    for result in results(search(client, explain=True, modalities=["video"])):
        why = result["explanation"]
        assert isinstance(why, dict)
        assert why["audio_times"] == [] and why["heard_as"] == "" and "spelled" not in why["gates"]
        assert bool(why["frames"]) == (result["title"] != "tone")


def test_asking_for_reasons_changes_no_score(client: httpx.Client) -> None:
    plain, explained = results(search(client)), results(search(client, explain=True))
    assert [r["score"] for r in plain] == [r["score"] for r in explained]


def test_confidence_is_told_by_the_means_and_order_by_the_scores(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, rerank = results(search(client)), Retriever.rerank

    def unsure(*args: object, **options: object) -> Scores:
        scores = rerank(*args, **options)  # type: ignore[arg-type]
        return scores._replace(mean=scores.fused - 2.0)

    monkeypatch.setattr(Retriever, "rerank", unsure)
    found = results(search(client))
    assert [(r["video_id"], r["score"]) for r in found] == [(r["video_id"], r["score"]) for r in plain]
    assert {r["confidence"] for r in found} == {"none"} != {r["confidence"] for r in plain}


def test_confidence_below_the_floor_is_left_out(client: httpx.Client) -> None:
    everything = results(search(client))
    order = ["none", "low", "medium", "high"]
    for floor in order:
        kept = [r["video_id"] for r in everything if order.index(str(r["confidence"])) >= order.index(floor)]
        assert [r["video_id"] for r in results(search(client, min_confidence=floor))] == kept
    told = [order.index(str(r["confidence"])) for r in everything]
    assert told == sorted(told, reverse=True), "none is surer than one before it"
    assert search(client, min_confidence="high")["best_confidence"] == everything[0]["confidence"]


def test_pages_walk_one_list(client: httpx.Client) -> None:
    whole, cursor, seen = results(search(client)), None, []
    for _ in range(4):
        page = search(client, limit=1, cursor=cursor)
        seen += results(page)
        cursor = page["next_cursor"]
    assert cursor is None
    keys = ("rank", "video_id", "score", "moments")
    assert [[r[key] for key in keys] for r in seen] == [[r[key] for key in keys] for r in whole]


def test_a_cursor_of_another_question_is_refused(client: httpx.Client) -> None:
    cursor = search(client, limit=1)["next_cursor"]
    other = client.post("/v1/search", json={"query": "something else", "limit": 1, "cursor": cursor})
    problem(other, 422, "cursor_mismatch")
    more = client.post("/v1/search", json={"query": QUERY, "limit": 2, "cursor": cursor})
    problem(more, 422, "cursor_mismatch")


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "e30", "AAAA" * 100, "eyJzIjoxfQ", "é"])
def test_a_cursor_that_is_not_ours_is_refused(client: httpx.Client, cursor: str) -> None:
    problem(client.post("/v1/search", json={"query": QUERY, "cursor": cursor}), 400, "cursor_invalid")


def test_a_cursor_of_a_retired_snapshot_is_gone(mutable: Served, tmp_path: Path, tiny_checkpoint: Path) -> None:
    client = mutable.client
    before = search(client, limit=1)
    write_media(tmp_path / "new.mp4", seconds=1)
    index_paths([tmp_path / "new.mp4"], mutable.settings, Retriever.from_pretrained(tiny_checkpoint))
    until(lambda: search(client)["snapshot"] != before["snapshot"])
    assert search(client)["pool"]["videos"] == 5  # type: ignore[index]
    retired = client.post("/v1/search", json={"query": QUERY, "limit": 1, "cursor": before["next_cursor"]})
    problem(retired, 410, "snapshot_retired")


def test_a_small_shortlist_says_where_it_ends(client: httpx.Client) -> None:
    body = search(client, limit=1, shortlist=1)
    assert body["truncated_at"] == 1
    assert len(results(body)) == 1
    grown = search(client, limit=4, shortlist=1)
    assert len(results(grown)) == 4, "the list grows until it holds `limit` videos"


def test_equal_questions_get_equal_answers(client: httpx.Client) -> None:
    first, second = search(client), search(client)
    assert results(first) == results(second)
    assert first["query_id"] != second["query_id"]


def test_a_hidden_video_is_not_found(mutable: Served) -> None:
    client = mutable.client
    whole = search(client)
    gone = results(whole)[0]["video_id"]
    video = client.get(f"/v1/videos/{gone}").json()
    assert client.delete(f"/v1/videos/{gone}").status_code == 204
    rest = search(client)
    assert gone not in [result["video_id"] for result in results(rest)]
    assert len(results(rest)) == 3 and rest["truncated_at"] is None
    less = {"videos": 1, "clips": video["clips"], "seconds": video["duration_s"]}
    assert rest["pool"] == {name: pytest.approx(whole["pool"][name] - less[name], abs=0.01) for name in less}  # type: ignore[index]
