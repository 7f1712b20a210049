"""Each public source, made small: every recording gets its own words and speaker, and what is damaged says so."""

import gzip
import json
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model.audio import AudioTokens
from model.cli import commands
from model.data.manifest import load_manifest
from model.data.sources import SOURCES, SourceError, asterisk, gather, packages, queen, sky
from model.data.sources.common import VAL_SHARE, Clip, Report, assign_splits, sentence_split, write_clips
from model.data.sources.listen import alignment_losses, listen
from model.data.sources.queen_archive import Archive as QueenArchive
from model.data.sources.queen_archive import dialogue, recordings, scene
from model.data.sources.rnc import unpack
from model.data.sources.sky_archive import Archive as SkyArchive
from model.data.sources.sound import decode, spoken_text
from model.letters import SYMBOLS, spelled
from model.media import read_audio
from model.spelling import FRAMES
from tests.model.small_data import photographs
from tests.model.source_data import (
    encoded,
    package,
    packed,
    queen_archive,
    queen_dialogue,
    queen_scene,
    queen_world,
    sky_files,
    tone,
)

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")


def clip(name: str, text: str, seconds: float, group: str = "ann", **fields: str) -> Clip:
    return Clip(name, (text,), group, partial(tone, seconds), fields=fields)


def write(folder: Path, clips: list[Clip]) -> Report:
    return write_clips(folder, clips, "CC0-1.0", lambda done, total: None)


def test_a_written_clip_has_its_sound_words_speaker_and_licence(tmp_path: Path) -> None:
    report = write(tmp_path, [clip("hello", "Hello there.", 1.0)])
    (item,) = load_manifest(tmp_path)
    assert (item.kind, item.group, item.texts, item.spoken()) == ("speech", "ann", ("Hello there.",), "Hello there.")
    assert item.extra["license"] == "CC0-1.0" and item.extra["text_source"] == "human"
    assert np.array_equal(read_audio(item.paths()[0]), tone(1.0))
    assert (report.files, report.media_s, dict(report.groups)) == (1, 1.0, {"ann": 1})


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        ("Hello", 0.3, "shorter than 0.4 s"),
        ("word " * 20, 13.0, "longer than 12 s"),
        ("No.", 2.0, "too slow for its text"),
        ("a sentence that takes longer to say", 0.5, "too fast for its text"),
    ],
)
def test_a_clip_that_cannot_say_its_text_is_counted_and_left_out(
    tmp_path: Path, text: str, seconds: float, reason: str
) -> None:
    report = write(tmp_path, [clip("good", "Hello there.", 1.0), clip("bad", text, seconds)])
    assert report.dropped == {reason: 1} and report.files == 1
    assert [item.name for item in load_manifest(tmp_path)] == ["good.flac"]
    assert not (tmp_path / "bad.flac").exists()


def test_whole_speakers_are_held_out_and_about_the_share_that_is_asked_for() -> None:
    clips = [
        clip(f"{who}-{line}", f"line {line}", 1.0, group=f"speaker {who}") for who in range(100) for line in range(5)
    ]
    splits = assign_splits(clips)
    by_group = {each.group: {splits[other.name] for other in clips if other.group == each.group} for each in clips}
    assert all(len(found) == 1 for found in by_group.values())
    assert Counter(splits.values())["val"] == VAL_SHARE * len(clips)
    assert assign_splits(clips[::-1]) == splits


def test_one_speaker_is_split_by_sentences_wherever_they_are_said() -> None:
    splits = assign_splits([clip(f"{copy}{line}", f"Line {line}!", 1.0) for copy in "ab" for line in range(1000)])
    assert all(splits[f"a{line}"] == splits[f"b{line}"] == sentence_split(f"line {line}") for line in range(1000))
    assert 0.02 < Counter(splits.values())["val"] / len(splits) < 0.06


def test_a_split_that_the_source_names_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [clip("a", "Hello there.", 1.0, split="val"), clip("b", "Hello again.", 1.0, split="train")])
    assert {item.name: item.split for item in load_manifest(tmp_path)} == {"a.flac": "val", "b.flac": "train"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Press 1, or 2 to exit.", "Press one, or two to exit."),
        ("Call-Forward   Unconditional", "Call Forward Unconditional"),
        ("... using your keypad...", "using your keypad"),
        ("It is 3.5 or 19:00", "It is 3.5 or 19:00"),
        ("Wait...what?", "Wait what?"),
    ],
)
def test_text_becomes_the_words_that_are_said(written: str, said: str) -> None:
    assert spoken_text(written) == said


def test_what_is_no_sound_says_so() -> None:
    with pytest.raises(SourceError, match="cannot be decoded"):
        decode(b"this is not sound", "mp3")


def test_a_missing_package_names_the_line_that_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError) as raised, packages.unpacked("some-sounds", tmp_path / "debs"):
        pass
    assert f"cd {tmp_path / 'debs'} && apt-get download some-sounds" in raised.value.hint
    assert "no apt-get here" in raised.value.message


