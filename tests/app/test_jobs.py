"""Index jobs over HTTP, with a worker's part played by the jobs' own functions."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from indexer import jobs
from indexer.catalog import VideoState
from indexer.errors import PathRefused
from indexer.pipeline import run_job
from model.retriever import Retriever
from tests.app.conftest import Library, Served, problem, serve
from tests.media_files import unknown_codec, write_media
from tests.permissions import bound_by_permissions, open_to_all

UNKNOWN = "01JD8Q6Z3V5W8X9Y0Z1A2B3C4D"


@pytest.fixture
def roomy(library: Library, tmp_path: Path) -> Iterator[Served]:
    """A service whose media root is a folder of this test."""
    media = tmp_path / "media"
    media.mkdir()
    write_media(media / "new.mp4", seconds=1)
    (media / "broken.mp4").write_bytes(b"no video at all")
    with serve(library.copy(tmp_path, media_roots=[media]).settings) as running:
        yield running


def work(served: Served, checkpoint: Path) -> None:
    """Do the oldest waiting job, as a worker would."""
    lease = jobs.claim(served.service.catalog, served.settings)
    assert lease is not None
    with suppress(PathRefused):  # the job says it
        run_job(lease, served.settings, served.service.catalog, Retriever.from_pretrained(checkpoint))


def submit(client: httpx.Client, *paths: str) -> str:
    response = client.post("/v1/index-jobs", json={"paths": list(paths)})
    assert response.status_code == 202, response.text
    job_id = str(response.json()["job_id"])
    assert response.headers["location"] == f"/v1/index-jobs/{job_id}"
    assert client.get(response.headers["location"]).json()["id"] == job_id
    return job_id


def test_a_job_from_asking_to_done(roomy: Served, tiny_checkpoint: Path) -> None:
    client = roomy.client
    job_id = submit(client, ".")
    waiting = client.get(f"/v1/index-jobs/{job_id}").json()
    assert (waiting["state"], waiting["progress"], waiting["failed"]) == ("queued", 0.0, [])
    work(roomy, tiny_checkpoint)
    done = client.get(f"/v1/index-jobs/{job_id}").json()
    assert (done["state"], done["progress"]) == ("done_with_failures", 1.0)
    assert done["counts"]["encoded"] == 1
    assert [(failure["uri"], bool(failure["code"]), bool(failure["message"])) for failure in done["failed"]] == [
        ("broken.mp4", True, True)
    ]
    assert done["started_at"] <= done["finished_at"]
    assert str(roomy.settings.media_roots[0]) not in json.dumps(done), "absolute paths are the owner's business"
    titles = {video["title"] for video in client.get("/v1/videos?state=ready").json()["videos"]}
    assert "new" in titles


def test_a_failed_file_can_be_tried_again(roomy: Served, tiny_checkpoint: Path) -> None:
    client = roomy.client
    first = submit(client, ".")
    work(roomy, tiny_checkpoint)
    write_media(roomy.settings.media_roots[0] / "broken.mp4", seconds=1, size=(64, 48))
    retried = client.post(f"/v1/index-jobs/{first}/retry")
    assert retried.status_code == 202
    assert retried.json()["job_id"] != first
    problem(client.post(f"{retried.headers['location']}/retry"), 409, "conflict")
    work(roomy, tiny_checkpoint)
    assert client.get(retried.headers["location"]).json()["state"] == "done"
    problem(client.post(f"{retried.headers['location']}/retry"), 409, "conflict")


def test_a_finished_job_goes_on_saying_why_its_files_failed(roomy: Served, tiny_checkpoint: Path) -> None:
    """Whatever became of them since: tried again, failed in another way, indexed."""
    client, broken = roomy.client, roomy.settings.media_roots[0] / "broken.mp4"
    first = submit(client, "broken.mp4")
    work(roomy, tiny_checkpoint)
    (told,) = client.get(f"/v1/index-jobs/{first}").json()["failed"]
    assert told["uri"] == "broken.mp4" and told["code"] != "unknown" and told["message"] and told["attempts"] == 1
    unknown_codec(broken)
    retried = client.post(f"/v1/index-jobs/{first}/retry").headers["location"]
    assert client.get(f"/v1/index-jobs/{first}").json()["failed"] == [told]
    work(roomy, tiny_checkpoint)
    assert [failure["code"] for failure in client.get(retried).json()["failed"]] == ["unsupported_codec"]
    assert client.get(f"/v1/index-jobs/{first}").json()["failed"] == [told]
    write_media(broken, seconds=1, size=(64, 48))
    submit(client, "broken.mp4")
    work(roomy, tiny_checkpoint)
    assert client.get(f"/v1/index-jobs/{first}").json()["failed"] == [told]
    assert [failure["code"] for failure in client.get(retried).json()["failed"]] == ["unsupported_codec"]


def test_files_of_one_name_in_two_roots_each_say_why_they_failed(
    library: Library, tmp_path: Path, tiny_checkpoint: Path, postgres_url: str
) -> None:
    """Told by PostgreSQL, whose JSON is asked in other words than SQLite's."""
    roots = [tmp_path / "one", tmp_path / "other"]
    for root in roots:
        root.mkdir()
    (roots[0] / "a.mp4").write_bytes(b"no video at all")
    unknown_codec(roots[1] / "a.mp4")
    changes = {"media_roots": roots, "data_dir": tmp_path / "data", "database_url": postgres_url}
    with serve(library.settings.model_copy(update=changes), wait=False) as running:
        job_id = submit(running.client, *map(str, roots))
        work(running, tiny_checkpoint)
        before = running.client.get(f"/v1/index-jobs/{job_id}").json()["failed"]
        running.client.post(f"/v1/index-jobs/{job_id}/retry")
        after = running.client.get(f"/v1/index-jobs/{job_id}").json()["failed"]
        work(running, tiny_checkpoint)
        again = submit(running.client, *map(str, roots))
        work(running, tiny_checkpoint)
        repeated = running.client.get(f"/v1/index-jobs/{again}").json()["failed"]
    codes = {failure["code"] for failure in before}
    assert len(codes) == 2 and "unsupported_codec" in codes
    assert sorted(after, key=lambda failure: failure["code"]) == sorted(before, key=lambda failure: failure["code"])
    assert {failure["code"] for failure in repeated} == codes


