"""The synthesis makes playable media whose texts and times are true, the same for the same seed."""

import json
import wave
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from model.cli import commands
from model.data.synthesis import library
from model.data.synthesis.espeak import Espeak
from model.data.synthesis.library import synthesise
from model.data.synthesis.noise import band_energy, coloured, mix
from model.data.synthesis.people import cast
from model.data.synthesis.record import SynthesisError, read_lines
from model.data.synthesis.request import Request
from model.data.synthesis.sentences import SentencesError, file_sentences, grammar_sentences, split_of
from model.data.synthesis.sounds import SOUNDS, make_sound
from model.data.synthesis.speech import Speaker, SpeechError, Utterance
from model.data.synthesis.talkers import mouth_openings
from model.data.synthesis.voices import VARIANTS
from model.data.synthesis.writer import FORMATS, VIDEO_CODECS, FormatError, choose_format, write_video


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def decode_sound(path: Path, rate: int = 16000) -> np.ndarray:
    """All samples with the container's own start offset applied."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        pieces, first = [], None
        for frame in container.decode(audio=0):
            first = frame.time if first is None else first
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return np.concatenate([np.zeros(max(0, round((first or 0.0) * rate)), np.int16), *pieces])


def sounding_span(samples: np.ndarray, rate: int = 16000) -> tuple[float, float]:
    """First and last time at which the sound is clearly there."""
    loudness = np.convolve(np.abs(samples.astype(np.float32)), np.ones(160) / 160, "same")
    there = np.flatnonzero(loudness > 0.05 * loudness.max())
    return there[0] / rate, there[-1] / rate


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talkers")
    synthesise(Request(folder, "talkers", count=6, split="test", seed=3, people=3, sayers=2))
    return folder


def test_train_val_and_test_sentences_never_meet() -> None:
    sentences = {split: set(islice(grammar_sentences(split, 1), 300)) for split in ("train", "val", "test")}
    assert not sentences["train"] & sentences["val"]
    assert not sentences["train"] & sentences["test"]
    for split, members in sentences.items():
        assert {split_of(sentence.upper() + "!") for sentence in members} == {split}


def test_the_grammar_is_large_and_varied() -> None:
    sentences = list(islice(grammar_sentences("train", 5), 6000))
    assert len(set(sentences)) == 6000
    assert len({word for sentence in sentences for word in sentence.lower().split()}) > 1500


def test_voices_of_val_and_test_are_unseen_in_training() -> None:
    names = {split: {name for group in VARIANTS[split].values() for name in group} for split in VARIANTS}
    assert not names["train"] & (names["val"] | names["test"])
    assert not names["val"] & names["test"]


def test_every_voice_speaks_audibly() -> None:
    names = [name for groups in VARIANTS.values() for group in groups.values() for name in group]
    with Speaker(16000) as speaker:
        said = list(speaker.say_many(Utterance("good morning", f"gmw/en+{name}") for name in names))
    assert [name for name, speech in zip(names, said, strict=True) if speech.samples.std() < 300] == []


def test_word_times_cover_the_speech_in_order() -> None:
    with Speaker(16000) as speaker:
        speech = speaker.say(Utterance("the meeting moved to Tuesday", "gmw/en+m3"))
    assert [word for word, _, _ in speech.words] == ["the", "meeting", "moved", "to", "Tuesday"]
    starts = [start for _, start, _ in speech.words]
    assert starts == sorted(starts) and speech.words[-1][2] == pytest.approx(speech.duration_s)


def test_an_unknown_voice_is_an_error_and_not_another_voice() -> None:
    with Speaker(16000) as speaker, pytest.raises(SpeechError, match="no voice"):
        speaker.say(Utterance("hello", "xx/none"))


def test_a_dead_synthesiser_is_an_error_and_not_a_hang() -> None:
    with Speaker(16000) as speaker:
        espeak = speaker.engine("espeak")
        assert isinstance(espeak, Espeak) and espeak.process is not None
        espeak.process.kill()
        espeak.process.wait()
        with pytest.raises(SpeechError, match="ended unexpectedly"):
            speaker.say(Utterance("hello", "gmw/en"))


def test_without_a_synthesiser_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with Speaker() as speaker, pytest.raises(SpeechError, match=r"pip install htav\[synth\]"):
        speaker.say(Utterance("hello", "gmw/en"))


def test_the_program_is_used_when_the_library_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    with wave.open(str(tmp_path / "tone"), "wb") as writer:
        writer.setparams((1, 2, 22050, 0, "NONE", ""))
        writer.writeframes((8000 * np.sin(np.arange(4410) / 10)).astype("<i2").tobytes())
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/tone"\n')
    program.chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    with Speaker(16000) as speaker:
        speech = speaker.say(Utterance("hello", "gmw/en"))
    assert speech.duration_s == pytest.approx(0.2, abs=0.01) and speech.words == []


def test_espeak_is_never_loaded_into_our_process() -> None:
    root = Path(__file__).parents[2]
    users = [
        path
        for room in ("model", "indexer", "app")
        for path in (root / room).rglob("*.py")
        if "import espeakng_loader" in path.read_text() or "import espeak_process" in path.read_text()
    ]
    assert users == []


def test_file_sentences_come_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one line\n\n  two lines \none line\n")
    assert sorted(islice(file_sentences(path, 1), 2)) == ["one line", "two lines"]
    path.write_text("\n \n")
    with pytest.raises(SentencesError, match="no sentence"):
        next(file_sentences(path, 1))
    with pytest.raises(SentencesError, match="Cannot read"):
        next(file_sentences(tmp_path / "missing.txt", 1))


@pytest.mark.parametrize("colour,slope", [("white", 0.0), ("pink", 0.5), ("brown", 1.0)])
def test_noise_lies_at_the_asked_ratio_where_the_ear_listens(colour: str, slope: float) -> None:
    generator = np.random.default_rng(1)
    signal = (3000 * np.sin(np.arange(32000) / 4)).astype(np.int16)
    mixed = mix(signal, coloured(32000, slope, 16000, generator), 6.0, 16000).astype(np.float32)
    part = float(mixed @ signal) / float(signal.astype(np.float32) @ signal)
    ratio = band_energy(signal * part, 16000) / band_energy(mixed - signal * part, 16000)
    assert 10 * np.log10(ratio) == pytest.approx(6.0, abs=0.3), colour


@pytest.mark.parametrize("name", list(SOUNDS))
def test_every_sound_is_audible_unclipped_and_seeded(name: str) -> None:
    first, again = (make_sound(name, 48000, 24000, np.random.default_rng(5)) for _ in range(2))
    other = make_sound(name, 48000, 24000, np.random.default_rng(6))
    assert first.shape == (48000,) and first.dtype == np.int16
    assert np.abs(first.astype(int)).max() > 1500 and np.abs(first.astype(int)).max() < 32000
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("container,codec", [(c, v) for c, codecs in VIDEO_CODECS.items() for v in codecs])
def test_every_container_and_codec_plays_back(container: str, codec: str, tmp_path: Path) -> None:
    form = choose_format(container, codec)
    path = tmp_path / f"clip.{form.suffix}"
    halves = [np.zeros((64, 96, 3), np.uint8) for _ in range(20)]
    for index, image in enumerate(halves):
        image[:, :48] = (220, 30, 30) if index < 10 else (30, 30, 220)
    sound = np.zeros(24000 * 2, np.int16)
    sound[24000:] = (8000 * np.sin(np.arange(24000) / 8)).astype(np.int16)
    write_video(path, form, halves, Fraction(10), sound, 24000)
    with av.open(str(path)) as media:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")[32, 24]) for frame in media.decode(video=0)]
        assert media.streams[0].type == "video"
    assert len(frames) == 20 and frames[-1][0] == pytest.approx(1.9, abs=0.06)
    assert frames[3][1][0] > 150 > frames[3][1][2] and frames[15][1][2] > 150 > frames[15][1][0]
    assert sounding_span(decode_sound(path))[0] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("container", [name for name, form in FORMATS.items() if not form.video])
def test_sound_files_keep_time(container: str, tmp_path: Path) -> None:
    request = Request(tmp_path, "utterances", count=2, container=container, seed=4)
    synthesise(request)
    for line in lines_of(tmp_path):
        event = line["events"][0]
        start, end = sounding_span(decode_sound(tmp_path / line["file"]))
        assert start == pytest.approx(event["start_s"], abs=0.15) and end == pytest.approx(event["end_s"], abs=0.3)


def test_containers_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(FormatError, match="webm does not hold h264"):
        choose_format("webm", "h264")
    with pytest.raises(FormatError, match="no container"):
        choose_format("mov3")


def test_a_talker_moves_the_mouth_with_the_sound() -> None:
    samples = np.concatenate([np.zeros(8000), 9000 * np.sin(np.arange(8000)), np.zeros(8000)]).astype(np.int16)
    openings = mouth_openings(samples, 16000, Fraction(10), 15)
    assert openings[:5].max() == 0 and openings[5:10].min() >= 4 and openings[10:].max() == 0


def test_talkers_say_their_sentence_at_the_told_time(talkers: Path) -> None:
    for line in lines_of(talkers):
        event = line["events"][0]
        start, end = sounding_span(decode_sound(talkers / line["file"]))
        assert start == pytest.approx(event["start_s"], abs=0.12) and end == pytest.approx(event["end_s"], abs=0.25)
        assert event["text"] == line["said"][0] and line["kind"] == "together"
        assert all(line["said"][0] in text for text in line["texts"])


def test_sayers_share_sentences_and_faces_tell_them_apart(talkers: Path) -> None:
    lines = lines_of(talkers)
    assert len({line["said"][0] for line in lines}) == 3
    pairs = {(line["said"][0], line["seen"][0]) for line in lines}
    assert len(pairs) == 6, "a sentence and a face together name one file"


def test_people_are_43_different_ones_with_voices_of_their_split() -> None:
    people = cast(43, "test", 1)
    assert len({(person.sex, *person.features, person.clothes, person.backdrop) for person in people}) == 43
    assert {person.voice.variant for person in people} <= {
        name for group in VARIANTS["test"].values() for name in group
    }
    assert all(person.voice.sex == person.sex for person in people)


def test_equal_requests_make_equal_bytes(talkers: Path, tmp_path: Path) -> None:
    synthesise(Request(tmp_path, "talkers", count=6, split="test", seed=3, people=3, sayers=2))
    for line in lines_of(talkers):
        assert (talkers / line["file"]).read_bytes() == (tmp_path / line["file"]).read_bytes()
    assert (talkers / "manifest.jsonl").read_bytes() == (tmp_path / "manifest.jsonl").read_bytes()


def test_file_names_and_metadata_tell_nothing(talkers: Path) -> None:
    for line in lines_of(talkers):
        assert set(Path(line["file"]).stem) <= set("t0123456789")
        with av.open(str(talkers / line["file"])) as media:
            told = json.dumps([media.metadata, *[stream.metadata for stream in media.streams]])
        assert not any(word in told.lower() for word in line["said"][0].lower().split() if len(word) > 3)


def test_a_second_run_is_refused_unless_overwritten_and_other_splits_are_kept(tmp_path: Path) -> None:
    synthesise(Request(tmp_path, "utterances", count=3, split="train"))
    synthesise(Request(tmp_path, "utterances", count=2, split="val"))
    with pytest.raises(SynthesisError, match="already holds 3 utterances"):
        synthesise(Request(tmp_path, "utterances", count=1, split="train"))
    synthesise(Request(tmp_path, "utterances", count=1, split="train", overwrite=True))
    assert sorted(line["split"] for line in lines_of(tmp_path)) == ["train", "val", "val"]
    assert len(list((tmp_path / "utterances-train").iterdir())) == 1


def test_overwriting_never_leaves_an_earlier_text_on_a_later_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle of it asks nobody: so what is to be replaced is out of the manifest first."""
    synthesise(Request(tmp_path, "shots", count=2, seed=1))
    synthesise(Request(tmp_path, "shots", count=1, seed=1, split="val"))
    listed: list[set[str]] = []
    real = library.remove
    monkeypatch.setattr(library, "remove", lambda *given: listed.append(splits(tmp_path)) or real(*given))
    synthesise(Request(tmp_path, "shots", count=1, seed=2, overwrite=True))
    assert listed == [{"val"}] and splits(tmp_path) == {"train", "val"}


