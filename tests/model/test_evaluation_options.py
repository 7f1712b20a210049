"""Evaluation with one modality, with its controls, by author of the texts, and against reversed twins."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model import cli
from model.data.manifest import ManifestError, load_manifest
from model.evaluation import controls
from model.evaluation import evaluate as evaluation
from model.evaluation.evaluate import Request, evaluate
from model.evaluation.gallery import EncodedGallery, encode_gallery
from model.evaluation.twins import twin_figures
from model.progress import silent
from model.retriever import Retriever
from tests.media_files import tone, write_media
from tests.model.small_data import count_encodings, films, photographs, tones, write_lines


@pytest.fixture(scope="module")
def retriever(tiny_checkpoint: Path) -> Retriever:
    return Retriever.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films, every second one with sound, of two authors and in two groups."""
    root = films(tmp_path_factory.mktemp("films"), 8, "test")
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"text_source": "human" if number < 3 else "model", "group": "low" if number < 4 else "high"}
    return write_lines(root, lines)


def encoded_gallery(folder: Path, retriever: Retriever, cache: Path) -> tuple[list[Any], EncodedGallery]:
    items = load_manifest(folder, "test")
    return items, encode_gallery(items, retriever, cache, silent)


def scores(folder: Path, retriever: Retriever, cache: Path, **options: Any) -> np.ndarray:
    """Every query's score of every item, as `evaluate` ranks them."""
    request = Request(folder, cache=cache, **options)
    items, queries = load_manifest(folder, "test"), evaluation.gather_queries(load_manifest(folder, "test"))
    encoded = evaluation._encoded(request, items, retriever, silent)
    found, _ = evaluation._scores(request, retriever, items, queries, encoded, None, silent)
    return np.stack(found)


# ---- modalities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_is_scored_as_the_service_scores_it(
    folder: Path, retriever: Retriever, cache: Path, modality: str
) -> None:
    items, encoded = encoded_gallery(folder, retriever, cache)
    found = scores(folder, retriever, cache, modalities=modality)
    for row, query in enumerate(evaluation.gather_queries(items)):
        expected = retriever.rerank(retriever.encode_text([query.text]), 0, encoded.clips, (modality,)).fused
        assert found[row] == pytest.approx(expected, abs=1e-5)
    silent = [number for number in range(8) if number % 2 == 0]
    assert (found[:, silent] == 0).all() == (modality == "audio")


def test_sound_alone_is_what_a_sound_file_scores(retriever: Retriever, tmp_path: Path) -> None:
    folder = tones(tmp_path / "t", 3, ("test",))
    both, audio, video = (
        scores(folder, retriever, tmp_path / "c", modalities=one) for one in ("both", "audio", "video")
    )
    assert both == pytest.approx(audio, abs=1e-6) and (video == 0).all()


# ---- controls --------------------------------------------------------------------------------------------------------


def test_removed_sound_equals_pictures_alone(folder: Path, retriever: Retriever, cache: Path) -> None:
    removed = scores(folder, retriever, cache, control="removed")
    assert removed == pytest.approx(scores(folder, retriever, cache, modalities="video"), abs=1e-6)
    assert not np.allclose(removed, scores(folder, retriever, cache))


@pytest.mark.parametrize("gallery", ["split", "group"])
def test_shuffled_sound_is_another_item_s_of_the_same_gallery(
    folder: Path, retriever: Retriever, cache: Path, gallery: Any
) -> None:
    items, encoded = encoded_gallery(folder, retriever, cache)
    for seed in range(5):
        moved = controls.sound_shuffled(items, encoded, gallery, seed)
        donors = []
        for number, clip in enumerate(moved.clips):
            assert np.array_equal(clip.video, encoded.clips[number].video)
            assert len(clip.audio) == len(encoded.clips[number].audio)  # the tones are equally long; silence stays
            if len(clip.audio):
                same = [place for place in range(8) if np.array_equal(clip.audio, encoded.clips[place].audio)]
                assert same != [number] and len(same) == 1
                assert clip.chance == encoded.clips[same[0]].chance
                assert gallery == "split" or items[same[0]].group == items[number].group
                donors += same
        assert sorted(donors) == [1, 3, 5, 7]