@needs_dpkg
def test_a_broken_package_says_so(tmp_path: Path) -> None:
    (tmp_path / "some-sounds_1_all.deb").write_bytes(b"broken")
    with pytest.raises(SourceError, match="cannot be unpacked"), packages.unpacked("some-sounds", tmp_path):
        pass


@needs_dpkg
def test_prompts_and_their_transcripts_are_gathered_by_the_command(tmp_path: Path) -> None:
    listing = (
        "; comment\nactivated: Activated now.\nbeep: [a tone]\ndigits/press: Press 1 ...\nmissing: Not recorded.\n"
    )
    sounds = {name: encoded("g722", "g722", tone(1.2), 16000) for name in ("activated", "beep", "digits/press")}
    package(tmp_path, asterisk.TEXTS, {"usr/share/doc/core-sounds-en.txt.gz": gzip.compress(listing.encode())})
    package(tmp_path, asterisk.SOUNDS, {f"usr/share/en/{name}.g722": sound for name, sound in sounds.items()})
    run = CliRunner().invoke(
        commands, ["gather", str(tmp_path / "out"), "--source", "asterisk", "--packages", str(tmp_path), "--json"]
    )
    assert run.exit_code == 0, run.output
    found = {item.name: item for item in load_manifest(tmp_path / "out" / "asterisk")}
    assert {name: item.texts for name, item in found.items()} == {
        "activated.flac": ("Activated now.",),
        "digits-press.flac": ("Press one",),
    }
    heard = read_audio(found["activated.flac"].paths()[0])
    assert len(heard) == pytest.approx(1.2 * 16000, abs=400)
    assert np.corrcoef(heard[1000:15000].astype(float), tone(1.2)[1000 - 22 : 15000 - 22])[0, 1] > 0.9
    assert json.loads(run.stdout.splitlines()[-1])["files"] == 2


@needs_dpkg
def test_a_package_without_its_listing_says_which_file_is_missing(tmp_path: Path) -> None:
    for name in (asterisk.TEXTS, asterisk.SOUNDS):
        package(tmp_path, name, {"usr/share/doc/readme": b"x"})
    with pytest.raises(SourceError, match="holds no core-sounds-en.txt"):
        gather("asterisk", tmp_path / "out", tmp_path, lambda done, total: None)


def test_an_unknown_source_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        gather("nonsense", tmp_path, None, lambda done, total: None)
    assert all(name in raised.value.hint for name in SOURCES)


def test_stage_directions_part_a_text_into_recordings() -> None:
    found = [(line.sound, line.text) for line in recordings(" 2  1fP", "*FLHello.*03*WTBye.*XY00(237,112)Wait!", "Ann")]
    assert found == [
        ("02001FP1.SB", ""),
        ("02001FP2.SB", "Hello."),
        ("02001FP3.SB", ""),
        ("02001FP4.SB", "Bye."),
        ("02001FP5.SB", "Wait!"),
    ]
    assert [line.sound for line in recordings("X", "One*01", "Ann")] == ["X1.SB", "X2.SB"]


def test_a_dialogue_tells_who_says_what() -> None:
    part = queen_dialogue(7, [(1, "Hi!"), (0x1E, "What is it?")], [(2, "Hello, Joe.*01Sit.")], ("Back again?", "Yes."))
    found = {line.sound: (line.speaker, line.text) for line in dialogue("BOB", part) if line.text}
    assert found == {
        "070001J1.SB": ("Joe King", "Hi!"),
        "07SSSSJ1.SB": ("Joe King", "Hi!"),
        "07001EJ1.SB": ("Joe King", "What is it?"),
        "070002P1.SB": ("BOB", "Hello, Joe."),
        "070002P2.SB": ("BOB", "Sit."),
        "07XXXXP1.SB": ("BOB", "Back again?"),
        "07XXXXJ1.SB": ("Joe King", "Yes."),
    }


def test_a_scene_counts_all_steps_and_speaks_those_of_people() -> None:
    steps = [(0, "Look out!", 0), (2, "", 3), (1, "A thing.", 0), (2, "I see it.", 0), (0, "*", 0), (-2, "A text.", 0)]
    world = SimpleNamespace(people={2: "Faye"})
    found = [(line.sound, line.speaker, line.text) for line in scene("C9", queen_scene(steps), world)]  # type: ignore[arg-type]
    assert found == [
        ("C9___011.SB", "Joe King", "Look out!"),
        ("C9___041.SB", "Faye", "I see it."),
        ("C9___061.SB", "", "A text."),
    ]