def splits(folder: Path) -> set[str]:
    return {line["split"] for line in read_lines(folder)}


def test_overwriting_removes_only_what_was_made(tmp_path: Path) -> None:
    synthesise(Request(tmp_path, "utterances", count=2))
    own = tmp_path / "utterances-train" / "my notes.txt"
    own.write_text("keep me")
    lines = lines_of(tmp_path)
    outside = tmp_path / "outside.flac"
    outside.write_bytes(b"keep me too")
    stranger = {**lines[0], "file": "utterances-train/../outside.flac"}
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, stranger]))
    synthesise(Request(tmp_path, "utterances", count=1, overwrite=True))
    assert own.exists() and outside.exists()
    assert sorted(path.name for path in own.parent.iterdir()) == ["my notes.txt", "u00000.flac"]


def test_a_damaged_manifest_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for text in ("{not json", '{"texts": []}', "[1]"):
        (tmp_path / "manifest.jsonl").write_text(text + "\n")
        with pytest.raises(SynthesisError, match="manifest.jsonl"):
            synthesise(Request(tmp_path, "utterances", count=1))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_an_interrupted_run_leaves_a_manifest_of_what_is_there(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(Request(tmp_path, "utterances", count=5), stop)
    assert len(lines_of(tmp_path)) == 2


@pytest.mark.parametrize(
    "options,message",
    [
        ({"kind": "dances"}, "no kind"),
        ({"split": "dev"}, "no split"),
        ({"count": 0}, "at least 1"),
        ({"size": 255}, "255 lines"),
        ({"fps": 0.0}, "frames a second"),
        ({"kind": "talkers", "container": "flac"}, "no pictures"),
        ({"noise": "pinkish"}, "no noise"),
    ],
)
def test_wrong_options_are_refused_in_words(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=message):
        Request(**{"out": tmp_path, "kind": "utterances", "count": 1, **options})


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SynthesisError, match="not a folder"):
        synthesise(Request(tmp_path / "file", "utterances", count=1))
    (tmp_path / "utterances-train").write_text("in the way")
    with pytest.raises(SynthesisError, match="Cannot write"):
        synthesise(Request(tmp_path, "utterances", count=1))


def test_the_command_prints_one_json_document(tmp_path: Path) -> None:
    options = ["synth", str(tmp_path), "--kind", "utterances", "--count", "2", "--texts", "heard", "--json"]
    result = CliRunner().invoke(commands, options)
    document = json.loads(result.stdout)
    assert result.exit_code == 0 and document["files"] == 2 and document["media_s"] > 1
    assert all(line["kind"] == "sound" and "speaking" in line["texts"][0] for line in lines_of(tmp_path))
