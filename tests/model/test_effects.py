"""Sound effects are what their table says, cut to what sounds, with texts by class; a teacher can check them."""

import csv
import io
import json
import os
import struct
import wave
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from model.data.manifest import load_manifest
from model.data.sources import common, effects, weak_labels
from model.data.sources.effects import excerpt, sounds_of, titled, with_splits
from model.data.sources.effects_table import AUDIOSET, PACKAGES, TEXTS, Package
from model.data.sources.weak_labels import Teacher, TeacherError, judge, label, texts_of, window_starts
from tests.needs import need

RATE = 16000
DATA = Path(os.environ.get("HTAV_DEV_DATA", Path(__file__).parents[3] / "shared" / "data"))


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(samples.astype("<i2").tobytes())
    return target.getvalue()


def tone(seconds: float, pitch: float = 440.0) -> np.ndarray:
    return (6000 * np.sin(np.arange(int(seconds * RATE)) * 2 * np.pi * pitch / RATE)).astype(np.int16)


def sound_set(sounds: dict[str, bytes]) -> bytes:
    """An OpenTTD .cat file."""
    table, entries = b"", b""
    for title, data in sounds.items():
        entry = f'"{title}". By nobody.'.encode() + b"\0"
        table += struct.pack("<II", (8 * len(sounds) + len(entries)) | 0x80000000, len(data))
        entries += bytes([len(entry)]) + entry + data
    return table + entries


def test_every_class_has_texts_of_its_own_and_every_package_a_licence() -> None:
    used = {kind for package in PACKAGES.values() for kind in package.patterns}
    assert used == set(TEXTS) and len(used) > 100
    first = [texts[0] for texts in TEXTS.values()]
    assert len(set(first)) == len(first)
    assert all(package.licence for package in PACKAGES.values())


def test_no_file_is_of_two_classes() -> None:
    patterns = [(name, each) for name, package in PACKAGES.items() for row in package.patterns.values() for each in row]
    assert len(set(patterns)) == len(patterns)


def test_the_teacher_is_asked_about_known_classes_by_names_that_it_knows() -> None:
    assert set(AUDIOSET) <= set(TEXTS)
    need("data", (DATA / "teachers").is_dir(), f"no development data in {DATA} (HTAV_DEV_DATA)")
    with (DATA / "teachers" / "yamnet_class_map.csv").open(newline="") as rows:
        names = {row["display_name"] for row in csv.DictReader(rows)}
    assert {name for row in AUDIOSET.values() for name in row} <= names


def test_an_excerpt_is_what_sounds_and_at_most_eight_seconds() -> None:
    quiet = np.zeros(RATE, np.int16)
    assert len(excerpt(wav(np.concatenate([quiet, tone(2.0), quiet])))) == pytest.approx(2 * RATE, abs=100)
    assert len(excerpt(wav(tone(11.0)))) == 8 * RATE
    assert len(excerpt(wav(tone(0.2)))) == int(0.6 * RATE)
    assert len(excerpt(wav(np.zeros(500, np.int16)))) == 0


def test_sounds_are_found_in_folders_archives_and_sound_sets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "dog.wav").write_bytes(wav(tone(1)))
    with zipfile.ZipFile(tmp_path / "b.pk3", "w") as archive:
        archive.writestr("sound/rain.ogg", b"rain")
        archive.writestr("readme.txt", b"")
    data = sound_set({"Ship horn": wav(tone(1)), "Splat (rails)": b"x"})
    (tmp_path / "c.cat").write_bytes(data)
    assert set(sounds_of(tmp_path)) == {"a/dog.wav", "sound/rain.ogg", "ship-horn", "splat-rails"}
    assert dict(titled(data))["ship-horn"] == wav(tone(1))


