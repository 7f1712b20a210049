"""A manifest line is read whole, and a bad one is named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.data.manifest import Item, ManifestError, load_manifest, normalised, write_manifest


def folder_of(tmp_path: Path, *lines: object) -> Path:
    (tmp_path / "manifest.jsonl").write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8"
    )
    return tmp_path


FULL: dict[str, Any] = {
    "file": "a.mp4",
    "texts": ["A dog barks."],
    "split": "test",
    "kind": "visual",
    "group": "g1",
    "relevance_key": "dog",
    "has_audio": True,
    "license": "CC0",
    "text_source": "human",
}


def test_every_field_is_read_and_unknown_ones_are_kept(tmp_path: Path) -> None:
    (item,) = load_manifest(folder_of(tmp_path, FULL))
    assert (item.media, item.texts, item.split, item.kind, item.group) == (
        ("a.mp4",), ("A dog barks.",), "test", "visual", "g1",
    )  # fmt: skip
    assert item.relevance_key == "dog" and item.has_audio is True
    assert item.extra == {"license": "CC0", "text_source": "human"}
    assert item.paths() == [tmp_path / "a.mp4"]


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ({"file": "a.JPG"}, "still"),
        ({"file": "a.opus"}, "sound"),
        ({"file": "a.mkv"}, "film"),
        ({"file": "clip without suffix"}, "film"),
        ({"file": ["f/001", "f/002"], "audio": "a.wav"}, "frames"),
        ({"file": ["f/001"], "audio": "a.wav"}, "frames"),
    ],
)
def test_form(tmp_path: Path, line: dict[str, Any], form: str) -> None:
    (item,) = load_manifest(folder_of(tmp_path, line))
    assert item.form == form


def test_frames_and_their_sound_are_all_files_of_the_item(tmp_path: Path) -> None:
    (item,) = load_manifest(folder_of(tmp_path, {"file": ["f/001", "f/002"], "audio": "a.wav", "fps": 12.5}))
    assert item.paths() == [tmp_path / "f/001", tmp_path / "f/002", tmp_path / "a.wav"]
    assert item.fps == 12.5


def test_texts_by_kind_are_joined_without_repeats_and_speech_is_known(tmp_path: Path) -> None:
    line = {"file": "a.mp4", "texts": ["x"], "said": ["hello there", "x"], "seen": [{"text": "a man", "start_s": 1}]}
    (item,) = load_manifest(folder_of(tmp_path, line))
    assert item.all_texts() == ("x", "a man", "hello there")
    assert item.spoken() == "hello there x"
    assert Item(tmp_path, ("a",), transcript="said so").spoken() == "said so"
    assert Item(tmp_path, ("a",)).spoken() is None
    assert Item(tmp_path, ("a",), texts=("good morning",), kind="speech").spoken() == "good morning"
    assert Item(tmp_path, ("a",), texts=("good morning", "a man talks"), kind="speech").spoken() is None


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ("{not json", "not JSON"),
        ("[1]", "JSON object"),
        ({"texts": ["x"]}, "`file`"),
        ({"file": []}, "`file`"),
        ({"file": [1]}, "`file`"),
        ({"file": "a.mp4", "texts": "one string"}, "`texts`"),
        ({"file": "a.mp4", "texts": [1]}, "`texts`"),
        ({"file": "a.mp4", "split": 3}, "`split`"),
        ({"file": "a.mp4", "has_audio": "yes"}, "`has_audio`"),
        ({"file": "a.mp4", "fps": -1}, "`fps`"),
        ({"file": "a.mp4", "start_s": True}, "`start_s`"),
        ({"file": "a.mp4", "start_s": 5, "end_s": 5}, "`end_s`"),
        ({"file": ["a.jpg", "a.wav"]}, "list of pictures"),
        ({"file": "a.wav", "words": ["hello"]}, "`words`"),
        ({"file": "a.wav", "words": [["hello", "soon", 1.0]]}, "`words`"),
        ({"file": "a.wav", "words": [["hello", 2.0, 1.0]]}, "`words`"),
        ({"file": "a.wav", "words": [[7, 0.0, 1.0]]}, "`words`"),
        ({"file": "a.wav", "words": 0}, "`words`"),
        ({"file": "a.wav", "words": ["a12"]}, "`words`"),
        ({"file": "a.wav", "words": [["hello", 0.0, float("inf")]]}, "`words`"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, bad: object, names: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder_of(tmp_path, FULL, "", bad))
    assert f"{tmp_path / 'manifest.jsonl'}:3" in caught.value.message
    assert names in caught.value.message
    assert caught.value.code == "bad_manifest"


def test_bad_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not a folder"):
        load_manifest(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="lists no item"):
        load_manifest(folder_of(tmp_path, "", ""))
    (tmp_path / "manifest.jsonl").write_bytes(b'{"file": "\xff"}\n')
    with pytest.raises(ManifestError, match="UTF-8"):
        load_manifest(tmp_path)


def test_split_chooses_and_a_missing_one_lists_what_there_is(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, FULL, {"file": "b.mp4"}, {"file": "c.mp4", "split": "val"})
    assert [item.name for item in load_manifest(folder, "val")] == ["c.mp4"]
    assert [item.name for item in load_manifest(folder, "train")] == ["b.mp4"]  # no split given means training
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder, "dev")
    assert caught.value.hint == "It has: test, train, val."


def test_texts_that_differ_in_case_and_punctuation_are_one_query() -> None:
    assert normalised("  A dog, barking!  ") == normalised("a DOG barking") == "a dog barking"
    assert normalised("Don't") == "dont"
    assert normalised("a dog") != normalised("a cat")
    assert normalised("?!…") == ""


def test_written_manifest_is_read_back(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, [FULL, {"file": "b.mp4", "texts": ["naïve café"]}]) == 2
    assert [item.texts for item in load_manifest(tmp_path)] == [("A dog barks.",), ("naïve café",)]


def test_a_mark_before_the_first_line_is_no_text(tmp_path: Path) -> None:
    """As editors of Windows write it, with their line ends."""
    (tmp_path / "manifest.jsonl").write_bytes(b'\xef\xbb\xbf{"file": "a.mp4", "texts": ["a dog"]}\r\n')
    assert [item.texts for item in load_manifest(tmp_path)] == [("a dog",)]


def test_interrupted_write_keeps_the_old_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, [FULL])

    def lines() -> Any:
        yield {"file": "b.mp4"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(tmp_path, lines())
    assert [item.name for item in load_manifest(tmp_path)] == ["a.mp4"]
