"""The evaluation follows the stated protocol and scores pixels and sound alone."""

import json
import math
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model import cli
from model.clip_tokens import ClipTokens
from model.coarse import Offered, Wanted
from model.data.manifest import Item, ManifestError, load_manifest
from model.evaluation import evaluate as evaluation
from model.evaluation import gallery as galleries
from model.evaluation.evaluate import EvaluationError, Request, evaluate
from model.evaluation.queries import candidates, gather_queries
from model.progress import silent
from model.retriever import Retriever
from model.tokens import TokenSet
from tests.model.small_data import count_encodings, films, photographs, tones, write_lines

FIGURES = {"r1", "r5", "r10", "mdr", "mnr"}


@pytest.fixture(scope="module")
def retriever(tiny_checkpoint: Path) -> Retriever:
    return Retriever.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, sounds and films in one manifest."""
    root = tmp_path_factory.mktemp("data")
    lines = []
    for part in (photographs(root / "p", 1, ("test",)), tones(root / "t", 3, ("test",)), films(root / "f", 4, "test")):
        for line in (part / "manifest.jsonl").read_text().splitlines():
            entry = json.loads(line)
            lines.append(entry | {"file": f"{part.name}/{entry['file']}", "group": part.name})
    return write_lines(root, lines)


def item(name: str, *texts: str, **more: Any) -> Item:
    return Item(Path("."), (name,), texts, **more)


# ---- queries ---------------------------------------------------------------------------------------------------------


def test_each_distinct_text_is_one_query_with_every_item_that_has_it() -> None:
    items = [item("a", "A dog.", "It runs"), item("b", "a DOG"), item("c", "a cat"), item("d")]
    queries = {query.text: query for query in gather_queries(items)}
    assert set(queries) == {"A dog.", "It runs", "a cat"}
    assert queries["A dog."].relevant == {0, 1} and queries["A dog."].owners == (0, 1)
    assert candidates(items, queries["a cat"]) == [0, 1, 2, 3]  # an item without a text is in the gallery all the same


def test_items_that_share_a_relevance_key_answer_each_others_texts() -> None:
    items = [
        item("a", "one", relevance_key="k"),
        item("b", "two", relevance_key="k"),
        item("c", "three"),
        item("d", "one"),
    ]
    relevant = {query.text: query.relevant for query in gather_queries(items)}
    assert relevant == {"one": {0, 1, 3}, "two": {0, 1}, "three": {2}}


def test_a_video_on_several_lines_answers_what_any_of_them_says() -> None:
    """One line for each caption is a common layout; another part of the file is another video."""
    items = [item("a", "one"), item("a", "two"), item("b", "three"), item("a", "four", start_s=3.0, end_s=6.0)]
    relevant = {query.text: query.relevant for query in gather_queries(items)}
    assert relevant == {"one": {0, 1}, "two": {0, 1}, "three": {2}, "four": {3}}


def test_within_groups_each_query_stays_in_its_own() -> None:
    items = [item("a", "one", group="g"), item("b", "two", group="g"), item("c", "one", group="h", relevance_key="k"),
             item("d", "x", group="g", relevance_key="k")]  # fmt: skip
    queries = gather_queries(items, "group")
    found = {(query.text, query.group): (set(query.relevant), candidates(items, query)) for query in queries}
    assert found == {
        ("one", "g"): ({0}, [0, 1, 3]),
        ("two", "g"): ({1}, [0, 1, 3]),
        ("one", "h"): ({2}, [2]),
        ("x", "g"): ({3}, [0, 1, 3]),
    }


def test_kinds_come_from_the_item_and_from_the_part_that_lists_the_text() -> None:
    mixed = item(
        "a", "a red hat", "hello there", kind="mixed", parts={"said": ("Hello there.",), "seen": ("a red hat",)}
    )
    kinds = {query.text: query.kinds for query in gather_queries([mixed, item("b", "plain")])}
    assert kinds == {"a red hat": {"mixed", "visual"}, "hello there": {"mixed", "speech"}, "plain": set()}


def test_a_line_that_has_texts_of_kinds_alone_is_asked_for_by_them() -> None:
    parts = {"seen": ("a red hat",), "said": ("hello there",)}
    queries = gather_queries([item("a", parts=parts), item("b", "a blue hat", parts=parts)])
    assert [(query.text, query.owners) for query in queries] == [
        ("a red hat", (0,)), ("hello there", (0,)), ("a blue hat", (1,))
    ]  # fmt: skip


# ---- the document ----------------------------------------------------------------------------------------------------


def test_document(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    found = evaluate(Request(folder, seed=5, cache=tmp_path), retriever)
    assert {name: found[name] for name in ("model", "data", "split", "seed", "mode", "gallery")} == {
        "model": retriever.name, "data": str(folder), "split": "test", "seed": 5,
        "mode": "exhaustive", "gallery": "split",
    }  # fmt: skip
    assert set(found["kinds"]) == {"visual", "sound"} and found["failed"] == []
    assert found["pool"] == {"items": 15, "clips": 15}
    # 16 texts of photographs, 3 of sounds, 4 of films
    assert [m["queries"] for m in (found["overall"], found["kinds"]["visual"], found["kinds"]["sound"])] == [23, 20, 3]
    for measured in (found["overall"], *found["kinds"].values()):
        assert set(measured) == FIGURES | {"queries"}
        assert measured["r1"]["value"] <= measured["r5"]["value"] <= measured["r10"]["value"] <= 100
        for name in FIGURES:
            low, high = measured[name]["ci95"]
            assert low <= high and math.isfinite(low) and math.isfinite(high)
    json.dumps(found, allow_nan=False)


def test_ranks_are_those_of_the_service_s_own_scores(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    """Scored anew, one query and one clip at a time, through the interface that the service uses."""
    items = load_manifest(folder, "test")
    queries = gather_queries(items)
    encoded = galleries.encode_gallery(items, retriever, tmp_path, silent)
    everything = [np.arange(len(encoded.clips))] * len(queries)
    scores = evaluation.score_queries(retriever, queries, encoded, everything)
    for number, query in enumerate(queries):
        text = retriever.encode_text([query.text])
        alone = [retriever.rerank(text, 0, [clip]) for clip in encoded.clips]
        np.testing.assert_allclose(scores[number].fused, [one.fused[0] for one in alone], atol=1e-5)
        np.testing.assert_allclose(scores[number].mean, [one.mean[0] for one in alone], atol=1e-5)


def test_an_item_scores_as_its_best_clip() -> None:
    found = evaluation.item_scores(np.asarray([0.1, 0.7, 0.3], np.float32), np.asarray([0, 0, 2]), 3)
    np.testing.assert_allclose(found, np.asarray([0.7, -np.inf, 0.3], np.float32))


def test_a_renamed_copy_gets_equal_figures(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    """Nothing but pixels and sound is scored: names that give the texts away, or lie, change nothing."""
    copy = tmp_path / "copy"
    copy.mkdir()
    lines = []
    for number, line in enumerate((folder / "manifest.jsonl").read_text().splitlines()):
        entry = json.loads(line)
        name = f"{'a blue car' if number % 2 else 'zzz'} {number}{Path(entry['file']).suffix}"
        shutil.copy(folder / entry["file"], copy / name)
        lines.append(entry | {"file": name, "title": entry["texts"][0], "tags": entry["texts"]})
    write_lines(copy, lines)
    first = evaluate(Request(folder, cache=tmp_path / "c1"), retriever)
    second = evaluate(Request(copy, cache=tmp_path / "c2"), retriever)
    assert first | {"data": ""} == second | {"data": ""}


def test_other_pixels_get_other_figures(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    """The control of the test above: it would notice a scorer that never looks."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    names = sorted((copy / "p").glob("*.jpg"))
    contents = [path.read_bytes() for path in names]
    for path, content in zip(names, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    first = evaluate(Request(folder, cache=tmp_path / "c1"), retriever)
    second = evaluate(Request(copy, cache=tmp_path / "c2"), retriever)
    assert first["overall"] != second["overall"]


# ---- the cache -------------------------------------------------------------------------------------------------------


def test_nothing_is_encoded_twice_and_a_damaged_entry_is_made_again(
    folder: Path, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(Request(folder, cache=tmp_path), retriever)
    encoded = count_encodings(monkeypatch)
    assert evaluate(Request(folder, cache=tmp_path), retriever) == whole and len(encoded) == 0
    entries = sorted(tmp_path.rglob("*.tokens"))
    assert len(entries) == 15
    entries[0].write_bytes(entries[0].read_bytes()[:-3])
    entries[1].write_bytes(b"HTEV")
    assert evaluate(Request(folder, cache=tmp_path), retriever) == whole and len(encoded) == 2


def test_another_checkpoint_has_a_cache_of_its_own(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    other = Retriever.from_preset("tiny", seed=99)
    evaluate(Request(folder, cache=tmp_path), retriever)
    evaluate(Request(folder, cache=tmp_path), other)
    assert {path.name for path in tmp_path.iterdir()} == {retriever.fingerprint, other.fingerprint}


# ---- bad files and bad requests --------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_decoded_is_reported_and_ranks_last(retriever: Retriever, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 1, ("test",))
    (folder / "test-red-0.jpg").write_bytes(b"no picture")
    found = evaluate(Request(folder, cache=tmp_path / "c"), retriever)
    assert [failure["file"] for failure in found["failed"]] == ["test-red-0.jpg"] and found["failed"][0]["code"]
    items = load_manifest(folder, "test")
    lost = next(number for number, one in enumerate(items) if "red" in one.name)
    queries = gather_queries(items)
    encoded = galleries.encode_gallery(items, retriever, tmp_path / "c", silent)
    scores = evaluation.score_queries(retriever, queries, encoded, [np.arange(7)] * len(queries))
    by_item = [evaluation.item_scores(found, encoded.item_of, len(items)) for found, _ in scores]
    ranks = evaluation._ranks(items, queries, by_item)
    assert [rank for query, rank in zip(queries, ranks, strict=True) if query.owners == (lost,)] == [8.0, 8.0]


def test_what_cannot_be_evaluated_is_said(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no item of the split 'val'"):
        evaluate(Request(folder, split="val"), retriever)
    write_lines(tmp_path, [{"file": "a.jpg", "texts": [], "split": "test"}])
    with pytest.raises(EvaluationError, match="has a text"):
        evaluate(Request(tmp_path), retriever)
    with pytest.raises(EvaluationError, match="shortlist"):
        evaluate(Request(folder, mode="service"), retriever)


# ---- the shortlist ---------------------------------------------------------------------------------------------------


def test_only_the_shortlist_is_reranked(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def nothing_but_the_first(clips: Offered, item_of: np.ndarray, queries: list[Wanted], allowed: list) -> list:
        asked.update(clips=clips, item_of=item_of, queries=queries, allowed=allowed)
        return [rows[:1] for rows in allowed]

    found = evaluate(Request(folder, mode="service", cache=tmp_path), retriever, nothing_but_the_first)
    d = retriever.config.width
    assert asked["clips"].vectors.shape == (15, 3 * d) and len(asked["clips"].readings) == 15
    assert [query.vector.shape for query in asked["queries"]] == [(3 * d,)] * 23
    assert all(query.letters for query in asked["queries"])
    assert asked["item_of"].tolist() == list(range(15)) and all(len(rows) == 15 for rows in asked["allowed"])
    # The first item's two texts are found; the other 21 tie with the 14 items that nobody scored.
    assert found["mode"] == "service"
    assert found["overall"]["r1"]["value"] == pytest.approx(100 * 2 / 23, abs=1e-3)
    assert found["overall"]["mdr"]["value"] == 2 + 0.5 * 13


def test_the_whole_gallery_as_shortlist_equals_exhaustive(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    def everything(_clips: Offered, _item_of: np.ndarray, _queries: list[Wanted], allowed: list) -> list:
        return allowed

    for gallery in ("split", "group"):
        service = evaluate(Request(folder, gallery=gallery, mode="service", cache=tmp_path), retriever, everything)  # type: ignore[arg-type]
        exhaustive = evaluate(Request(folder, gallery=gallery, cache=tmp_path), retriever)  # type: ignore[arg-type]
        assert service | {"mode": ""} == exhaustive | {"mode": ""}


def test_groups_are_ranked_alone(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    found = evaluate(Request(folder, gallery="group", cache=tmp_path), retriever)
    assert found["kinds"]["sound"]["r5"]["value"] == 100.0  # three sounds in their group
    assert (
        found["overall"]["mnr"]["value"]
        < evaluate(Request(folder, cache=tmp_path), retriever)["overall"]["mnr"]["value"]
    )


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_only_one_block_of_the_gallery_is_held_as_tensors(
    folder: Path, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(_clips: Offered, _item_of: np.ndarray, _queries: list[Wanted], allowed: list) -> list:
        return allowed

    request = Request(folder, mode="compare", cache=tmp_path)
    whole = evaluate(request, retriever, everything)
    collate, made, shown = Retriever.collate, [], []

    def watched(self: Retriever, clips: list[TokenSet]) -> ClipTokens:
        assert len(clips) <= 4
        assert sum(block() is not None for block in made) <= 1  # the one before, until this one takes its place
        collated = collate(self, clips)
        made.append(weakref.ref(collated.video))
        return collated

    monkeypatch.setattr(evaluation, "CLIP_BATCH", 4)
    monkeypatch.setattr(Retriever, "collate", watched)
    assert evaluate(request, retriever, everything, lambda *told: shown.append(told)) == whole
    assert len(made) == 4 + 2 + 4  # fifteen clips: coarse vectors, readings where there is sound, scores of all queries
    scored = [(done, of) for what, done, of in shown if what == "score the queries"]
    assert scored == sorted(scored) and scored[-1] == (23 * 15, 23 * 15)


# ---- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: object, **more: Any) -> Any:
    return CliRunner().invoke(cli.commands, [str(argument) for argument in arguments], **more)


def test_command_prints_one_document(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path))
    result = run("evaluate", "--data", folder, "--model", tiny_checkpoint, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["split"] == "test" and set(document["overall"]) == FIGURES | {"queries"}
    table = run("evaluate", "--data", folder, "--model", tiny_checkpoint, env={"COLUMNS": "160"})
    assert table.exit_code == 0 and "R@10" in table.stdout and "sound" in table.stdout


def test_a_table_shows_names_as_they_are(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets would be taken for styles, and the figures lost."""
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    folder = photographs(tmp_path / "data [/b]", 1, ("test",))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    write_lines(folder, [line | {"kind": "mine [/x]", "text_source": "me [/y]"} for line in lines])
    shown = run("evaluate", "--data", folder, "--model", tiny_checkpoint, env={"COLUMNS": "300"})
    assert shown.exit_code == 0, shown.output
    assert all(name in shown.stdout for name in ("data [/b]", "mine [/x]", "me [/y]"))


def test_command_hands_on_the_service_s_shortlist(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path))
    arguments = ("evaluate", "--data", folder, "--model", tiny_checkpoint, "--mode", "service", "--json")
    assert isinstance(run(*arguments).exception, EvaluationError)
    wiring = {"shortlister": lambda _clips, _item_of, _queries, allowed: allowed}
    result = run(*arguments, obj=wiring)
    assert result.exit_code == 0 and json.loads(result.stdout)["mode"] == "service"


def test_a_gallery_of_which_nothing_can_be_read_has_no_figures(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")
    write_lines(tmp_path, [{"file": "a.mp4", "texts": ["a film"], "split": "test"}])
    with pytest.raises(EvaluationError, match="no file of the split 'test' .* can be read") as raised:
        evaluate(Request(tmp_path, cache=tmp_path / "cache"), retriever)
    assert raised.value.hint.startswith("a.mp4: ")
