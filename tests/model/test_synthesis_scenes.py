"""Scenes, spoken photos and the demo's library: what their texts say is what their pixels and samples hold."""

import json
import random
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from model.data.synthesis.actors import ACTORS, PLACES_OF, motions_of, sprite
from model.data.synthesis.drawing import COLOURS
from model.data.synthesis.faces import Portrait
from model.data.synthesis.library import DEMO_QUERIES, SAMPLE_FILES, Request, sample_library, synthesise
from model.data.synthesis.people import cast
from model.data.synthesis.photos import captioned
from model.data.synthesis.places import PLACES, WALLS, paint
from model.data.synthesis.record import SynthesisError
from model.data.synthesis.shots import Shot, draw_shot, shot_frames
from model.data.synthesis.sounds import SOUNDS


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def has_sound(path: Path) -> bool:
    with av.open(str(path)) as media:
        return bool(media.streams.audio)


def duration_s(path: Path) -> float:
    with av.open(str(path)) as media:
        assert media.duration is not None
        return media.duration / 1_000_000


def frames_of(shot: Shot) -> list[np.ndarray]:
    return list(shot_frames(shot, 160, 120, 10.0, random.Random(1)))


def middle_of_red(image: np.ndarray) -> tuple[float, float, int]:
    """Where the strongly red pixels are (x, y in shares of the frame) and how many."""
    values = image.astype(int)
    rows, columns = np.nonzero((values[..., 0] > 150) & (values[..., 1] < 80) & (values[..., 2] < 80))
    return columns.mean() / image.shape[1], rows.mean() / image.shape[0], len(rows)


@pytest.mark.parametrize("motion,sign", [("right", 1), ("left", -1)])
def test_what_drives_to_one_side_moves_there(motion: Any, sign: int) -> None:
    frames = frames_of(Shot("bus", "red", "in front of snowy mountains", motion, 2.0))
    start, end = middle_of_red(frames[5])[0], middle_of_red(frames[15])[0]
    assert sign * (end - start) > 0.2


@pytest.mark.parametrize("motion,factor", [("closer", 2.0), ("away", 0.5)])
def test_what_comes_closer_grows(motion: Any, factor: float) -> None:
    frames = frames_of(Shot("bus", "red", "in front of snowy mountains", motion, 2.0))
    growth = middle_of_red(frames[-1])[2] / middle_of_red(frames[0])[2]
    assert growth > factor if factor > 1 else growth < factor


def test_what_jumps_leaves_the_ground() -> None:
    heights = [middle_of_red(frame)[1] for frame in frames_of(Shot("bus", "red", "on a beach", "jump", 2.0))]
    assert max(heights) - min(heights) > 0.12


def test_rain_and_snow_are_seen_and_named() -> None:
    dry, wet = (Shot("cow", "black", "in a desert", "still", 1.0, weather=weather) for weather in ("", "rain"))
    assert wet.full == f"{dry.full} in the rain"
    assert np.abs(frames_of(dry)[0].astype(int) - frames_of(wet)[0]).mean() > 1


@pytest.mark.parametrize("actor", ACTORS, ids=lambda actor: actor.noun)
def test_every_actor_is_drawn_in_its_colour_and_has_a_place_and_a_sound(actor: Any) -> None:
    for colour in actor.colours:
        pixels = np.asarray(sprite(actor.noun, colour, 0, 96))
        shown = pixels[pixels[..., 3] > 200][:, :3].astype(int)
        assert len(shown) > 400
        near = (np.abs(shown - np.array(COLOURS[colour])).max(axis=1) < 60).mean()
        assert near > 0.08, f"{colour} {actor.noun}"
    assert actor.sound in SOUNDS or actor.sound == ""
    assert set(PLACES_OF[actor.level]) <= {*PLACES, *(f"in front of a {wall} wall" for wall in WALLS)}
    assert "still" in motions_of(actor)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_painted_fully_and_differs_by_seed(place: str) -> None:
    first, second = (np.asarray(paint(place, 96, 72, random.Random(seed)).image()) for seed in (1, 2))
    assert first.shape == (72, 96, 4) and (first[..., 3] == 255).all()
    assert first[..., :3].std() > 10 and not np.array_equal(first, second)


def test_things_of_the_test_split_are_not_in_training() -> None:
    def drawn(split: Any) -> set[str]:
        random_source = random.Random(2)
        return {f"{s.colour} {s.noun} {s.place}" for s in (draw_shot(random_source, split) for _ in range(150))}

    assert not drawn("train") & drawn("test")


def test_a_talking_mouth_opens_and_a_blink_closes_the_eyes() -> None:
    portrait = Portrait(cast(1, "train", 4)[0], 128, random.Random(1))
    closed, wide, blink = (portrait.frame(*pose, 0, 0).astype(int) for pose in ((0, False), (5, False), (0, True)))
    changed = np.nonzero(np.abs(wide - closed).sum(axis=2))[0]
    lids = np.nonzero(np.abs(blink - closed).sum(axis=2))[0]
    assert changed.min() > lids.max(), "the mouth is below the eyes and neither moves the other"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    synthesise(Request(folder, "scenes", count=10, seed=8, size=96, fps=6))
    return folder


def test_scene_events_lie_within_the_file_and_shots_follow_each_other(scenes: Path) -> None:
    for line in lines_of(scenes):
        assert duration_s(scenes / line["file"]) == pytest.approx(line["duration_s"], abs=0.25)
        shots = [event for event in line["events"] if event["kind"] == "seen"]
        assert shots[0]["start_s"] == 0 and shots[-1]["end_s"] == pytest.approx(line["duration_s"], abs=0.01)
        assert all(one["end_s"] == two["start_s"] for one, two in zip(shots, shots[1:], strict=False))
        assert all(0 <= e["start_s"] < e["end_s"] <= line["duration_s"] + 0.01 for e in line["events"])
        assert [event["text"] for event in shots] == line["seen"][::2]
        if len(shots) > 1:
            assert line["order"][0] == f"{shots[0]['text']}, then {shots[1]['text']}"


