"""Drawn stills: a line for each picture, phrases that are true of it, and nothing that a still cannot show."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from model.data.manifest import load_manifest
from model.data.synthesis.library import Request, synthesise
from model.data.synthesis.people import cast
from model.data.synthesis.shots import Shot
from model.data.synthesis.stills import true_of_person, true_of_shot


def test_stills_are_pictures_with_a_manifest_line_each(tmp_path: Path) -> None:
    for kind in ("portraits", "shots"):
        assert synthesise(Request(tmp_path, kind, 3, seed=4, size=64)).files == 3  # type: ignore[arg-type]
    items = load_manifest(tmp_path, "train")
    assert len(items) == 6 and all(item.form == "still" and len(item.texts) >= 3 for item in items)
    pictures = [np.asarray(Image.open(item.paths()[0])) for item in items]
    assert all(picture.std() > 10 for picture in pictures) and not np.array_equal(pictures[0], pictures[1])


def test_the_same_seed_gives_the_same_pictures(tmp_path: Path) -> None:
    for name in ("one", "two"):
        synthesise(Request(tmp_path / name, "portraits", 2, seed=9, size=64))
    one, two = (sorted((tmp_path / name).rglob("*.jpg")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_person_is_told_by_each_feature_by_clothes_and_by_place() -> None:
    person = replace(
        cast(1, "train", 0)[0], sex="woman", glasses="round", beard="", hat="cap", hat_colour="red", style="short",
        hair="black", shirt="blue", pattern="striped", backdrop="on a beach", gesture="nodding",
    )  # fmt: skip
    phrases = true_of_person(person)
    assert len(phrases) == len(set(phrases))
    for expected in (
        "a woman with a red cap", "the woman with round glasses", "a woman with round glasses in a striped blue shirt",
        "a woman in a striped blue shirt on a beach", "a woman in a blue shirt", "a woman on a beach",
    ):  # fmt: skip
        assert expected in phrases
    assert not any(word in json.dumps(phrases) for word in ("nodding", "talking", "beard"))


def test_a_shot_is_told_by_thing_colour_and_place_but_not_by_its_motion() -> None:
    shot = Shot("bird", "orange", "on a beach", "right", 3.0, weather="rain")
    assert true_of_shot(shot) == [
        "an orange bird over a beach",
        "an orange bird",
        "a bird over a beach",
        "an orange bird over a beach in the rain",
    ]
