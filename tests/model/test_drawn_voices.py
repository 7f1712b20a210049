"""Drawn voices are many, differ, follow from their names, and are of one split each."""

import json
import random
from pathlib import Path

import pytest

from model.data.synthesis.drawn_voices import draw_name, variant_file
from model.data.synthesis.library import synthesise
from model.data.synthesis.record import SynthesisError
from model.data.synthesis.request import Request
from model.data.synthesis.speech import Speaker, SpeechError, Utterance
from model.data.synthesis.voices import ACCENTS, draw_voice

LONGEST = 39  # characters of a voice's name; with more eSpeak NG overruns its buffer and dies
NAMES = [draw_name(random.Random(number), sex, "train") for number in range(6) for sex in ("woman", "man")]


def test_a_voice_follows_from_its_name_and_no_other_has_it() -> None:
    voices = [f"gmw/en-US+{name}" for name in NAMES]
    files = [variant_file(voice) for voice in voices]
    assert [variant_file(voice) for voice in voices] == files and len(set(files)) == len(NAMES) and None not in files
    assert variant_file("gmw/en+f2") is None and variant_file("gmw/en") is None


def test_voices_of_two_splits_never_meet() -> None:
    names = {
        split: {draw_name(random.Random(1), "man", split) for _ in range(50)} for split in ("train", "val", "test")
    }
    assert not names["train"] & names["val"] and not names["train"] & names["test"]


def test_the_longest_name_fits_into_what_espeak_keeps_of_it() -> None:
    assert len(f"{max(ACCENTS, key=len)}+train-woman-999999") <= LONGEST


def test_drawn_voices_say_the_same_words_audibly_and_each_otherwise() -> None:
    with Speaker(16000) as speaker:
        said = list(speaker.say_many(Utterance("good morning", f"gmw/en-US+{name}") for name in NAMES))
        again = speaker.say(Utterance("good morning", f"gmw/en-US+{NAMES[0]}"))
        named = speaker.say(Utterance("good morning", "gmw/en-US+f1"))
    assert [name for name, speech in zip(NAMES, said, strict=True) if speech.samples.std() < 300] == []
    assert again.duration_s == pytest.approx(said[0].duration_s, rel=0.01)  # eSpeak itself flutters a little
    assert [word for word, _, _ in again.words] == ["good", "morning"]
    assert len({speech.samples.tobytes() for speech in (*said, named)}) == len(NAMES) + 1


def test_the_manifest_names_the_drawn_voice(tmp_path: Path) -> None:
    synthesise(Request(tmp_path, "utterances", count=4, split="val", voices="drawn", seed=3))
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert len({line["voice"] for line in lines}) == 4
    assert all(variant_file(line["voice"]) for line in lines)


def test_only_espeak_draws_voices(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="are drawn"):
        Request(tmp_path, "utterances", count=1, engine="flite", voices="drawn")


def test_the_program_alone_has_no_drawn_voices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path))
    voice = draw_voice(random.Random(0), "train", unnamed=True)
    with Speaker(16000) as speaker, pytest.raises(SpeechError, match="drawn voices"):
        speaker.say(voice.says("hello"))


def test_nothing_is_left_behind_by_a_speaker_that_is_not_heard_to_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Speaker(16000) as speaker:
        next(speaker.say_many(Utterance("good morning " * 40, f"gmw/en-US+{name}") for name in NAMES))
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