def test_a_scene_has_an_audio_stream_exactly_when_something_is_heard(scenes: Path) -> None:
    for line in lines_of(scenes):
        audible = any(event["kind"] in {"heard", "said"} for event in line["events"])
        assert line["has_audio"] == audible == has_sound(scenes / line["file"])


def test_heard_events_sound_at_their_time(scenes: Path) -> None:
    checked = 0
    for line in lines_of(scenes):
        events = [event for event in line["events"] if event["kind"] in {"heard", "said"}]
        if not events:
            continue
        with av.open(str(scenes / line["file"])) as media:
            pieces = [frame.to_ndarray().ravel() for frame in media.decode(audio=0)]
        samples = np.concatenate(pieces)
        there = np.zeros(len(samples), bool)
        for event in events:
            there[max(0, int((event["start_s"] - 0.1) * 24000)) : int((event["end_s"] + 0.1) * 24000)] = True
        inside = float((samples[there] ** 2).sum())
        assert inside > 0.99 * float((samples**2).sum())
        checked += 1
    assert checked >= 5


def photo_folder(folder: Path) -> Path:
    folder.mkdir()
    lines = []
    for index in range(3):
        colour = ((200, 40, 40), (40, 200, 40), (40, 40, 200))[index]
        Image.new("RGB", (120, 90), colour).save(folder / f"{index}.png")
        captions = [f"A plain picture number {index} .", f"nothing but colour {index}"]
        split = "val" if index == 2 else "train"
        lines.append({"file": f"{index}.png", "texts": captions, "split": split, "license": "CC0"})
    lines.append({"file": "sound.opus", "texts": ["a sound"], "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_spoken_photos_keep_captions_licence_and_split(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos")
    synthesise(Request(tmp_path / "out", "photos", count=10, photos=photos, size=96))
    lines = lines_of(tmp_path / "out")
    assert len(lines) == 2 and {line["license"] for line in lines} == {"CC0"}
    for line in lines:
        assert line["kind"] == "visual" and line["text_source"] == "human" and line["texts"] == line["seen"]
        assert not any(text.endswith((".", " ")) for text in line["texts"])
        assert duration_s(tmp_path / "out" / line["file"]) >= 2.9


def test_a_spoken_caption_is_not_among_what_is_seen(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos")
    request = Request(tmp_path / "out", "photos", count=10, photos=photos, size=96, spoken="caption", noise="pink")
    synthesise(request)
    for line in lines_of(tmp_path / "out"):
        assert len(line["said"]) == len(line["seen"]) == 1 and line["said"] != line["seen"]


def test_photographs_without_a_split_are_for_training_alone(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos")
    manifest = photos / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**line, "split": None}) + "\n" for line in lines))
    assert len(captioned(Request(tmp_path / "out", "photos", count=10, photos=photos))) == 3
    with pytest.raises(SynthesisError, match="of the val split"):
        captioned(Request(tmp_path / "out", "photos", count=10, photos=photos, split="val"))


def test_photos_need_a_folder_with_captions(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="need photographs"):
        synthesise(Request(tmp_path / "out", "photos", count=1))
    with pytest.raises(SynthesisError, match="no captioned photograph"):
        synthesise(Request(tmp_path / "out", "photos", count=1, photos=tmp_path))
    photos = photo_folder(tmp_path / "photos")
    (photos / "2.png").write_bytes(b"not a picture")
    with pytest.raises(SynthesisError, match="Cannot read the photograph"):
        synthesise(Request(tmp_path / "out", "photos", count=1, photos=photos, split="val"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, made in a folder that already held an item of somebody else's."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "manifest.jsonl").write_text('{"file": "mine.mp4", "texts": ["mine"]}\n')
    sample_library(folder, seed=0)
    return folder


def sample_lines(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines_of(folder) if line["file"] != "mine.mp4"]


def test_the_sample_library_keeps_other_lines_of_the_manifest(sample: Path) -> None:
    assert len(lines_of(sample)) == len(sample_lines(sample)) + 1


def test_the_sample_library_holds_every_kind_of_file(sample: Path) -> None:
    lines = sample_lines(sample)
    assert len(lines) == SAMPLE_FILES
    assert {Path(line["file"]).suffix for line in lines} == {".mp4", ".mkv", ".webm", ".avi", ".ogg"}
    assert any(not line["has_audio"] for line in lines)
    assert max(line["duration_s"] for line in lines) > 30
    for line in lines:
        assert has_sound(sample / line["file"]) == line["has_audio"]


@pytest.mark.parametrize("query", DEMO_QUERIES, ids=lambda query: query.kind)
def test_each_demo_query_names_one_file_and_its_true_time(query: Any, sample: Path) -> None:
    lines = sample_lines(sample)
    assert [line["file"] for line in lines if query.text in line.get(query.kind, [])] == [query.file]
    line = next(line for line in lines if line["file"] == query.file)
    events = [event for event in line["events"] if event["text"] == query.text or event["kind"] == "seen"]
    inside = [e for e in events if e["start_s"] >= query.start_s - 0.1 and e["end_s"] <= query.end_s + 0.1]
    assert inside, "the told span holds an event"
    if query.kind == "seen":
        assert any("blue drum" in event["text"] and "red curtains" in event["text"] for event in inside)