def test_shuffled_sound_depends_on_the_seed_alone(folder: Path, retriever: Retriever, cache: Path) -> None:
    first, again, other = (scores(folder, retriever, cache, control="shuffled", seed=seed) for seed in (0, 0, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_sound_alone_in_its_gallery_is_taken_away(retriever: Retriever, tmp_path: Path) -> None:
    folder = tones(tmp_path / "t", 1, ("test",))
    items, encoded = encoded_gallery(folder, retriever, tmp_path / "c")
    assert len(encoded.clips[0].audio)
    assert not len(controls.sound_shuffled(items, encoded, "split", 0).clips[0].audio)


def test_duration_alone_finds_the_text_that_takes_as_long_to_say(retriever: Retriever, tmp_path: Path) -> None:
    lines = []
    for seconds, text in ((0.5, "hello"), (2.0, "the cat sat on the mat again"), (4.0, "so it goes " * 5)):
        file = f"{seconds}.wav"
        sound = tone(seconds, 16_000, hertz=300.0)
        write_media(tmp_path / file, codec=None, sound=sound, sound_codec="pcm_s16le", sound_rate=16_000)
        lines.append({"file": file, "texts": [text], "split": "test"})
    lines.append({"file": "missing.wav", "texts": [], "split": "test"})
    found = evaluate(Request(write_lines(tmp_path, lines), control="duration"), retriever)
    assert found["overall"]["r1"]["value"] == 100.0 and found["pool"]["clips"] == 0 and found["control"] == "duration"
    lines[0]["texts"], lines[2]["texts"] = lines[2]["texts"], lines[0]["texts"]
    assert evaluate(Request(write_lines(tmp_path, lines), control="duration"), retriever)["overall"]["mnr"]["value"] > 2


# ---- the document ----------------------------------------------------------------------------------------------------


def test_figures_by_author_of_the_texts(folder: Path, retriever: Retriever, cache: Path, tmp_path: Path) -> None:
    found = evaluate(Request(folder, cache=cache), retriever)
    assert {author: figures["queries"] for author, figures in found["text_sources"].items()} == {"human": 3, "model": 5}
    assert found["text_sources"]["human"]["kinds"]["visual"]["queries"] == 3
    assert found["overall"]["queries"] == 8 and (found["modalities"], found["control"]) == ("both", "none")
    assert "twins" not in found
    plain = photographs(tmp_path / "p", 1, ("test",))
    assert evaluate(Request(plain, cache=cache), retriever)["text_sources"] == {}


def test_variants_of_one_set_are_encoded_once(
    folder: Path, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = count_encodings(monkeypatch)
    variants: list[dict[str, Any]] = [
        {}, {"modalities": "audio"}, {"modalities": "video"}, {"control": "removed"}, {"control": "shuffled"},
        {"control": "duration"}, {"gallery": "group"},
    ]  # fmt: skip
    for options in variants:
        evaluate(Request(folder, cache=tmp_path, **options), retriever)
    assert len(encoded) == 8


def test_in_a_group_of_two_a_blind_guess_is_right_half_the_time(retriever: Retriever, tmp_path: Path) -> None:
    """Pairs: the gallery of each query is the two of its group."""
    folder = photographs(tmp_path / "p", 1, ("test",))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"group": f"pair{number // 2}", "texts": [f"number {number}"]}
    write_lines(folder, lines)
    blind = evaluate(Request(folder, gallery="group", modalities="audio", cache=tmp_path / "c"), retriever)
    assert blind["overall"]["mnr"]["value"] == 1.5 and blind["overall"]["r5"]["value"] == 100.0


# ---- the shortlist ---------------------------------------------------------------------------------------------------


def test_a_comparison_says_how_often_the_shortlist_holds_the_best(
    folder: Path, retriever: Retriever, cache: Path
) -> None:
    best = scores(folder, retriever, cache).argmax(axis=1)

    def knowing(_clips: np.ndarray, _item_of: np.ndarray, queries: np.ndarray, _allowed: list) -> list:
        """The best clip for the first six queries, and another one for the last two."""
        return [np.asarray([best[row] if row < 6 else (best[row] + 1) % 8]) for row in range(len(queries))]

    found = evaluate(Request(folder, cache=cache, mode="compare"), retriever, knowing)
    assert found["shortlist"]["queries"] == 8 and found["shortlist"]["holds_first"]["value"] == 75.0
    assert found["shortlist"]["kinds"]["visual"]["holds_first"] == found["shortlist"]["holds_first"]
    assert found["overall"] == evaluate(Request(folder, cache=cache), retriever)["overall"]
    assert "shortlist" not in evaluate(Request(folder, cache=cache, mode="service"), retriever, knowing)


# ---- reversed twins --------------------------------------------------------------------------------------------------


def twins(folder: Path, reverse: Any) -> Path:
    """The films, each text with its reverse."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        line["reversed_text"] = reverse(line["texts"][0])
    return write_lines(folder, lines)


def test_twins_are_compared_on_their_own_item(retriever: Retriever, cache: Path, tmp_path: Path) -> None:
    folder = twins(films(tmp_path / "f", 6, "test"), lambda text: " ".join(reversed(text.split())))
    found = evaluate(Request(folder, cache=cache), retriever)["twins"]
    items, encoded = encoded_gallery(folder, retriever, cache)
    right = []
    for item, clip in zip(items, encoded.clips, strict=True):
        ours, theirs = (
            retriever.rerank(retriever.encode_text([text]), 0, [clip]).fused[0]
            for text in (item.texts[0], item.extra["reversed_text"])
        )
        right.append(ours > theirs)
    assert found["queries"] == 6 and found["accuracy"]["value"] == pytest.approx(100 * np.mean(right), abs=1e-3)
    low, high = found["accuracy"]["ci95"]
    assert 0 <= low <= found["accuracy"]["value"] <= high <= 100
    assert found["kinds"] == {"visual": {"queries": 6, "accuracy": found["accuracy"]}}


def test_exchanging_a_text_and_its_reverse_exchanges_right_and_wrong(
    retriever: Retriever, cache: Path, tmp_path: Path
) -> None:
    folder = twins(films(tmp_path / "f", 6, "test"), lambda text: f"then {text}")
    one = evaluate(Request(folder, cache=cache), retriever)["twins"]["accuracy"]["value"]
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        line["texts"], line["reversed_text"] = [line["reversed_text"]], line["texts"]
    other = evaluate(Request(write_lines(folder, lines), cache=cache), retriever)["twins"]["accuracy"]["value"]
    assert one + other == pytest.approx(100.0, abs=1e-2)


def test_a_twin_that_ties_is_half_right(retriever: Retriever, cache: Path, tmp_path: Path) -> None:
    folder = twins(films(tmp_path / "f", 4, "test"), lambda text: text)
    items, encoded = encoded_gallery(folder, retriever, cache)
    found = twin_figures(items, encoded, retriever, seed=0)
    assert found is not None and found["accuracy"] == {"value": 50.0, "ci95": [50.0, 50.0]}


def test_twins_must_pair_with_the_texts(retriever: Retriever, cache: Path, tmp_path: Path) -> None:
    folder = twins(films(tmp_path / "f", 2, "test"), lambda text: [text, text])
    with pytest.raises(ManifestError, match="reversed_text"):
        evaluate(Request(folder, cache=cache), retriever)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_command_takes_the_options(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path))
    shared = ["evaluate", "--data", str(folder), "--model", str(tiny_checkpoint)]
    result = CliRunner().invoke(cli.commands, [*shared, "--modalities", "video", "--control", "shuffled", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["modalities"], document["control"]) == ("video", "shuffled")
    assert math.isfinite(document["text_sources"]["human"]["r1"]["value"])
    table = CliRunner().invoke(cli.commands, shared, env={"COLUMNS": "160"})
    assert table.exit_code == 0 and "texts: human" in table.stdout
    assert CliRunner().invoke(cli.commands, [*shared, "--control", "loud"]).exit_code == 2


def test_command_shows_the_right_order(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path))
    folder = twins(films(tmp_path / "f", 2, "test"), lambda text: f"then {text}")
    shared = ["evaluate", "--data", str(folder), "--model", str(tiny_checkpoint)]
    result = CliRunner().invoke(cli.commands, shared)
    assert result.exit_code == 0 and "right order, in percent: all" in result.stdout


def test_a_group_that_cannot_be_read_is_no_group_whose_best_is_not_held(
    folder: Path, retriever: Retriever, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "films"))
    lines = [json.loads(line) for line in (copy / "manifest.jsonl").read_text().splitlines()]
    for line in lines[4:]:
        (copy / line["file"]).write_bytes(b"no film")
    request = Request(copy, cache=tmp_path / "cache", mode="compare", gallery="group")
    found = evaluate(request, retriever, lambda _offered, _item_of, wanted, among: among)["shortlist"]
    assert (found["queries"], found["holds_first"]["value"]) == (4, 100.0)