def test_the_queen_becomes_clips_with_one_name_for_each_person() -> None:
    sound = encoded("libmp3lame", "mp3", tone(1.0, 11025), 11025)
    parts = queen_world(["hatch", "Trader Bob"], {2: 2}, ["A hatch*24", "(sigh)*02"])
    parts |= {"BOB1.DOG": queen_dialogue(7, [(1, "Hi!")], [(2, "Hello, Joe.")], ("0", "0"))}
    parts |= {"C9.CUT": queen_scene([(2, "I am Bob.", 0), (-2, "A voice.", 0)])}
    spoken = ["JOE00021", "JOE00411", "JOE00421", "070002P1", "C9___011", "C9___021"]
    archive = QueenArchive.read(queen_archive({**parts, **{f"{name}.SB": sound for name in spoken}}))
    clips = {each.name: each for each in queen.list_clips(archive)}
    assert {name: (each.group, each.texts[0]) for name, each in clips.items()} == {
        "joe00021": ("joe-king", "Answer two"),
        "joe00411": ("joe-king", "A hatch"),
        "070002p1": ("trader-bob", "Hello, Joe."),
        "c9___011": ("trader-bob", "I am Bob."),
        "c9___021": ("unknown", "A voice."),
    }
    assert clips["c9___021"].fields == {"split": "train"}
    assert len(clips["joe00021"].read()) == pytest.approx(16000, abs=3000)


@pytest.mark.parametrize("content", [b"something else", queen_archive({}, version=b"CGM10")])
def test_another_archive_or_language_of_the_queen_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match="not the talking English"):
        QueenArchive.read(content)


def test_a_part_of_the_queen_that_ends_early_is_refused() -> None:
    with pytest.raises(SourceError, match="ends too early"):
        list(scene("C9", queen_scene([(0, "Look out!", 0)])[:40], SimpleNamespace(people={})))  # type: ignore[arg-type]


def test_packed_data_unpack_to_runs_and_copies() -> None:
    plain = b"abcde" + b"cde" + b"abcdecdeabcdecdeab"[:10] + b"zzz" + b"zzzzz" + b"."
    whole = packed([(b"abcde", 3, 3), (b"", 8, 10), (b"zzz", 1, 5), (b".", 0, 0)], plain)
    assert unpack(whole) == plain


def test_packed_data_with_another_checksum_are_refused() -> None:
    damaged = bytearray(packed([(b"abcdefg", 3, 3), (b".", 0, 0)], b"abcdefgefg."))
    damaged[damaged.index(b"abc")] ^= 1
    with pytest.raises(SourceError, match="damaged"):
        unpack(bytes(damaged))
    with pytest.raises(SourceError, match="not a packed file"):
        unpack(b"RNC\2" + bytes(20))


def test_the_sky_has_the_text_of_each_recording() -> None:
    plain = bytes(range(100, 110)) + bytes(range(107, 110))
    texts = {0: ["", "Hey!", "Never said.", "A long text, " * 12], 2: [f"Line {number}." for number in range(70)]}
    sounds = {
        (0, 1): b"\x80" * 22050,
        (0, 3): packed([(plain[:10], 3, 3), (b".", 0, 0)], plain + b"."),
        (2, 66): b"\x80",
    }
    archive = SkyArchive.read(*sky_files(texts, sounds))
    assert list(archive.lines()) == [
        (0, 50001, "Hey!"),
        (0, 50003, "A long text, " * 12),
        (2, 51166, "Line 66."),
    ]
    assert archive.samples(50003) == plain + b"."
    clips = sky.list_clips(archive)
    assert [each.group for each in clips] == ["chapter-0", "chapter-0", "chapter-2"]
    assert len(clips[0].read()) == pytest.approx(32000, abs=40) and not clips[0].read().any()


def test_texts_of_another_sky_are_refused() -> None:
    listing, data = sky_files({0: ["Hey!", "You there!"]}, {(0, 1): b"\x80"})
    where = data.index(data[:4]) + 4  # the lengths of the first section's texts
    with pytest.raises(SourceError, match="does not end where it should"):
        list(SkyArchive.read(listing, data[:where] + b"\x05" + data[where + 1 :]).lines())


def test_a_sound_that_spells_its_transcript_aligns_with_no_other(tmp_path: Path) -> None:
    write(tmp_path, [clip("hello", "Hello there.", 1.0)])
    (item,) = load_manifest(tmp_path)
    symbols = torch.tensor(spelled("hello there")).repeat_interleave(2)
    symbols[1::2] = 0
    letters = (20.0 * torch.nn.functional.one_hot(symbols, len(SYMBOLS)).float()[None]).log_softmax(dim=-1)
    heard = AudioTokens(torch.zeros(1, 1, 1), torch.tensor([len(symbols) // FRAMES]))
    retriever, spelling = SimpleNamespace(audio=lambda _: heard), SimpleNamespace(letters=lambda _: letters)
    texts = ["Hello there.", "Hello where", "Other text"]
    losses = alignment_losses(retriever, spelling, item, texts)  # type: ignore[arg-type]
    assert losses[0] < 0.01 and losses[1] > 1 and losses[2] > losses[1]


def test_a_folder_without_transcripts_has_nothing_to_listen_to(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no two transcripts"):
        listen(photographs(tmp_path, 1), 5)
