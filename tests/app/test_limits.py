"""Walls: how large, how slow and from where a request may be (T16)."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import Library, Served, problem, serve, until

QUERY = {"query": "a dog"}


@pytest.fixture(scope="module")
def hasty(library: Library) -> Iterator[Served]:
    """A service that waits half a second for a body."""
    with serve(library.settings.model_copy(update={"body_timeout_s": 0.5})) as running:
        yield running


@pytest.fixture(scope="module")
def public(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that others on the network reach by whatever name."""
    changes = {"host": "0.0.0.0", "data_dir": tmp_path_factory.mktemp("data")}
    with serve(library.settings.model_copy(update=changes), wait=False) as running:
        yield running


def raw(port: int, *parts: bytes, wait_s: float = 10, pause_s: float = 0) -> bytes:
    """Send bytes as they are, one part after the other, and read until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except TimeoutError:
            pass
        return received


def head(*lines: str) -> bytes:
    fields = ["POST /v1/search HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *lines, "", ""]
    return "\r\n".join(fields).encode()


def test_a_body_above_one_mebibyte_is_refused(client: httpx.Client) -> None:
    body = json.dumps({**QUERY, "cursor": "x" * (1 << 20)})
    problem(
        client.post("/v1/search", content=body, headers={"Content-Type": "application/json"}), 413, "body_too_large"
    )


def test_a_declared_length_is_refused_before_a_byte_is_read(served: Served) -> None:
    answer = raw(served.port, head("Content-Length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


def test_a_body_without_a_length_is_counted(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65536

    response = client.post("/v1/search", content=endless(), headers={"Content-Type": "application/json"})
    problem(response, 413, "body_too_large")


def test_who_sends_on_after_the_refusal_still_hears_it(served: Served) -> None:
    """The connection is not reset under a sender that has not read yet: the reset would take the answer with it."""
    pieces = [b" " * 65536] * 32
    answer = raw(served.port, head(f"Content-Length: {2 << 20}"), *pieces, pause_s=0.002)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


def test_who_never_stops_sending_is_let_go(served: Served) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        raw(served.port, head("Content-Length: 99999999999"), *[b" "] * 1000, pause_s=0.01)
    assert time.monotonic() - began < 8


def test_a_slow_body_is_let_go(hasty: Served) -> None:
    began = time.monotonic()
    answer = raw(hasty.port, head("Content-Length: 100"), b'{"query": ')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert 0.4 < time.monotonic() - began < 5


def test_a_slow_sender_holds_up_nobody(hasty: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", hasty.port)) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(head("Content-Length: 100"))
        assert hasty.client.post("/v1/search", json=QUERY).status_code == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"a"', b"\xff\xfe", b'{"query": NaN}', b'{"limit": 1e999, "query": "a"}',
     b'{"query": "a", "limit": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 50_000,
     b'{"query": "a", "filter": ' + b'{"not": ' * 300 + b"{}" + b"}" * 301],
    ids=range(12),
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422), response.text
    problem(response, response.status_code, response.json()["code"])


def test_a_body_of_another_type_is_refused(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        response = client.post("/v1/search", content=json.dumps(QUERY), headers={"Content-Type": kind})
        problem(response, 422, "invalid_request")


def test_thirty_three_clauses_are_refused(client: httpx.Client) -> None:
    tags = [f"tag{n}" for n in range(32)]
    assert client.post("/v1/search", json={**QUERY, "filter": {"tags": tags}}).status_code == 200
    refused = client.post("/v1/search", json={**QUERY, "filter": {"has_audio": True, "tags": tags}})
    assert "32" in str(problem(refused, 422, "invalid_request")["detail"])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_another_host_name_is_not_answered(client: httpx.Client, host: str) -> None:
    """A page of another site that points its own name at this machine must not read anything (DNS rebinding)."""
    problem(client.get("/v1/videos", headers={"Host": host}), 400, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "[::1]", "LOCALHOST:1"])
def test_this_machine_is_answered_by_any_of_its_names(client: httpx.Client, host: str) -> None:
    assert client.get("/version", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["10.42.0.7:8000", "[fd00::7]:8000", "htav.pods.example"])
def test_probes_are_answered_by_any_address(client: httpx.Client, host: str) -> None:
    """Kubernetes asks a pod by its address, which nobody knows before."""
    for path, status in {"/livez": 200, "/readyz": 200, "/metrics": 400, "/version": 400, "/": 400}.items():
        assert client.get(path, headers={"Host": host}).status_code == status, path


def test_an_ipv6_address_is_answered_as_browsers_write_it(library: Library, tmp_path: Path) -> None:
    changes = {"host": "fd00:0:0::5", "allowed_hosts": ["films.example", "FD00::6"], "data_dir": tmp_path}
    asked = {"[fd00::5]:8000": 200, "[fd00::5]": 200, "[fd00::6]:8000": 200, "films.example": 200, "[fd00::7]": 400}
    with serve(library.settings.model_copy(update=changes), wait=False) as running:
        client = running.client
        assert {host: client.get("/version", headers={"Host": host}).status_code for host in asked} == asked


def test_another_site_may_not_change_anything(client: httpx.Client) -> None:
    problem(client.post("/v1/search", json=QUERY, headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross_site")
    for site in ("same-origin", "none", "same-site"):
        assert client.post("/v1/search", json=QUERY, headers={"Sec-Fetch-Site": site}).status_code == 200
    assert client.get("/docs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Origin": "http://192.168.1.5:8000"}, True),
        ({"Origin": "http://192.168.1.5:9000"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://192.168.1.5:8000.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://films.example", "Sec-Fetch-Site": "same-origin"}, True),  # a proxy put another Host
    ],
)
def test_another_sites_page_is_known_by_its_origin_where_the_browser_says_no_more(
    public: Served, headers: dict[str, str], passes: bool
) -> None:
    """To plain http on a network, browsers send `Origin` and no `Sec-Fetch-Site`."""
    asked = {"Host": "192.168.1.5:8000", **headers}
    changed = public.client.post("/v1/index-jobs", json={"paths": ["."]}, headers=asked)
    assert public.client.get("/v1/index-jobs", headers=asked).status_code == 200, "reading changes nothing"
    if passes:
        assert changed.status_code == 202, changed.text
    else:
        assert "HTAV_ALLOWED_HOSTS" in str(problem(changed, 403, "cross_site")["hint"])


def test_a_page_behind_a_proxy_that_puts_another_host_is_known_by_its_allowed_name(
    library: Library, tmp_path: Path
) -> None:
    """nginx sends the address that it forwards to, or a name without its port, unless it is told otherwise."""
    settings = library.settings.model_copy(update={"allowed_hosts": ["films.example"], "data_dir": tmp_path})
    with serve(settings, wait=False) as behind:
        for host, origin, status in [
            ("127.0.0.1:8000", "http://films.example", 202),
            ("films.example", "http://films.example:8080", 202),
            ("127.0.0.1:8000", "http://evil.example", 403),
        ]:
            headers = {"Host": host, "Origin": origin}
            assert behind.client.post("/v1/index-jobs", json={"paths": ["."]}, headers=headers).status_code == status


def test_a_public_address_answers_to_any_name_unless_told_otherwise(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.config import Settings

    public = library.settings.model_copy(update={"host": "0.0.0.0", "data_dir": tmp_path})

    def answers(settings: Settings) -> dict[str, int]:
        names = ("films.example", "films.local:8000", "evil.example", "127.0.0.1")
        with serve(settings, wait=False) as running:
            return {name: running.client.get("/version", headers={"Host": name}).status_code for name in names}

    assert set(answers(public).values()) == {200}
    monkeypatch.setenv("HTAV_ALLOWED_HOSTS", "films.example, Films.local")
    told = public.model_copy(update={"allowed_hosts": Settings().allowed_hosts})
    expected = {"films.example": 200, "films.local:8000": 200, "evil.example": 400, "127.0.0.1": 200}
    assert answers(told) == expected, "the container's health check asks 127.0.0.1"


def test_the_wall_answers_in_the_one_shape(library: Library, tmp_path: Path) -> None:
    with serve(library.copy(tmp_path, limit_concurrency=2).settings) as narrow:
        slow = [socket.create_connection(("127.0.0.1", narrow.port)) for _ in range(2)]
        try:
            for connection in slow:
                connection.sendall(head("Content-Length: 100"))
            until(lambda: narrow.client.get("/livez").status_code == 503)
            response = narrow.client.get("/livez")
            problem(response, 503, "unavailable")
            assert response.headers["retry-after"]
        finally:
            for connection in slow:
                connection.close()
        until(lambda: narrow.client.get("/livez").status_code == 200)
