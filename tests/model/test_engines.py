"""The engines beside eSpeak speak as asked, and no voice of the test is heard in training."""

import json
import random
import shutil
import subprocess
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from model.data.synthesis.library import synthesise
from model.data.synthesis.people import cast
from model.data.synthesis.record import SynthesisError
from model.data.synthesis.request import Request
from model.data.synthesis.sentences import path_sentences, speakable
from model.data.synthesis.speech import ENGINES, Engine, Speaker, SpeechError, Utterance, resample, trim
from model.data.synthesis.talk import request_sentences
from model.data.synthesis.voices import SPEAKERS, draw_voice
from tests.needs import need

SENTENCE = "the old farmer carried a wooden ladder across the bridge"
PEOPLE = {  # who lent a voice to what; the same person may have lent it to both engines
    "awb": "awb", "rms": "rms", "slt": "slt", "kal": "kal", "kal16": "kal",
    "cmu_us_slt_arctic_hts": "slt", "kal_diphone": "kal", "ked_diphone": "ked",
}  # fmt: skip


def engine(name: str) -> Engine:
    need(name, shutil.which(name) is not None, f"the speech synthesiser {name} is not installed (Debian: apt install)")
    found: Engine = name  # type: ignore[assignment]
    return found


def festival_voices() -> set[str]:
    """What is installed here, as Festival lists it."""
    told = subprocess.run(
        ["festival", "--pipe"], input="(print (voice.list))", text=True, capture_output=True, check=True
    )
    return set(told.stdout.strip().strip("()").split())


def people_of(split: str) -> set[str]:
    speakers = [SPEAKERS[kind].get(split, {}) for kind in ("flite", "festival")]  # type: ignore[call-overload]
    return {PEOPLE[name] for by_sex in speakers for names in by_sex.values() for name in names}


def test_festival_and_its_speakers_stay_out_of_training() -> None:
    assert set(SPEAKERS["festival"]) == {"test"}
    heard = {split: people_of(split) for split in ("train", "val", "test")}
    assert heard == {"train": {"awb", "rms"}, "val": set(), "test": {"slt", "kal", "ked"}}


@pytest.mark.parametrize(
    "name,split", [("festival", "train"), ("festival", "val"), ("flite", "test"), ("flite", "val")]
)
def test_an_engine_kept_out_of_a_split_is_refused_there(name: Engine, split: str, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="kept out"):
        Request(tmp_path, "utterances", count=1, split=split, engine=name)  # type: ignore[arg-type]


def test_every_engine_has_its_class_and_its_voices() -> None:
    assert set(ENGINES) == set(SPEAKERS) == set(get_args(Engine))


def test_people_of_an_engine_without_women_are_men() -> None:
    assert {person.sex for person in cast(6, "train", 0, "flite")} == {"man"}
    assert {person.sex for person in cast(6, "train", 0)} == {"woman", "man"}


def test_a_missing_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    for name in ("flite", "festival"):
        with Speaker() as speaker, pytest.raises(SpeechError, match="not installed") as caught:
            speaker.say(Utterance("hello", "kal", engine=name))
        assert f"apt install {name}" in caught.value.hint


@pytest.mark.parametrize("name,split", [("flite", "train"), ("festival", "test")])
def test_every_voice_speaks_audibly_and_at_the_asked_pace(name: str, split: str) -> None:
    kind = engine(name)
    voices = [variant for names in SPEAKERS[kind][split].values() for variant in names]  # type: ignore[index]
    if name == "festival":
        missing = sorted(set(voices) - festival_voices())
        need(name, not missing, f"Festival lacks its voices {', '.join(missing)} (Debian: apt install festvox-...)")
    with Speaker(16000) as speaker:
        usual, quick, high = (
            list(speaker.say_many(Utterance(SENTENCE, voice, rate, pitch, engine=kind) for voice in voices))
            for rate, pitch in ((165, 50), (200, 50), (165, 65))
        )
    for voice, slower, faster, higher in zip(voices, usual, quick, high, strict=True):
        assert slower.samples.std() > 300 and slower.words == []
        if voice != "cmu_us_slt_arctic_hts":
            assert faster.duration_s == pytest.approx(slower.duration_s * 165 / 200, rel=0.12)
            assert higher.duration_s == pytest.approx(slower.duration_s, rel=0.12)
        assert brightness(higher.samples) > 1.02 * brightness(slower.samples)


def brightness(samples: np.ndarray) -> float:
    """The frequency, in Hz, below which half of the voiced energy lies, weighted."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / 16000)
    voiced = (frequencies > 60) & (frequencies < 4000)
    return float((power[voiced] * frequencies[voiced]).sum() / power[voiced].sum())


@pytest.mark.parametrize("name", ["flite", "festival"])
def test_an_unknown_voice_is_an_error_and_not_another_voice(name: str) -> None:
    with Speaker(16000) as speaker, pytest.raises(SpeechError, match="no voice"):
        speaker.say(Utterance("hello", "nobody", engine=engine(name)))


def test_one_speaker_says_with_several_engines_in_order() -> None:
    dice = random.Random(1)
    voices = [draw_voice(dice, "train", engine=kind) for kind in ("espeak", engine("flite"), "espeak")]
    texts = ["good morning", SENTENCE, "good night"]
    with Speaker(16000) as speaker:
        said = list(speaker.say_many(voice.says(text) for voice, text in zip(voices, texts, strict=True)))
    assert [bool(speech.words) for speech in said] == [True, False, True]
    assert said[1].duration_s > said[0].duration_s


def test_the_manifest_names_the_engine_and_the_voice(tmp_path: Path) -> None:
    synthesise(Request(tmp_path, "utterances", count=3, engine=engine("flite"), seed=2))
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert {line["engine"] for line in lines} == {"flite"} and {line["voice"] for line in lines} <= {"awb", "rms"}


def test_silence_around_speech_is_cut_and_a_resampled_tone_keeps_its_length() -> None:
    tone = (8000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
    quiet = np.zeros(4000, np.int16)
    assert len(trim(np.concatenate([quiet, tone, quiet]), 16000)) == pytest.approx(8000 + 2 * 480, abs=20)
    assert len(resample(tone, 17600, 16000)) == pytest.approx(8000 / 1.1, abs=40)


def test_only_plain_sentences_are_speakable() -> None:
    assert speakable("Two dogs , one brown , run .") == "Two dogs, one brown, run"
    assert [speakable(text) for text in ("too short", "7 up is a drink", "he said: no way", "word " * 15)] == [None] * 4


def test_sources_of_sentences_take_turns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first of a file\nsecond of a file\n")
    (tmp_path / "set").mkdir()
    lines = [
        {"file": "x.jpg", "texts": ["A dog runs home ."], "split": "train"},
        {"file": "y.jpg", "texts": ["A cat sleeps all day ."], "split": "test"},
    ]
    (tmp_path / "set" / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    names = ("grammar", str(tmp_path / "a.txt"), str(tmp_path / "set"))
    request = Request(tmp_path, "utterances", count=6, sentences=names)
    sentences = list(islice(request_sentences(request), 6))
    assert {sentences[1], sentences[4]} == {"first of a file", "second of a file"}
    assert sentences[2] == sentences[5] == "A dog runs home"
    assert list(islice(path_sentences(tmp_path / "set", "test", 0), 2)) == ["A cat sleeps all day"] * 2
