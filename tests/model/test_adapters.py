"""Each public layout, made small, becomes the items its protocol names, and files that are not there are left out."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.data import adapters
from model.data.adapters import LayoutError
from model.data.manifest import Item, ManifestError, load_manifest, normalised


def put(path: Path, content: str | bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_json(path: Path, value: Any) -> None:
    put(path, json.dumps(value))


def items(folder: Path, name: str) -> dict[str, Item]:
    adapter = adapters.recognise(folder)
    assert adapter is not None and adapter.name == name
    return {item.name: item for item in load_manifest(folder)}


PROMPTS = """; a comment (not a prompt)
She had your dark suit. (sa1)
Don't ask me to carry an oily rag. (sa2)
Even then, if she took one step. (si1)
Only this one reads it. (si2)
A chosen few. (si3)
The shared sentence. (sx1)
Another shared sentence. (sx2)
"""


def vidtimit(folder: Path) -> None:
    put(folder / "prompts.txt", PROMPTS)
    readings = {"fa": ["sa1", "sx1", "si1"], "fb": ["sa1", "sx1", "sx2"], "mc": ["sa1", "sx2"], "md": ["sa1", "si2"]}
    for index in range(12):  # speakers of their own, so that every split has some
        readings[f"x{index:02}"] = ["sa1", "si3"] if index == 0 else ["sa1"]
    for speaker, sentences in readings.items():
        for sentence in [*sentences, "head"]:
            put(folder / speaker / "audio" / f"{sentence}.wav")
            for number in (2, 1, 10):
                put(folder / speaker / "video" / sentence / f"{number:03}")


def test_vidtimit(tmp_path: Path) -> None:
    vidtimit(tmp_path)
    found = load_manifest(tmp_path)
    assert {item.form for item in found} == {"frames"}
    one = next(item for item in found if item.audio == "fa/audio/si1.wav")
    assert one.media == ("fa/video/si1/001", "fa/video/si1/002", "fa/video/si1/010")
    assert one.texts == ("Even then, if she took one step.",) and one.transcript == one.texts[0] and one.fps == 25
    assert not any("head" in name for item in found for name in item.media)
    # fa and fb share sx1, fb and mc share sx2: all three are one group, and no text or speaker crosses a split.
    groups = {item.extra["speaker"]: item.group for item in found}
    assert groups["fa"] == groups["fb"] == groups["mc"] != groups["md"]
    used = [item for item in found if item.split != "unused"]
    for key in ("speaker", "text"):
        where: dict[str, set[str]] = {}
        for item in used:
            value = item.extra["speaker"] if key == "speaker" else normalised(item.texts[0])
            where.setdefault(value, set()).add(item.split)
        assert all(len(splits) == 1 for splits in where.values()), where
    assert {item.split for item in found if item.audio and "sa1" in item.audio} == {"train", "unused"}


def test_vidtimit_without_sentences_says_what_to_copy(tmp_path: Path) -> None:
    vidtimit(tmp_path)
    (tmp_path / "prompts.txt").unlink()
    with pytest.raises(adapters.LayoutError) as caught:
        load_manifest(tmp_path)
    assert "PROMPTS.TXT" in caught.value.hint


@pytest.mark.parametrize("upper", [False, True])
def test_timit(tmp_path: Path, upper: bool) -> None:
    for part, speaker, sentence, text in [
        ("train", "mabc0", "sx1", "The shared sentence."),
        ("test", "fxyz0", "si2", "Only this one reads it."),
        ("test", "fxyz0", "sa1", "She had your dark suit."),
    ]:
        stem = f"{part}/dr1/{speaker}/{sentence}"
        stem = f"TIMIT/{stem.upper()}" if upper else stem
        put(tmp_path / f"{stem}.{'TXT' if upper else 'txt'}", f"0 46797 {text}\n")
        put(tmp_path / f"{stem}.{'WAV' if upper else 'wav'}")
        if upper:
            put(tmp_path / f"{stem}.WAV.wav")
    found = items(tmp_path, "TIMIT")
    by_text = {item.texts[0]: item for item in found.values()}
    assert by_text["Only this one reads it."].split == "test" and by_text["Only this one reads it."].group == "fxyz0"
    assert by_text["She had your dark suit."].split == "unused"  # read in the training part too
    assert by_text["The shared sentence."].split in ("train", "val")
    assert all(name.endswith(".WAV.wav") == upper for name in found) and len(found) == 3


def test_no_sentence_of_timit_is_read_both_in_train_and_in_val(tmp_path: Path) -> None:
    speakers = [f"mabc{number}" for number in range(60)]
    for number, speaker in enumerate(speakers):
        for sentence, text in (("sx7", f"Sentence {number % 5} of many."), (f"si{number}", f"Only {number} reads it.")):
            put(tmp_path / f"train/dr1/{speaker}/{sentence}.txt", f"0 46797 {text}\n")
            put(tmp_path / f"train/dr1/{speaker}/{sentence}.wav")
    found = items(tmp_path, "TIMIT").values()
    read = {split: {item.texts[0] for item in found if item.split == split} for split in ("train", "val")}
    assert read["val"] and not read["train"] & read["val"]
    assert all(text.startswith("Only") for text in read["val"]), "what seven people read is for training alone"


def msrvtt(folder: Path) -> None:
    as_json(
        folder / "MSRVTT_data.json",
        {
            "videos": [
                {"video_id": "video0", "split": "train"},
                {"video_id": "video1", "split": "validate"},
                {"video_id": "video2", "split": "test"},
                {"video_id": "video3", "split": "test"},
            ],
            "sentences": [
                {"sen_id": n, "video_id": f"video{n % 4}", "caption": f"caption {n}"} for n in range(8)
            ],
        },
    )  # fmt: skip
    for number in range(3):
        put(folder / "videos" / "all" / f"video{number}.mp4")


def test_msrvtt_official(tmp_path: Path) -> None:
    msrvtt(tmp_path)
    found = items(tmp_path, "MSR-VTT")
    assert {Path(name).stem: item.split for name, item in found.items()} == {
        "video0": "train", "video1": "val", "video2": "test",
    }  # fmt: skip
    assert found["videos/all/video0.mp4"].texts == ("caption 0", "caption 4")


def test_msrvtt_1k_a_takes_one_sentence_a_test_video(tmp_path: Path) -> None:
    msrvtt(tmp_path)
    put(tmp_path / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,msr1,video1,the only sentence\n")
    put(tmp_path / "MSRVTT_train.9k.csv", "video_id\nvideo0\n")
    found = items(tmp_path, "MSR-VTT")
    assert found["videos/all/video1.mp4"].texts == ("the only sentence",)
    splits = {Path(name).stem: item.split for name, item in found.items()}
    assert splits["video1"] == "test" and splits["video2"] == "unused" and splits["video0"] in ("train", "val")


def test_msvd(tmp_path: Path) -> None:
    as_json(
        tmp_path / "raw-captions.json", {"abc_1_2": [["a", "dog"], ["a", "dog"], ["it", "runs"]], "def_3_4": ["a cat"]}
    )
    for split, name in (("train", "abc_1_2"), ("test", "def_3_4"), ("val", "gone_5_6")):
        put(tmp_path / f"{split}_list.txt", name + "\n")
    put(tmp_path / "YouTubeClips" / "abc_1_2.avi")
    put(tmp_path / "YouTubeClips" / "def_3_4.avi")
    found = items(tmp_path, "MSVD")
    assert found["YouTubeClips/abc_1_2.avi"].texts == ("a dog", "it runs")
    assert found["YouTubeClips/def_3_4.avi"].split == "test" and len(found) == 2


def test_msvd_object_dump_is_refused_with_a_command_that_converts_it(tmp_path: Path) -> None:
    import pickle

    captions = {"abc_1_2": [["a", "dog"]]}
    put(tmp_path / "raw-captions.pkl", pickle.dumps(captions))
    put(tmp_path / "train_list.txt", "abc_1_2\n")
    put(tmp_path / "abc_1_2.avi")
    with pytest.raises(adapters.LayoutError) as caught:
        load_manifest(tmp_path)
    command = shlex.split(caught.value.hint.split("once: ", 1)[1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert [item.texts for item in load_manifest(tmp_path)] == [("a dog",)]


def test_vatex_official_and_hgr(tmp_path: Path) -> None:
    official, hgr = tmp_path / "a", tmp_path / "b"
    as_json(
        official / "vatex_training_v1.0.json", [{"videoID": "-Ab_000010_000020", "enCap": ["one", "two"], "chCap": []}]
    )
    as_json(official / "vatex_public_test_english_v1.1.json", [{"videoID": "Cd_000001_000011", "enCap": ["three"]}])
    put(official / "-Ab_000010_000020.mp4")
    put(official / "Cd_000001_000011.mp4")
    found = items(official, "VATEX")
    assert found["-Ab_000010_000020.mp4"].texts == ("one", "two") and found["-Ab_000010_000020.mp4"].split == "train"
    assert found["Cd_000001_000011.mp4"].split == "test"
    as_json(hgr / "ref_captions.json", {"Ef_000001_000011": ["four"]})
    put(hgr / "test_list.txt", "Ef_000001_000011\n")
    put(hgr / "videos" / "Ef_000001_000011.mp4")
    assert items(hgr, "VATEX")["videos/Ef_000001_000011.mp4"].texts == ("four",)


def test_flickr8k_both_ways(tmp_path: Path) -> None:
    official, kaggle = tmp_path / "a", tmp_path / "b"
    put(official / "Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tIt runs .\n2.jpg#0\tA cat .\n3.jpg#0\tUnused .\n")
    for split, name in (("train", "1.jpg"), ("dev", "2.jpg")):
        put(official / f"Flickr_8k.{split}Images.txt", name + "\n")
    for name in ("1", "2", "3"):
        put(official / "Flicker8k_Dataset" / f"{name}.jpg")
    found = items(official, "Flickr8k")
    assert found["Flicker8k_Dataset/1.jpg"].texts == ("A dog .", "It runs .")
    assert [item.split for _, item in sorted(found.items())] == ["train", "val", "unused"]

    rows = [("image", "caption"), *((f"{n}.jpg", f"A picture, number {n}") for n in range(60))]
    with put(kaggle / "captions.txt").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    for number in range(60):
        put(kaggle / "Images" / f"{number}.jpg")
    found = items(kaggle, "Flickr8k")
    assert found["Images/7.jpg"].texts == ("A picture, number 7",)
    assert {item.split for item in found.values()} == {"train", "val", "test"}
    assert {n: i.split for n, i in found.items()} == {n: i.split for n, i in items(kaggle, "Flickr8k").items()}


def test_mugen(tmp_path: Path) -> None:
    entry = {
        "video": {"video_file": "level_1.mp4", "json_file": "level_1.json", "num_frames": 96},
        "annotations": [{"type": "auto", "text": "Mugen jumps."}, {"type": "manual", "text": "She hops over a snail."}],
    }
    document = {"metadata": {"data_folder": "/somewhere/coinrun_video"}, "data": [entry]}
    as_json(tmp_path / "coinrun_dataset_jsons" / "release" / "val.json", document)
    put(tmp_path / "coinrun_video" / "level_1.mp4")
    item = items(tmp_path, "MUGEN")["coinrun_video/level_1.mp4"]
    assert item.texts == ("She hops over a snail.", "Mugen jumps.") and item.split == "val"
    assert item.extra["text_source"] == "human"


def test_lsmdc(tmp_path: Path) -> None:
    clip, broken = "0001_American_Beauty_00.00.51.926-00.00.54.129", "1012_Unbreakable_00.05.16.065-00.05.21.941"
    rows = "".join(
        f"{name}\t0\t1\t0\t1\tSomeone walks.\n" for name in (clip, broken, "0001_Gone_00.00.00.0-00.00.01.0")
    )
    put(tmp_path / "LSMDC16_annos_training.csv", rows)
    for name in (clip, broken):
        put(tmp_path / "0001_American_Beauty" / f"{name}.avi")
    found = items(tmp_path, "LSMDC")
    (item,) = found.values()
    assert Path(item.name).stem == clip and item.group == "0001_American_Beauty" and item.texts == ("Someone walks.",)


def test_didemo_joins_the_descriptions_of_a_video(tmp_path: Path) -> None:
    entries = [
        {"video": "1@N00_2_a.mov", "description": "a dog runs.", "times": [[0, 0]]},
        {"video": "1@N00_2_a.mov", "description": "it sits", "times": [[2, 3]]},
        {"video": "gone.mov", "description": "x", "times": [[0, 0]]},
    ]
    as_json(tmp_path / "test_data.json", entries)
    put(tmp_path / "videos" / "1@N00_2_a.mov.mp4")
    (item,) = items(tmp_path, "DiDeMo").values()
    assert item.texts == ("a dog runs. it sits.",) and (item.start_s, item.end_s) == (0.0, 30.0)


def test_youcook2_has_an_item_a_step(tmp_path: Path) -> None:
    steps = [{"id": 0, "segment": [90, 102], "sentence": "spread"}, {"id": 1, "segment": [5, 5], "sentence": "nothing"}]
    video = {"subset": "validation", "recipe_type": "101", "annotations": steps}
    as_json(tmp_path / "youcookii_annotations_trainval.json", {"database": {"GLd3aX16zBg": video, "gone": video}})
    put(tmp_path / "validation" / "101" / "GLd3aX16zBg" / "GLd3aX16zBg.webm")
    (item,) = items(tmp_path, "YouCook2").values()
    assert (item.start_s, item.end_s, item.split, item.texts) == (90.0, 102.0, "test", ("spread",))


def test_audiocaps_joins_the_captions_of_a_cut(tmp_path: Path) -> None:
    put(
        tmp_path / "val.csv",
        'audiocap_id,youtube_id,start_time,caption\n1,-aB,30,"A dog, barking"\n2,-aB,30,Barks\n3,gone,0,x\n',
    )
    put(tmp_path / "val" / "-aB_30.wav")
    (item,) = items(tmp_path, "AudioCaps").values()
    assert item.texts == ("A dog, barking", "Barks") and item.kind == "sound" and item.form == "sound"


def test_ave_has_class_prompts_relevant_to_each_other(tmp_path: Path) -> None:
    header = "Category&VideoID&Quality&StartTime&EndTime\n"
    put(tmp_path / "testSet.txt", header + "Church bell&aa&good&0&10\nChurch bell&bb&good&3&8\nBark&cc&good&4&4\n")
    for name in ("aa", "bb", "cc"):
        put(tmp_path / "AVE" / f"{name}.mp4")
    found = items(tmp_path, "AVE")
    assert set(found) == {"AVE/aa.mp4", "AVE/bb.mp4"}  # a row of zero length is left out
    assert {item.relevance_key for item in found.values()} == {"ave:church bell"}


def test_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    assert all(adapter.name in caught.value.hint for adapter in adapters.ADAPTERS)
    assert len(adapters.ADAPTERS) == 12


def test_layout_without_its_media_says_what_is_expected(tmp_path: Path) -> None:
    as_json(tmp_path / "raw-captions.json", {"abc": ["a dog"]})
    put(tmp_path / "train_list.txt", "abc\n")
    with pytest.raises(adapters.LayoutError) as caught:
        load_manifest(tmp_path)
    assert "MSVD" in caught.value.message and ".avi" in caught.value.hint


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    put(tmp_path / "raw-captions.json", "{")
    with pytest.raises(adapters.LayoutError, match="raw-captions.json is not JSON"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(("file", "content"), [("captions.txt", "name,text\na.jpg,x\n"), ("train_data.json", '["x"]')])
def test_annotations_of_another_shape_are_named(tmp_path: Path, file: str, content: str) -> None:
    put(tmp_path / file, content)
    put(tmp_path / "Images" / "a.jpg")
    with pytest.raises(LayoutError, match=r"looks like .*, but its annotations cannot be understood"):
        load_manifest(tmp_path)
