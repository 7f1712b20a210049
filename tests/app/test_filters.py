"""Filters mean in SQL what they mean in words: compared with plain Python on random libraries."""

import operator
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from app.filters import admitted
from app.schemas import Filter, SearchRequest
from indexer.catalog import Catalog, MediaRoot, Video, VideoState, VideoUri
from indexer.config import IndexSettings
from tests.app.conftest import Served

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass
class Row:
    """A video as the test knows it."""

    id: str
    duration_s: float | None
    has_audio: bool
    collection: str | None
    added_at: datetime
    recorded_at: datetime | None
    tags: list[str]
    paths: list[str] = field(default_factory=list)
    state: VideoState = VideoState.READY


def random_rows(chance: random.Random, count: int) -> list[Row]:
    def moment() -> datetime:
        return EPOCH + timedelta(days=chance.randrange(100))

    return [
        Row(
            id=f"{i:08d}-0000-0000-0000-000000000000",
            duration_s=chance.choice([None, 1.0, 5.0, 5.5, 60.0, 600.0]),
            has_audio=chance.random() < 0.5,
            collection=chance.choice([None, "home", "work"]),
            added_at=moment(),
            recorded_at=chance.choice([None, moment()]),
            tags=chance.sample(["a", "b", "c", "A"], chance.randrange(4)),
            paths=[f"{chance.choice(['x', 'X', 'x/y', '100%', 'a_b'])}/{i}.mp4" for _ in range(1)],
            state=chance.choice([VideoState.READY] * 5 + [VideoState.PARTIAL, VideoState.MISSING, VideoState.DELETED]),
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return random_rows(random.Random(1), 80)


@pytest.fixture(scope="module")
def catalog(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog.open(IndexSettings(data_dir=tmp_path_factory.mktemp("data")))
    with opened.transaction() as session:
        root = MediaRoot(path="/media")
        for row in rows:
            fields = {name: getattr(row, name) for name in vars(row) if name not in ("tags", "paths")}
            video = Video(**fields, content_hash=row.id, tags=row.tags)
            video.uris = [VideoUri(root=root, path=path, size=1, mtime_ns=1) for path in row.paths]
            session.add(video)
    yield opened
    opened.close()


def holds(row: Row, wanted: dict[str, Any]) -> bool:
    """What a filter means, in plain Python; a bound on a value that is not there does not hold."""
    for name, value in wanted.items():
        if name in ("duration_s", "added_at", "recorded_at"):
            mine = getattr(row, name)
            bounds = {key: datetime.fromisoformat(b) if isinstance(b, str) else b for key, b in value.items()}
            ok = not bounds or (mine is not None and all(COMPARE[key](mine, bound) for key, bound in bounds.items()))
        elif name == "tags":
            ok = set(value) <= set(row.tags)
        elif name == "path_prefix":
            ok = any(path.startswith(value) for path in row.paths)
        elif name == "all":
            ok = all(holds(row, part) for part in value)
        elif name == "any":
            ok = any(holds(row, part) for part in value)
        elif name == "not":
            ok = not holds(row, value)
        else:
            ok = getattr(row, name) == value
        if not ok:
            return False
    return True


def random_filter(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    def bounds(values: list[Any]) -> dict[str, Any]:
        return {key: chance.choice(values) for key in chance.sample(list(COMPARE), chance.randrange(1, 3))}

    times = [(EPOCH + timedelta(days=day)).isoformat() for day in (0, 30, 50, 99)]
    leaves: dict[str, Callable[[], Any]] = {
        "duration_s": lambda: bounds([0, 1.0, 5, 5.5, 100, 600]),
        "added_at": lambda: bounds(times),
        "recorded_at": lambda: bounds(times),
        "has_audio": lambda: chance.random() < 0.5,
        "collection": lambda: chance.choice(["home", "work", "Home"]),
        "tags": lambda: chance.sample(["a", "b", "c", "A"], chance.randrange(1, 3)),
        "path_prefix": lambda: chance.choice(["x/", "X", "x", "100%", "1", "a_", "a/b"]),
    }
    nested: dict[str, Callable[[], Any]] = {
        "all": lambda: [random_filter(chance, depth - 1) for _ in range(chance.randrange(3))],
        "any": lambda: [random_filter(chance, depth - 1) for _ in range(chance.randrange(3))],
        "not": lambda: random_filter(chance, depth - 1),
    }
    choices = leaves | (nested if depth > 1 else {})
    return {name: choices[name]() for name in chance.sample(list(choices), chance.randrange(1, 3))}


def test_a_thousand_random_filters_admit_what_they_say(catalog: Catalog, rows: list[Row]) -> None:
    chance, sizes = random.Random(2), set()
    visible = [row for row in rows if row.state in (VideoState.READY, VideoState.PARTIAL)]
    for _ in range(1000):
        wanted = random_filter(chance)
        with catalog.session() as session:
            found = admitted(session, Filter.model_validate(wanted), ("video", "audio"))
        expected = {row.id: row.duration_s or 0.0 for row in visible if holds(row, wanted)}
        assert found == expected, wanted
        sizes.add(len(found))
    assert len(sizes) > 20, "filters that admit all or nothing would test little"


def test_a_filter_that_nests_too_deep_or_says_too_much_is_refused() -> None:
    SearchRequest(query="a", filter={"not": {"not": {"not": {"has_audio": True}}}})  # type: ignore[arg-type]
    SearchRequest(query="a", filter={"tags": [f"t{i}" for i in range(32)]})  # type: ignore[arg-type]
    for refused in (
        {"not": {"not": {"not": {"not": {"has_audio": True}}}}},
        {"tags": [f"t{i}" for i in range(33)]},
        {"any": [{"tags": ["a"] * 20}, {"duration_s": {"gt": 1, "gte": 1, "lt": 2, "lte": 2}, "tags": ["b"] * 10}]},
    ):
        with pytest.raises(ValidationError):
            SearchRequest(query="a", filter=refused)  # type: ignore[arg-type]


def test_a_search_stays_inside_its_filter(served: Served) -> None:
    found = {
        "home/": {"home/red.mp4"},
        "": {"home/red.mp4", "green.mp4", "blue.mp4", "tone.m4a"},
    }
    for prefix, uris in found.items():
        body = {"query": "a red ball", "filter": {"path_prefix": prefix} if prefix else {}}
        answer = served.client.post("/v1/search", json=body).json()
        assert {result["uri"] for result in answer["results"]} == uris
        assert answer["pool"]["videos"] == len(uris)
    body = {"query": "a red ball", "filter": {"duration_s": {"gte": 20}}}
    answer = served.client.post("/v1/search", json=body).json()
    assert answer["pool"] == {"videos": 1, "clips": 4, "seconds": pytest.approx(30, abs=0.1)}


def test_a_filter_that_admits_nothing_is_answered(served: Served) -> None:
    answer = served.client.post("/v1/search", json={"query": "a ball", "filter": {"tags": ["none"]}}).json()
    assert (answer["results"], answer["best_confidence"], answer["next_cursor"]) == ([], "none", None)
    assert answer["pool"] == {"videos": 0, "clips": 0, "seconds": 0}


def test_the_score_does_not_depend_on_the_filter(served: Served) -> None:
    def scores(**fields: object) -> dict[str, float]:
        answer = served.client.post("/v1/search", json={"query": "a red ball", **fields}).json()
        return {result["video_id"]: result["score"] for result in answer["results"]}

    everything, some = scores(), scores(filter={"has_audio": True})
    assert len(some) == 3
    assert some == {video: pytest.approx(everything[video], abs=2e-5) for video in some}