def test_pictures_in_an_unknown_codec_fail_their_file_alone(roomy: Served, tiny_checkpoint: Path) -> None:
    client = roomy.client
    unknown_codec(roomy.settings.media_roots[0] / "odd.mp4")
    job_id = submit(client, "odd.mp4", "new.mp4")
    work(roomy, tiny_checkpoint)
    done = client.get(f"/v1/index-jobs/{job_id}").json()
    assert (done["state"], done["counts"]["encoded"], done["counts"]["failed"]) == ("done_with_failures", 1, 1)
    (failure,) = done["failed"]
    assert (failure["uri"], failure["code"]) == ("odd.mp4", "unsupported_codec")
    assert "Convert it" in failure["message"]
    again = submit(client, "odd.mp4", "new.mp4")
    work(roomy, tiny_checkpoint)
    assert client.get(f"/v1/index-jobs/{again}").json()["failed"] == [failure], "also where nothing is tried again"


def test_a_file_that_may_not_be_read_fails_alone_and_is_listed(roomy: Served, tiny_checkpoint: Path) -> None:
    client, media = roomy.client, roomy.settings.media_roots[0]
    submit(client, "new.mp4")
    work(roomy, tiny_checkpoint)
    write_media(media / "shut.mp4", seconds=1, size=(64, 48)).chmod(0)
    open_to_all(media, tiny_checkpoint)
    open_to_all(roomy.settings.data_dir, write=True)
    job_id = submit(client, "new.mp4", "shut.mp4")
    with bound_by_permissions():
        work(roomy, tiny_checkpoint)
    done = client.get(f"/v1/index-jobs/{job_id}").json()
    assert (done["state"], done["counts"]["unchanged"], done["counts"]["failed"]) == ("done_with_failures", 1, 1)
    (failure,) = done["failed"]
    assert (failure["uri"], failure["code"]) == ("shut.mp4", "unreadable")
    assert "permission" in failure["message"]
    (media / "shut.mp4").chmod(0o644)
    retried = client.post(f"/v1/index-jobs/{job_id}/retry")
    work(roomy, tiny_checkpoint)
    assert client.get(retried.headers["location"]).json()["counts"]["encoded"] == 1


def test_a_link_that_leads_nowhere_does_not_stop_a_retry(roomy: Served, tiny_checkpoint: Path) -> None:
    client, media = roomy.client, roomy.settings.media_roots[0]
    (media / "nowhere.mp4").symlink_to(media.parent / "gone.mp4")
    first = submit(client, ".")
    work(roomy, tiny_checkpoint)
    write_media(media / "broken.mp4", seconds=1, size=(64, 48))
    retried = client.post(f"/v1/index-jobs/{first}/retry")
    work(roomy, tiny_checkpoint)
    done = client.get(retried.headers["location"]).json()
    assert (done["state"], done["counts"]["encoded"]) == ("done_with_failures", 1)
    assert [(failure["uri"], failure["code"]) for failure in done["failed"]] == [("nowhere.mp4", "unreadable")]


