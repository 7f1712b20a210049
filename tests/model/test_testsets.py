"""The fixed test sets hold what docs/evaluation.md says of them, and a set that changed is noticed."""

import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model import cli
from model.data.manifest import load_manifest, normalised, parse
from model.data.synthesis.sentences import split_of
from model.data.synthesis.speech import Speaker
from model.data.synthesis.voices import VARIANTS, Voice
from model.evaluation.testsets import build, digests, large, ordered, talkers, voices
from model.evaluation.testsets.absent import absent_queries, stem, stems
from model.evaluation.testsets.captions import Caption, Captions, TestSetError, one_a_video
from model.evaluation.testsets.spoken import RATE
from tests.model.small_data import SAID, photographs, write_lines


def quiet(_done: int, _of: int) -> None:
    """Nobody to tell."""


def say_nothing(_speaker: Speaker, _voice: Voice, sentences: list[str], count: int) -> list[str]:
    return list(sentences)[:count]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Captions, each of several videos so that their words count as known, beside what training reads."""
    texts = ["a chef whisks the omelette", "a chef whisks the porridge", "A dog runs on the beach.", "a b 7 d e"]
    entries = [
        {"video": f"v{number}-{copy}", "caption": [text]} for number, text in enumerate(texts) for copy in "abcde"
    ]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "some.json").write_text(json.dumps(entries))
    (tmp_path / "flickr8k").mkdir()
    lines = [{"file": "x.jpg", "texts": ["A dog runs, on the beach"], "split": "train"}]
    write_lines(tmp_path / "flickr8k", [*lines, {"file": "y.jpg", "texts": ["an omelette"], "split": "test"}])
    return tmp_path


@pytest.fixture(scope="module")
def dev_data() -> Path:
    folder = Path(os.environ.get("HTAV_DEV_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "texts").is_dir():
        pytest.skip(f"no development data at {folder} (HTAV_DEV_DATA names another place)")
    return folder


@pytest.fixture(scope="module")
def captions(dev_data: Path) -> Captions:
    return Captions(dev_data)


# ---- sentences -------------------------------------------------------------------------------------------------------


def test_captions_that_training_reads_are_left_out(data: Path) -> None:
    captions = Captions(data)
    assert {caption.text for caption in captions.sentences} == {
        "a chef whisks the omelette", "a chef whisks the porridge", "a dog runs on the beach"
    }  # fmt: skip
    unheard = {caption.text for caption in captions.unheard}
    assert "a dog runs on the beach" not in unheard and all(split_of(text) != "train" for text in unheard)
    assert "beach" in captions.heard_words and "omelette" not in captions.read_captions


def test_what_lacks_captions_is_said(tmp_path: Path) -> None:
    with pytest.raises(TestSetError, match="no captions"):
        _ = Captions(tmp_path).everything


def test_no_video_and_no_wording_comes_twice() -> None:
    some = [Caption("v1", "one"), Caption("v1", "two"), Caption("v2", "one"), Caption("v3", "three")]
    chosen = one_a_video(some, "seed")
    assert len({caption.video for caption in chosen}) == len({caption.text for caption in chosen}) == len(chosen)
    assert one_a_video(reversed(some), "seed") == chosen


def test_talkers_say_sentences_that_are_new_to_training(captions: Captions) -> None:
    chosen = talkers.talker_captions(captions)
    assert len(chosen) > 258
    for caption in chosen:
        assert split_of(caption.text) != "train" and normalised(caption.text) not in captions.read_captions
        assert 4 <= len(caption.words) <= 12
        assert captions.unheard_share(caption.text) >= 0.3


def test_pairs_differ_in_one_word_of_nearly_the_same_length(captions: Captions) -> None:
    pairs = talkers.minimal_pairs(captions)
    assert len(pairs) > 129
    for first, second in pairs:
        (one, other), *more = [both for both in zip(first.split(), second.split(), strict=True) if both[0] != both[1]]
        assert not more and one[0] != other[0] and abs(len(one) - len(other)) <= 1


def test_absent_queries_share_nothing_with_the_library(captions: Captions) -> None:
    queries = absent_queries(captions)
    library = {word for item in load_manifest(captions.data / "clips") for text in item.texts for word in stems(text)}
    assert len(queries) == len(set(queries)) == 500
    assert all(len(stems(query)) >= 2 and not stems(query) & library for query in queries)


def test_forms_of_a_word_are_one_word() -> None:
    assert len({stem(word) for word in ("run", "runs", "running", "runner")}) == 1
    assert stem("dishes") == stem("dish") and stem("car") != stem("cart")


# ---- voices ----------------------------------------------------------------------------------------------------------


def test_ten_voices_that_training_never_hears() -> None:
    people = voices.drawn_people(1)
    used = {person.voice for person in people}
    assert len(people) == 43 and used == set(voices.ALL_VOICES) and len(used) == 10
    heard = {name for names in VARIANTS["train"].values() for name in names}
    assert not heard & {voice.variant for voice in used}
    assert [voice.engine for voice in used if voice.engine != "espeak"] == ["festival"]
    assert all(person.sex == person.voice.sex for person in people)


def test_sentences_of_one_length_are() -> None:
    with Speaker(RATE) as speaker:
        voice = voices.ALL_VOICES[0]
        many = [*SAID, "no", "a very long sentence that nobody would ever want to say in one single breath of air"] * 2
        chosen = voices.of_one_length(speaker, voice, many, 4)
        durations = [speech.duration_s for speech in voices.said(speaker, voice, chosen)]
        assert len(chosen) == 4 and max(durations) / min(durations) <= 1.08 / 0.92
        with pytest.raises(TestSetError, match="of one length"):
            voices.of_one_length(speaker, voice, many, 17)


def test_sentences_of_one_length_in_every_voice_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "ALL_VOICES", voices.ALL_VOICES[:9:4])
    with Speaker(RATE) as speaker:
        chosen = voices.of_one_length_in_all(speaker, [*SAID, "no", "yes"], 2)
        for voice in voices.ALL_VOICES:
            first, second = (speech.duration_s for speech in voices.said(speaker, voice, chosen))
            assert max(first, second) / min(first, second) <= 1.1 / 0.9
        with pytest.raises(TestSetError, match="of one length"):
            voices.of_one_length_in_all(speaker, [*SAID, "no", "yes"], 8)


def test_person_and_sentence_leave_six_videos_to_eyes_or_ears_alone(
    monkeypatch: pytest.MonkeyPatch, captions: Captions
) -> None:
    monkeypatch.setattr(talkers, "of_one_length_in_all", lambda _speaker, sentences, count: list(sentences)[:count])
    plan = talkers.plan_speaker_and_sentence(captions)
    assert len(plan) == len({clip.query for clip in plan}) == len({clip.file for clip in plan}) == 258
    sayers: dict[str, list[Any]] = defaultdict(list)
    for clip in plan:
        sayers[clip.sentence].append(clip.person)
    assert len(sayers) == 43
    for people in sayers.values():
        assert len(people) == 6 and len({person.sex for person in people}) == 1
        assert len({(person.clothes, person.backdrop) for person in people}) == 6
    assert set(Counter(clip.person for clip in plan).values()) == {6}


def test_every_talker_says_six_sentences_that_nobody_else_says(
    monkeypatch: pytest.MonkeyPatch, captions: Captions
) -> None:
    monkeypatch.setattr(talkers, "of_one_length", say_nothing)
    plan = talkers.plan_talkers.__wrapped__(captions)
    assert len({clip.sentence for clip in plan}) == len({clip.file for clip in plan}) == 258
    assert set(Counter(clip.person for clip in plan).values()) == {6}
    assert {clip.kind for clip in plan if clip.person.voice.engine == "festival"} == {"speech_festival"}
    assert not set(talkers.babble_sentences(captions, plan)) & {clip.sentence for clip in plan}


# ---- the large library -----------------------------------------------------------------------------------------------


def test_a_large_library_asks_some_of_its_items_for_each_part(tmp_path: Path, data: Path) -> None:
    photographs(data / "flickr8k", 1, ("train", "test"))
    sizes = large.Sizes(6, 3, 3, 2, {"said": 1, "together": 1}, {"seen": 1, "order": 1})
    counted: list[int] = []
    out = tmp_path / "large"
    lines = large.make_large(out, Captions(data), lambda done, of: counted.append(done / of), sizes)
    items = [parse(line, out, "line") for line in lines]
    assert len(items) == sizes.items == 14 and counted[-1] == 1.0 and counted == sorted(counted)
    assert all(item.paths()[0].is_file() and item.split == "test" for item in items)
    asked = Counter(item.kind for item in items if item.texts)
    assert asked == {"visual": 3, "speech": 1, "together": 1} | ({"order": 1} if "order" in asked else {})
    assert len({text for item in items for text in item.texts}) == asked.total()


def test_each_text_is_asked_once_and_no_more_than_wanted() -> None:
    made = {"group": "g", "has_audio": True, "license": "", "text_source": "generated", "duration_s": 1.0}
    lines = [
        {"file": f"{number}", "heard": ["a dog barks"], "seen": [f"scene {number}"], **made} for number in range(9)
    ]
    asked = [line for line in large.ask(lines, {"heard": 5, "seen": 3}) if line["texts"]]
    assert Counter(line["kind"] for line in asked) == {"sound": 1, "visual": 3}
    assert large.ask(lines, {"heard": 5, "seen": 3}) == large.ask(lines, {"heard": 5, "seen": 3})


# ---- digests ---------------------------------------------------------------------------------------------------------


def recorded_as(monkeypatch: pytest.MonkeyPatch, path: Path, sets: dict[str, Any]) -> None:
    monkeypatch.setattr(digests, "RECORD", path)
    digests.record(sets)


def test_whatever_changes_a_figure_changes_the_digest(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 1, ("test",))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    first = digests.digests_of(load_manifest(folder))
    assert (first["items"], first["queries"]) == (8, 16)
    assert digests.digests_of(load_manifest(write_lines(folder, lines[::-1]))) == first
    for change in ({"texts": ["other"]}, {"group": "g"}, {"reversed_text": ["a"]}):
        other = digests.digests_of(load_manifest(write_lines(folder, [lines[0] | change, *lines[1:]])))
        assert other["queries_sha256"] != first["queries_sha256"] and other["files_sha256"] != first["files_sha256"]
    (folder / lines[0]["file"]).write_bytes((folder / lines[1]["file"]).read_bytes())
    other = digests.digests_of(load_manifest(write_lines(folder, lines)))
    assert other["queries_sha256"] == first["queries_sha256"] and other["files_sha256"] != first["files_sha256"]


def test_a_set_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = digests.digests_of_texts(["a", "b"])
    recorded_as(monkeypatch, tmp_path / "digests.json", {"set": known})
    assert digests.check("set", known) == "same"
    with pytest.raises(TestSetError, match="is not the recorded one"):
        digests.check("set", digests.digests_of_texts(["a", "c"]))
    with pytest.raises(TestSetError, match="no digest"):
        digests.check("other", known)
    other_bytes = known | {"files_sha256": "0"}
    with pytest.raises(TestSetError, match="media files"):
        digests.check("set", other_bytes)
    monkeypatch.setattr(digests, "makers", lambda: {"av": "99"})
    assert digests.check("set", other_bytes) == "same queries"


def test_every_set_is_recorded() -> None:
    assert set(digests.recorded()["sets"]) >= set(build.USUAL)


def test_plans_are_those_that_were_recorded() -> None:
    """Whoever changes what is drawn learns here that the figures of old cannot be compared any more."""
    for name, plan in (("ordered", ordered.plan_ordered()), ("ordered-long", ordered.plan_ordered_long())):
        lines = [video.line(1.0, True) for video in plan]
        found = digests.digest_of_rows([parse(line, Path(), name) for line in lines])
        assert found == digests.recorded()["sets"][name]["queries_sha256"]


def test_given_sets_and_absent_queries_are_those_that_were_recorded(dev_data: Path, tmp_path: Path) -> None:
    built = build.build_sets(tmp_path, dev_data, ["sounds-val", "clips", "absent"])
    assert [one.state for one in built] == ["same"] * 3
    assert len((tmp_path / "absent" / "queries.txt").read_text().splitlines()) == 500


# ---- building --------------------------------------------------------------------------------------------------------


def make_tones(making: build.Making) -> list[dict[str, Any]]:
    (making.own / "a.wav").write_bytes(b"sound")
    making.progress(1, 1)
    return [{"file": "a.wav", "texts": ["a tone"], "split": "test"}]


def test_a_set_is_made_once_and_never_half(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(making: build.Making) -> list[dict[str, Any]]:
        made.append(making.own.name)
        return make_tones(making)

    def fail(making: build.Making) -> list[dict[str, Any]]:
        make_tones(making)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "SETS", {"one": build.Made(make), "two": build.Made(make, after="one"),
                                        "broken": build.Made(fail)})  # fmt: skip
    recorded_as(monkeypatch, tmp_path / "digests.json", {})
    out = tmp_path / "sets"
    assert [one.state for one in build.build_sets(out, data, ["two"], keep_record=True)] == ["recorded"]
    assert [name.split(".")[1] for name in made] == ["one", "two"]
    assert [one.state for one in build.build_sets(out, data, ["two"])] == ["same"] and len(made) == 2
    with pytest.raises(KeyboardInterrupt):
        build.build_sets(out, data, ["broken"])
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]
    (out / "two" / "a.wav").write_bytes(b"other")
    with pytest.raises(TestSetError, match="media files"):
        build.build_sets(out, data, ["two"])
    with pytest.raises(TestSetError, match="no test set 'three'"):
        build.build_sets(out, data, ["three"])


def test_command_says_what_there_is(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SETS", {"one": build.Made(make_tones)})
    monkeypatch.setattr(build, "USUAL", ("one",))
    recorded_as(monkeypatch, tmp_path / "digests.json", {})
    shared = ["testset", str(tmp_path / "sets"), "--data", str(data)]
    assert isinstance(CliRunner().invoke(cli.commands, shared).exception, TestSetError)
    first = CliRunner().invoke(cli.commands, [*shared, "--record", "--json"])
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert document["sets"]["one"]["state"] == "recorded" and document["sets"]["one"]["items"] == 1
    second = CliRunner().invoke(cli.commands, shared)
    assert second.exit_code == 0 and "one: same: 1 items, 1 queries" in second.stdout
