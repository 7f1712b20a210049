"""Sets whose texts describe a part of a longer film: LSMDC, DiDeMo, YouCook2."""

import csv
import re
from pathlib import Path

from model.data.adapters.common import Adapter, Lines, Media, first, read_json
from model.data.splits import share_of

LSMDC_FILES = {
    "train": "lsmdc16_annos_training*.csv",
    "val": "lsmdc16_annos_val*.csv",
    "test": "lsmdc16_challenge_1000_publictect*.csv",
}
LSMDC_BROKEN = "1012_Unbreakable_00.05.16.065-00.05.21.941"
DIDEMO_S = 30.0  # the descriptions cover the first thirty seconds


def _lsmdc(folder: Path) -> Lines:
    """Tab-separated: clip, start and end (aligned), start and end (extracted), sentence."""
    media = Media(folder)
    for split, pattern in LSMDC_FILES.items():
        path = first(folder, pattern, f"*/{pattern}")
        if path is None:
            continue
        with path.open(encoding="utf-8", errors="replace", newline="") as rows:
            for row in csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
                # A clip's name holds dots, so it is looked up whole, never by its "stem".
                file = media.found.get(row[0]) if len(row) >= 6 and row[0] != LSMDC_BROKEN else None
                if file is not None:
                    movie = re.sub(r"_\d\d\.\d\d\.\d\d.*$", "", row[0])
                    yield {
                        "file": file, "texts": [row[-1].strip()], "split": split, "kind": "visual", "group": movie,
                        "license": "LSMDC", "text_source": "human",
                    }  # fmt: skip


def _didemo(folder: Path) -> Lines:
    """All descriptions of a video, joined, are its one text: the paragraph-to-video protocol."""
    media = Media(folder)
    for split in ("train", "val", "test"):
        path = first(folder, f"{split}_data.json", f"*/{split}_data.json")
        paragraphs: dict[str, list[str]] = {}
        for entry in read_json(path) if path else []:
            paragraphs.setdefault(entry["video"], []).append(entry["description"].strip())
        for name, sentences in paragraphs.items():
            file = media.get(name) or media.found.get(name)
            if file is not None:
                yield {
                    "file": file, "texts": [". ".join(sentence.rstrip(".") for sentence in sentences) + "."],
                    "split": split, "kind": "visual", "group": "didemo", "start_s": 0.0, "end_s": DIDEMO_S,
                    "license": "research use", "text_source": "human",
                }  # fmt: skip


def _youcook_json(folder: Path) -> Path | None:
    return first(folder, "youcookii_annotations_trainval.json", "*/youcookii_annotations_trainval.json")


def _youcook2(folder: Path) -> Lines:
    """Each step of a recipe is an item. The public validation part is test; a twentieth of training is val."""
    path = _youcook_json(folder)
    assert path is not None
    media = Media(folder)
    for name, video in read_json(path)["database"].items():
        file = media.get(name)
        if file is None:
            continue
        split = "test" if video["subset"] == "validation" else "val" if share_of(name) < 0.05 else "train"
        for step in video["annotations"]:
            start_s, end_s = map(float, step["segment"])
            if end_s > start_s:
                yield {
                    "file": file, "texts": [step["sentence"]], "split": split, "kind": "visual", "group": name,
                    "start_s": start_s, "end_s": end_s, "recipe_type": video.get("recipe_type"),
                    "license": "research use", "text_source": "human",
                }  # fmt: skip


LSMDC = Adapter(
    "LSMDC",
    "Expected: LSMDC16_annos_{training,val}.csv, LSMDC16_challenge_1000_publictect.csv and {movie}/{clip}.avi.",
    lambda folder: any(first(folder, name, f"*/{name}") for name in LSMDC_FILES.values()),
    _lsmdc,
)
DIDEMO = Adapter(
    "DiDeMo",
    "Expected: {train,val,test}_data.json and the videos they name.",
    lambda folder: any(
        first(folder, f"{split}_data.json", f"*/{split}_data.json") for split in ("train", "val", "test")
    ),
    _didemo,
)
YOUCOOK2 = Adapter(
    "YouCook2",
    "Expected: youcookii_annotations_trainval.json and {training,validation}/{recipe}/{video}/{video}.mp4 (mkv, webm).",
    lambda folder: _youcook_json(folder) is not None,
    _youcook2,
)