def test_a_folder_without_media_fails_the_job_and_says_what_to_do(roomy: Served, tiny_checkpoint: Path) -> None:
    bare = roomy.settings.media_roots[0] / "bare"
    bare.mkdir()
    (bare / "notes.txt").write_text("nothing to see")
    before = roomy.client.get("/v1/videos").json()
    job_id = submit(roomy.client, "bare")
    work(roomy, tiny_checkpoint)
    done = roomy.client.get(f"/v1/index-jobs/{job_id}").json()
    assert (done["state"], done["code"]) == ("failed", "nothing_to_index")
    assert "no media files" in done["message"] and "Name a folder" in done["message"]
    assert roomy.client.get("/v1/videos").json() == before


def test_jobs_are_listed_newest_first(roomy: Served) -> None:
    client = roomy.client
    made = [submit(client, "new.mp4"), submit(client, ".")]
    listed = client.get("/v1/index-jobs", params={"limit": 2}).json()["jobs"]
    assert [job["id"] for job in listed] == made[::-1]
    assert len(client.get("/v1/index-jobs?state=queued").json()["jobs"]) == 2
    problem(client.get("/v1/index-jobs?state=lost"), 422, "invalid_request")


def test_pages_of_jobs_reach_the_oldest(roomy: Served) -> None:
    client = roomy.client
    made = [submit(client, "new.mp4") for _ in range(5)]
    client.delete(f"/v1/index-jobs/{made[3]}")

    def walk(**asked: str | int) -> list[str]:
        seen, cursor = [], None
        while True:
            page = client.get("/v1/index-jobs", params=asked | ({"cursor": cursor} if cursor else {})).json()
            assert 0 < len(page["jobs"]) <= 2
            seen += [job["id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return seen

    everything = walk(limit=2)
    assert everything[:5] == made[::-1] and len(set(everything)) == len(everything) == 6, "the index's own job is last"
    assert walk(limit=2, state="queued") == [job_id for job_id in made[::-1] if job_id != made[3]]
    assert client.get("/v1/index-jobs?limit=6").json()["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["\0", "x", "01jd8q6z3v5w8x9y0z1a2b3c4d"])
def test_a_page_after_no_job(client: httpx.Client, cursor: str) -> None:
    problem(client.get("/v1/index-jobs", params={"cursor": cursor}), 422, "invalid_request")


def test_a_jobs_paths_cost_one_look_at_the_media_roots(roomy: Served) -> None:
    """However many they are, and however many jobs are listed."""
    catalog = roomy.service.catalog
    ids = [jobs.submit(catalog, [roomy.settings.media_roots[0] / f"{n}.mp4" for n in range(40)]) for _ in range(3)]
    looks: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM media_root" in statement:
            looks.append(statement)

    event.listen(catalog.engine, "before_cursor_execute", note)
    for address, number in ((f"/v1/index-jobs/{ids[0]}", 1), ("/v1/index-jobs?limit=3", 3)):
        looks.clear()
        body = roomy.client.get(address).json()
        told = body.get("jobs", [body])
        assert [len(job["paths"]) for job in told] == [40] * number and len(looks) == 1


def test_a_waiting_job_can_be_cancelled(roomy: Served) -> None:
    client = roomy.client
    job_id = submit(client, ".")
    assert client.delete(f"/v1/index-jobs/{job_id}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/index-jobs/{job_id}").json()["state"] == "cancelled"
    assert jobs.claim(roomy.service.catalog, roomy.settings) is None


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/etc", 403, "outside_media_root"), ("../../../etc/passwd", 403, "outside_media_root"),
     ("a/../../..", 403, "outside_media_root"), ("/", 403, "outside_media_root"),
     ("http://example.com/a.mp4", None, None), ("/proc/self/root/etc", 403, "outside_media_root")],
)  # fmt: skip
def test_a_path_outside_the_media_roots_is_refused(
    roomy: Served, path: str, status: int | None, code: str | None
) -> None:
    before = len(roomy.client.get("/v1/index-jobs").json()["jobs"])
    response = roomy.client.post("/v1/index-jobs", json={"paths": ["new.mp4", path]})
    if status is not None and code is not None:
        problem(response, status, code)
        assert len(roomy.client.get("/v1/index-jobs").json()["jobs"]) == before, "nothing is queued"
    else:
        assert response.status_code < 500


def test_a_link_out_of_the_media_roots_is_refused(roomy: Served, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = roomy.settings.media_roots[0] / "link"
    link.symlink_to(outside)
    problem(roomy.client.post("/v1/index-jobs", json={"paths": [str(link)]}), 403, "outside_media_root")


def test_what_lies_outside_the_media_roots_is_not_told(roomy: Served, tmp_path: Path) -> None:
    """A file, a folder, a loop of links and nothing at all are refused in the same words."""
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    told = set()
    for name in ("file", "folder", "loop", "nothing", "file/below", "loop/below", "nothing/below"):
        for path in (str(tmp_path / name), f"../{name}"):
            refused = problem(roomy.client.post("/v1/index-jobs", json={"paths": [path]}), 403, "outside_media_root")
            told.add((path.startswith("/"), str(refused["detail"]).replace(path, "PATH"), refused["hint"]))
    assert len(told) == 2, "one answer to absolute paths, one to relative ones"


def test_a_media_root_that_is_gone_may_be_named(roomy: Served, tiny_checkpoint: Path) -> None:
    """A disk that was taken out: what it held is to be marked missing, and comes back with it."""
    client, media = roomy.client, roomy.settings.media_roots[0]
    submit(client, "new.mp4")
    work(roomy, tiny_checkpoint)
    aside = media.rename(media.with_name("aside"))
    submit(client, str(media))
    work(roomy, tiny_checkpoint)
    assert [video["title"] for video in client.get("/v1/videos?state=missing").json()["videos"]] == ["new"]
    problem(client.post("/v1/index-jobs", json={"paths": [str(media / "unknown")]}), 404, "path_not_found")
    aside.rename(media)
    submit(client, str(media))
    work(roomy, tiny_checkpoint)
    assert client.get("/v1/videos?state=missing").json()["videos"] == []


def test_a_media_root_that_never_was_there_has_nothing_to_index(library: Library, tmp_path: Path) -> None:
    with serve(library.copy(tmp_path, media_roots=[tmp_path / "usb"]).settings, wait=False) as running:
        named = running.client.post("/v1/index-jobs", json={"paths": [str(tmp_path / "usb")]})
        problem(named, 404, "path_not_found")


def test_a_path_that_neither_disk_nor_catalog_knows(roomy: Served, library: Library) -> None:
    client, green = roomy.client, library.media / "green.mp4"
    problem(client.post("/v1/index-jobs", json={"paths": ["new.mp5"]}), 404, "path_not_found")
    aside = green.with_suffix(".aside")
    green.rename(aside)
    try:
        submit(client, "green.mp4")
    finally:
        aside.rename(green)


@pytest.mark.parametrize("body", [{}, {"paths": []}, {"paths": [""]}, {"paths": ["a\0b"]}, {"paths": ["x" * 4097]},
                                  {"paths": "a"}, {"paths": ["a"], "owner": True}])  # fmt: skip
def test_a_job_that_makes_no_sense(client: httpx.Client, body: dict[str, object]) -> None:
    problem(client.post("/v1/index-jobs", json=body), 422, "invalid_request")


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/events")])
def test_an_unknown_job(client: httpx.Client, method: str, tail: str) -> None:
    problem(client.request(method, f"/v1/index-jobs/{UNKNOWN}{tail}"), 404, "unknown_job")
    problem(client.request(method, f"/v1/index-jobs/nonsense{tail}"), 422, "invalid_request")


def parse(stream: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events as dicts; comments and empty events are left out."""
    event: dict[str, str] = {}
    for line in stream:
        if line == "":
            if "data" in event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


def test_a_job_is_followed_to_its_end(roomy: Served, tiny_checkpoint: Path) -> None:
    job_id = submit(roomy.client, ".")
    worker = threading.Timer(0.5, work, (roomy, tiny_checkpoint))
    worker.start()
    with roomy.client.stream("GET", f"/v1/index-jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(parse(response.iter_lines()))
    worker.join()
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    states = [json.loads(event["data"])["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "running", "done_with_failures"]
    settled = {json.loads(event["data"])["state"] for event in events if event["event"] == "file"}
    assert {VideoState.READY, VideoState.FAILED} <= settled
    with roomy.client.stream(
        "GET", f"/v1/index-jobs/{job_id}/events", headers={"Last-Event-ID": str(ids[-2])}
    ) as again:
        assert [int(event["id"]) for event in parse(again.iter_lines())] == ids[-1:], "it goes on where it stopped"
    over = roomy.client.get(f"/v1/index-jobs/{job_id}/events", headers={"Last-Event-ID": str(ids[-1])})
    assert (over.status_code, over.content) == (204, b""), "a browser would open it again for ever"


def test_a_stream_ends_after_its_time_and_when_the_service_goes(library: Library, tmp_path: Path) -> None:
    with serve(library.copy(tmp_path, event_stream_s=0.3).settings) as short:
        job_id = submit(short.client, ".")
        last = jobs.events(short.service.catalog, job_id)[-1].id
        for after in (0, last):  # also where nothing is new: the job has not finished
            began = time.monotonic()
            held = short.client.get(f"/v1/index-jobs/{job_id}/events", headers={"Last-Event-ID": str(after)})
            assert held.status_code == 200 and 0.2 < time.monotonic() - began < 5
    with serve(library.copy(tmp_path / "b").settings) as long:
        job_id = submit(long.client, ".")
        threading.Timer(0.3, long.service.drain).start()
        began = time.monotonic()
        long.client.get(f"/v1/index-jobs/{job_id}/events")
        assert time.monotonic() - began < 5
