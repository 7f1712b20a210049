"""The films of the test sets: the same each time, in babble of the right loudness, in both orders."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from model.data.manifest import Item, parse
from model.data.synthesis.noise import band_energy
from model.data.synthesis.sounds import SOUNDS
from model.data.synthesis.speech import Speaker
from model.evaluation.testsets import ordered, voices
from model.evaluation.testsets.babble import Babble
from model.evaluation.testsets.spoken import RATE, Spoken, dub, film
from model.media import read_audio
from tests.model.small_data import SAID


def quiet(_done: int, _of: int) -> None:
    """Nobody to tell."""


# ---- films -----------------------------------------------------------------------------------------------------------


def espeak_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Festival is of the system and may be missing: these films are made without it."""
    monkeypatch.setattr("model.evaluation.testsets.babble.ALL_VOICES", voices.ALL_VOICES[:9])


def plan_of_two() -> list[Spoken]:
    return [
        Spoken(f"t{number}.mp4", person, SAID[number], SAID[number], "speech", person.voice.variant)
        for number, person in enumerate(voices.drawn_people(1)[:2])
    ]


def decoded_pictures(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_films_are_the_same_each_time_and_babble_changes_the_sound_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    espeak_voices(monkeypatch)
    folders = [tmp_path / name for name in ("clean", "again", "noisy", "noisy again")]
    for folder in folders:
        folder.mkdir()
    clean, again, noisy, noisy_again = folders
    lines = film(clean, plan_of_two(), quiet)
    assert film(again, plan_of_two(), quiet) == lines
    for folder in (noisy, noisy_again):
        assert dub(folder, clean, plan_of_two(), SAID * 14, 0.0, quiet) == lines
    for name in ("t0.mp4", "t1.mp4"):
        assert (clean / name).read_bytes() == (again / name).read_bytes()
        assert (noisy / name).read_bytes() == (noisy_again / name).read_bytes()
        assert np.array_equal(decoded_pictures(clean / name), decoded_pictures(noisy / name))
        before, after = (read_audio(folder / name, 0.0, 10.0).astype(np.float64) for folder in (clean, noisy))
        assert abs(len(before) - len(after)) < 2000
        shared = min(len(before), len(after))
        assert 0.3 < np.corrcoef(before[:shared], after[:shared])[0, 1] < 0.95


def test_babble_is_as_loud_as_asked_in_the_band_and_of_other_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    espeak_voices(monkeypatch)
    voice = voices.ALL_VOICES[0]
    with Speaker(RATE) as speaker:
        babble = Babble(speaker, SAID * 14)
        (speech,) = voices.said(speaker, voice, SAID[:1])
    quiet_speech = (speech.samples // 8).astype(np.int16)  # so that nothing is scaled down to fit
    for snr_db in (5.0, 0.0):
        noise = babble.over(quiet_speech, voice, snr_db, random.Random(1)).astype(np.int32) - quiet_speech
        found = 10 * np.log10(band_energy(quiet_speech, RATE) / band_energy(noise, RATE))
        assert found == pytest.approx(snr_db, abs=0.1)
    babble.monologues = {voice: babble.monologues[voice]} | {
        other: np.zeros_like(samples) for other, samples in babble.monologues.items() if other != voice
    }
    assert np.array_equal(babble.over(quiet_speech, voice, 0.0, random.Random(1)), quiet_speech)


def test_a_set_is_a_manifest_like_any_other() -> None:
    (clip, _) = plan_of_two()
    item = parse(clip.line(2.5), Path(), "line 1")
    assert isinstance(item, Item) and item.texts == (SAID[0],) and item.split == "test" and item.spoken() == SAID[0]
    assert item.extra["text_source"] == "human" and item.extra["engine"] == "espeak"


# ---- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plan", "count"), [(ordered.plan_ordered, 240), (ordered.plan_ordered_long, 60)])
def test_every_scene_is_there_in_both_orders(plan: Any, count: int) -> None:
    made = plan()
    assert len(made) == count == len({video.file for video in made})
    for first, second in zip(made[::2], made[1::2], strict=True):
        one, other = first.line(1.0, True), second.line(1.0, True)
        assert one["group"] == other["group"] and first.shots == tuple(reversed(second.shots))
        assert one["texts"] == other["reversed_text"] and other["texts"] == one["reversed_text"] != one["texts"]
    if count == 240:
        assert Counter(video.kind for video in made) == {"order_seen": 120, "order_heard": 120}
        heard = [video for video in made if video.kind == "order_heard"]
        assert all(SOUNDS[video.shots[0].sound].clause == video.first for video in heard)


def test_ordered_videos_are_one_clip_and_long_ones_hold_no_clip_with_both(tmp_path: Path) -> None:
    short = ordered.film_ordered(tmp_path, ordered.plan_ordered()[:2], quiet)
    assert all(line["duration_s"] <= 10 and (tmp_path / line["file"]).is_file() for line in short)
    video = ordered.plan_ordered_long()[0]
    (line,) = ordered.film_ordered(tmp_path, [video], quiet)
    assert line["duration_s"] == pytest.approx(30.0, abs=0.5)
    assert line["duration_s"] - 2 * video.shots[0].seconds > 10
