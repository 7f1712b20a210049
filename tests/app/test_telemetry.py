"""Metrics and logs: what an operator needs, and never what a person asked."""

import json
import logging
import re

import httpx
import pytest

from app.telemetry import JsonLines, configure_logging, request_id
from indexer import failures
from indexer.catalog import Video, VideoState, media_root
from tests.app.conftest import Served

SECRET = "xylophones of my grandmother"


def value(client: httpx.Client, line: str) -> float:
    match = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def test_stages_and_answers_are_counted(client: httpx.Client) -> None:
    answers = 'htav_requests_total{method="POST",route="/v1/search",status="200"}'
    before = value(client, answers), value(client, 'htav_stage_seconds_count{stage="rerank"}')
    client.post("/v1/search", json={"query": SECRET})
    assert value(client, answers) == before[0] + 1
    assert value(client, 'htav_stage_seconds_count{stage="rerank"}') == before[1] + 1
    for stage in ("encode", "shortlist", "fetch", "rerank", "moments", "total"):
        assert value(client, f'htav_stage_seconds_sum{{stage="{stage}"}}') > 0


def test_the_state_of_the_index_is_shown(client: httpx.Client, served: Served) -> None:
    snapshot = client.get("/readyz").json()["snapshot"]
    model = served.service.search.retriever.name
    assert value(client, f'htav_snapshot_info{{model="{model}",snapshot="{snapshot}"}}') == 1
    assert value(client, "htav_snapshot_videos") == 4
    assert value(client, 'htav_index_files{code="",state="ready"}') == 4
    assert value(client, "htav_ready") == 1
    assert value(client, "htav_queue_depth") == 0


def test_a_file_that_fails_is_counted_once(mutable: Served) -> None:
    """Also one that failed once its content was known, and so has a video; and a video whose failure was forgiven."""
    catalog, client = mutable.service.catalog, mutable.client
    with catalog.transaction() as session:
        for number, (name, forgiven) in enumerate([("a.mp4", False), ("b.mp4", True)]):
            video = Video(id=str(number), content_hash=str(number), state=VideoState.FAILED, code="timeout")
            session.add(video)
            if not forgiven:
                failures.record(session, media_root(session, "/media").id, name, "timeout", "", video_id=video.id)
        failures.record(session, media_root(session, "/media").id, "c.mp4", "unreadable", "")
    failed = re.findall(r'htav_index_files{code="(\w*)",state="failed"} (\S+)', client.get("/metrics").text)
    assert sorted(failed) == [("", "1.0"), ("timeout", "1.0"), ("unreadable", "1.0")]


def test_unknown_addresses_do_not_grow_the_metrics(client: httpx.Client) -> None:
    for number in range(20):
        client.get(f"/nowhere/{number}")
    text = client.get("/metrics").text
    assert "/nowhere" not in text
    assert value(client, 'htav_requests_total{method="",route="unmatched",status="404"}') >= 20


def test_invented_methods_do_not_grow_the_metrics(client: httpx.Client) -> None:
    refused = 'htav_requests_total{method="",route="/v1/search",status="405"}'
    before = value(client, refused)
    for number in range(5):
        assert client.request(f"INVENTED{number}", "/v1/search").status_code == 405
    assert "INVENTED" not in client.get("/metrics").text
    assert value(client, refused) == before + 5


def test_a_query_is_never_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/v1/search", json={"query": SECRET}, headers={"X-Request-ID": "find-me"})
        client.post("/v1/search", json={"query": SECRET, "limit": 0})
        client.get(f"/v1/videos?cursor={SECRET}&limit=0")
    # httpx is the test's own client; uvicorn's access log is off in the service (see configure_logging).
    ours = [record for record in caplog.records if record.name not in ("httpx", "uvicorn.access")]
    formatted = "".join(JsonLines().format(record) for record in ours)
    assert '"/v1/search"' in formatted
    assert "xylophone" not in formatted


def test_a_request_is_one_line_and_probes_are_none(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="htav.access"):
        for probe in ("/livez", "/readyz", "/metrics"):
            client.get(probe)
        client.get("/version")
    records = [record for record in caplog.records if record.name == "htav.access"]
    assert [record.__dict__["route"] for record in records] == ["/version"]
    assert records[0].__dict__["status"] == 200 and records[0].__dict__["ms"] > 0


def test_a_log_line_is_json_with_its_request_id() -> None:
    record = logging.LogRecord("htav.test", logging.INFO, "f", 1, "said %s", ("ä\n",), None)
    record.route = "/v1/search"
    token = request_id.set("id-1")
    try:
        line = JsonLines().format(record)
    finally:
        request_id.reset(token)
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["message"], entry["request_id"], entry["route"]) == ("said ä\n", "id-1", "/v1/search")


def test_configured_logging_writes_json_lines_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging("INFO")
        logging.getLogger("htav.test").info("hello", extra={"number": 5})
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("failed")
        logging.getLogger("uvicorn.access").warning("not this one")
    finally:
        root.handlers[:], root.level = before, level
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in err.splitlines())
    assert out == ""
    assert (first["message"], first["number"], first["level"]) == ("hello", 5, "INFO")
    assert "ValueError: why" in second["exception"]
