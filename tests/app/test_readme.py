"""What the README promises, carried out with the shipped weights: the sample library, indexed, answers its queries."""

import re
from pathlib import Path

import pytest

from app.command_search import search_document
from app.config import Settings
from indexer.pipeline import index_paths
from model import Retriever
from model.data.synthesis.library import DEMO_QUERIES, DemoQuery, sample_library

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("demo")
    sample_library(folder / "library")
    settings = Settings(data_dir=folder / "data", min_free_bytes=0)
    report = index_paths([folder / "library"], settings, Retriever.embedded())
    assert report.counts.failed == 0
    return settings


@pytest.mark.parametrize("query", DEMO_QUERIES, ids=lambda query: query.kind)
def test_a_query_of_the_demo_is_answered_at_rank_1_at_the_right_second(settings: Settings, query: DemoQuery) -> None:
    answer = search_document(query.text, 10, settings)
    first = answer.results[0]
    assert first.uri == query.file
    assert any(moment.start_s < query.end_s and moment.end_s > query.start_s for moment in first.moments)
    if query.kind in ("said", "together", "order"):  # the whole of it, from the first word or event to the last
        early, late = (1.0, 2.5) if query.kind == "order" else (0.4, 0.4)  # rain is told by its first part
        assert first.moments[0].start_s == pytest.approx(query.start_s, abs=early)
        assert first.moments[0].end_s == pytest.approx(query.end_s, abs=late)


def test_the_readme_says_when_the_first_answer_is(settings: Settings) -> None:
    said = re.search(r"moment inside (\d+) to (\d+) s", README)
    assert said is not None
    query = DEMO_QUERIES[0]
    assert (int(said[1]), int(said[2])) == (round(query.start_s), round(query.end_s))
    best = search_document(query.text, 1, settings).results[0].moments[0]
    assert query.start_s <= best.peak_s <= query.end_s


def test_the_readme_asks_for_every_kind() -> None:
    assert {query.kind for query in DEMO_QUERIES} == {"seen", "said", "heard", "together", "order"}
    assert all(query.text in README and f"`{query.file}`" in README for query in DEMO_QUERIES)


def test_the_sample_library_is_the_one_in_the_readme() -> None:
    assert f'"query": "{DEMO_QUERIES[0].text}"' in README
    assert f"The answer is `{DEMO_QUERIES[0].file}`" in README