def test_gathered_effects_are_relevant_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        effects, "PACKAGES", {"game": Package("CC0-1.0", {"dog": ("dogs/*.wav",), "rain": ("rain.wav",)})}
    )
    (tmp_path / "packages" / "game" / "dogs").mkdir(parents=True)
    for number in range(30):
        (tmp_path / "packages" / "game" / "dogs" / f"{number}.wav").write_bytes(wav(tone(1, 300 + 10 * number)))
    (tmp_path / "packages" / "game" / "rain.wav").write_bytes(wav(tone(1)))
    (tmp_path / "out").mkdir()
    report = effects.gather(tmp_path / "out", tmp_path / "packages", lambda done, total: None)
    items = load_manifest(tmp_path / "out")
    assert report.files == len(items) == 31 and report.groups == {"dog": 30, "rain": 1}
    dogs = [item for item in items if item.relevance_key == "effects:dog"]
    assert len(dogs) == 30 and "a dog barking" in dogs[0].texts and "the sound of a dog barking" in dogs[0].texts
    assert {item.split for item in dogs} == {"train", "val"}
    assert all(item.paths()[0].is_file() and item.kind == "sound" for item in items)
    assert {json.loads(line)["license"] for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()} == {
        "CC0-1.0"
    }


def test_a_pattern_without_files_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "PACKAGES", {"game": Package("CC0-1.0", {"dog": ("dogs/*.wav",)})})
    (tmp_path / "game").mkdir()
    with pytest.raises(common.SourceError, match="holds none"):
        effects.gather(tmp_path, tmp_path, lambda done, total: None)


def test_a_small_class_stays_in_training() -> None:
    clips = [effects.clip("p", "CC0-1.0", "dog", f"{number}.wav", tone(1)) for number in range(200)]
    rare = [effects.clip("p", "CC0-1.0", "cat", f"{number}.wav", tone(1)) for number in range(2)]
    splits = [clip.fields["split"] for clip in with_splits([*clips, *rare])]
    assert splits[-2:] == ["train", "train"]
    assert 4 <= splits.count("val") <= 32


def test_the_teachers_windows_cover_a_sound() -> None:
    assert window_starts(15600) == [0]
    assert window_starts(24000) == [0, 7800, 8400]


def test_a_verdict_needs_a_clear_opinion() -> None:
    assert judge("dog", {"Bark": 0.5, "Rain": 0.9}) == "agreed"
    assert judge("dog", {"Bark": 0.01, "Rain": 0.9}) == "contradicted"
    assert judge("dog", {"Bark": 0.01, "Rain": 0.4}) == "unsure"
    assert judge("boing", {"Rain": 0.9}) == "unknown"
    assert texts_of({"Rain": 0.5, "Bee, wasp, etc.": 0.9, "Silence": 1.0}) == ["the sound of bee", "the sound of rain"]


def test_the_command_says_what_the_teacher_thought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a teacher that hears a dog in everything: the real one is an extra."""
    teacher = SimpleNamespace(scores=lambda _samples: {"Bark": 0.9, "Rain": 0.1})
    monkeypatch.setattr(weak_labels, "Teacher", lambda _folder: teacher)
    (tmp_path / "a.wav").write_bytes(wav(np.zeros(RATE, np.int16)))
    line = {"file": "a.wav", "texts": ["a dog"], "label": "dog", "kind": "sound", "text_source": "class label"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line))
    weak_labels.run_label(tmp_path, tmp_path, json_output=True)
    assert json.loads(capsys.readouterr().out) == {"labelled": 0, "verdicts": {"agreed": 1}, "contradicted": []}


def test_a_missing_teacher_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra 'teachers' is not installed")
    with pytest.raises(TeacherError, match="no usable teacher"):
        Teacher(tmp_path)


def test_the_teacher_labels_what_nobody_described(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra 'teachers' is not installed")
    need("data", (DATA / "teachers").is_dir(), f"no development data in {DATA} (HTAV_DEV_DATA)")
    teacher = Teacher(DATA / "teachers")
    assert len(teacher.scores(tone(3.0))) == 521
    (tmp_path / "a.wav").write_bytes(wav(np.random.default_rng(0).integers(-9000, 9000, 2 * RATE)))
    lines = [
        {"file": "a.wav", "texts": [], "kind": "sound", "has_audio": True},
        {"file": "a.wav", "texts": ["a dog barking"], "label": "dog", "kind": "sound", "text_source": "class label"},
        {"file": "a.wav", "texts": ["my words"], "kind": "sound", "text_source": "human"},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told: list[tuple[int, int]] = []
    opinion = label(tmp_path, teacher, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    found = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert found[0]["texts"] == found[0]["heard"] and found[0]["text_source"] == "model" and opinion.labelled == 1
    assert found[1]["teacher"] in {"contradicted", "unsure"} and found[1]["texts"] == ["a dog barking"]
    assert found[2] == lines[2]
