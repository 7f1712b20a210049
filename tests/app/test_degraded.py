"""Less than a whole answer, and requests that nobody waits for: what is said, and what is not done (T22)."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from app.engine import Terms
from app.schemas import SearchRequest, SearchResponse
from app.search import SLICE
from tests.app.conftest import Served, problem, until

QUERY = "a red ball rolls across the grass"


def serve(served: Served, terms: Terms, **fields: object) -> SearchResponse:
    request = SearchRequest.model_validate({"query": QUERY, **fields})
    searcher = served.service.search.searcher
    return searcher.serve(request, searcher.prepare([request])[0], terms)


def test_at_its_deadline_a_search_answers_with_what_it_has(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.search.SLICE", 2)
    late = serve(served, Terms(deadline=time.monotonic() - 1))
    assert late.degraded == ["rerank_timeout"]
    assert late.truncated_at == 2 and 1 <= len(late.results) <= 2
    assert late.next_cursor is None, "a list that was cut short has no second page"
    scores = {result.video_id: result.score for result in serve(served, Terms(deadline=float("inf"))).results}
    assert {result.video_id for result in late.results} <= scores.keys()


def test_a_deadline_can_cut_the_shortlist_of_a_plain_search() -> None:
    assert 2 * SLICE < SearchRequest(query=QUERY).shortlist


def test_past_its_deadline_a_search_looks_for_no_more_moments_and_reasons(served: Served) -> None:
    """All clips fit into the first slice: what is left out is what comes after it."""
    late = serve(served, Terms(deadline=time.monotonic() - 1), limit=2, explain=True)
    assert late.degraded == ["rerank_timeout"]
    assert all(result.explanation is None for result in late.results)
    assert late.truncated_at is None and late.next_cursor, "the list is whole and has its pages"
    whole = serve(served, Terms(deadline=float("inf")), limit=2, explain=True)
    assert [result.score for result in late.results] == [result.score for result in whole.results]
    for hasty, careful in zip(late.results, whole.results, strict=True):
        assert hasty.moments[0].start_s <= careful.moments[0].start_s
        assert hasty.moments[0].end_s >= careful.moments[0].end_s
    assert late.results[0].moments != whole.results[0].moments


def test_under_load_half_as_many_clips_are_reranked_and_it_is_said(served: Served) -> None:
    reduced = serve(served, Terms(float("inf"), reduced=True), shortlist=4, limit=1)
    assert reduced.degraded == ["shortlist_reduced"]
    assert reduced.truncated_at == 2
    whole = serve(served, Terms(float("inf")), shortlist=4, limit=1)
    assert whole.degraded == [] and whole.truncated_at == 4


def test_a_page_goes_on_with_the_list_that_page_one_began(served: Served) -> None:
    # Six clips are of two videos at least, of which a page shows one.
    first = serve(served, Terms(float("inf"), reduced=True), shortlist=12, limit=1)
    assert first.truncated_at == 6 and first.next_cursor
    second = serve(served, Terms(float("inf")), shortlist=12, limit=1, cursor=first.next_cursor)
    assert second.truncated_at == 6, "the same clips, although there is no load any more"
    assert second.results[0].rank == 2
    assert second.degraded == ["shortlist_reduced"]


def test_a_page_that_comes_late_is_still_of_the_same_list(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.search.SLICE", 1)
    first = serve(served, Terms(float("inf")), shortlist=6, limit=1)
    timely, late = (
        serve(served, Terms(deadline), shortlist=6, limit=1, cursor=first.next_cursor)
        for deadline in (float("inf"), time.monotonic() - 1)
    )
    assert [(result.rank, result.video_id) for result in late.results] == [(2, timely.results[0].video_id)]
    assert late.next_cursor == timely.next_cursor


def test_damaged_clips_are_left_out_and_the_rest_is_answered(mutable: Served) -> None:
    healthy = mutable.client.post("/v1/search", json={"query": QUERY}).json()["results"]
    segment = next((mutable.settings.data_dir / "segments").iterdir())
    content = bytearray(segment.read_bytes())
    snapshot = mutable.service.search.current.get()
    place = snapshot._locations([int(snapshot.clip_ids[0])])[int(snapshot.clip_ids[0])]
    content[place.offset + place.length // 2] ^= 0xFF
    segment.write_bytes(content)
    mutable.service.search.current._snapshot._reader.__init__(mutable.settings.data_dir)  # type: ignore[misc, union-attr]
    answer = mutable.client.post("/v1/search", json={"query": QUERY})
    assert answer.status_code == 200
    left = {result["video_id"] for result in answer.json()["results"]}
    assert len(left) == len(healthy) - 1
    assert mutable.client.get("/v1/index-jobs").json()["jobs"][0]["state"] == "queued", "it will be indexed again"


@pytest.fixture
def gated(mutable: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, threading.Event, list[str]]]:
    """A service whose searches wait at a gate, and the queries that came through."""
    gate, seen = threading.Event(), []
    searcher = mutable.service.search.searcher
    real = searcher.serve

    def waiting(payload: SearchRequest, *rest: object) -> SearchResponse:
        seen.append(payload.query)
        assert gate.wait(20)
        return real(payload, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(searcher, "serve", waiting)
    yield mutable, gate, seen
    gate.set()


def send(port: int, query: str) -> socket.socket:
    """A search whose answer is not waited for."""
    body = json.dumps({"query": query}).encode()
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return connection


def dropped(served: Served) -> float:
    value = served.service.metrics.registry.get_sample_value("htav_dropped_total", {"reason": "disconnected"})
    return value or 0.0


def waiting(served: Served) -> float:
    return served.service.metrics.registry.get_sample_value("htav_queue_depth") or 0.0


def test_a_client_that_leaves_while_it_waits_costs_nothing(gated: tuple[Served, threading.Event, list[str]]) -> None:
    served, gate, seen = gated
    first = send(served.port, "first dog")
    until(lambda: seen == ["first dog"])
    second, third = send(served.port, "second dog"), send(served.port, "third dog")
    until(lambda: waiting(served) == 2)
    second.close()
    until(lambda: dropped(served) == 1)
    assert waiting(served) == 1
    gate.set()
    for connection in (first, third):
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()
    assert seen == ["first dog", "third dog"]


def test_a_client_that_leaves_in_service_is_no_crash(
    gated: tuple[Served, threading.Event, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    served, gate, seen = gated
    connection = send(served.port, "first dog")
    until(lambda: len(seen) == 1)
    connection.close()
    left = {"method": "POST", "route": "/v1/search", "status": "499"}
    until(lambda: served.service.metrics.registry.get_sample_value("htav_requests_total", left) == 1)
    gate.set()
    assert served.client.post("/v1/search", json={"query": "a dog"}).status_code == 200
    assert "crashed" not in caplog.text


def test_a_full_queue_is_told_over_http(gated: tuple[Served, threading.Event, list[str]]) -> None:
    served, gate, seen = gated
    connections = [send(served.port, "a dog")]
    until(lambda: len(seen) == 1)
    connections += [send(served.port, f"dog number {n}") for n in range(served.settings.queue_depth)]
    until(lambda: waiting(served) == served.settings.queue_depth)
    began = time.monotonic()
    response = served.client.post("/v1/search", json={"query": "one more"})
    assert time.monotonic() - began < 1
    problem(response, 503, "queue_full")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    gate.set()
    answers = [connection.makefile("rb").read1(65536) for connection in connections]
    for connection in connections:
        connection.close()
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert "one more" not in seen
