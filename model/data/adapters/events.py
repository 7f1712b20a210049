"""Sets of sounds and audible events: AudioCaps, AVE."""

import csv
from collections import defaultdict
from pathlib import Path

from model.data.adapters.common import Adapter, Lines, Media, first

AUDIOCAPS_COLUMNS = {"youtube_id", "start_time", "caption"}
AVE_LISTS = {"train": "trainset.txt", "val": "valset.txt", "test": "testset.txt"}


def _audiocaps_csv(folder: Path, split: str) -> Path | None:
    path = first(folder, f"{split}.csv", f"*/{split}.csv")
    if path is None:
        return None
    with path.open(encoding="utf-8", newline="") as rows:
        header = set(next(csv.reader(rows), []))
    return path if header >= AUDIOCAPS_COLUMNS else None


def _audiocaps(folder: Path) -> Lines:
    """One item a ten-second cut (`{youtube_id}_{start}`), with all its captions."""
    media = Media(folder)
    for split in ("train", "val", "test"):
        path = _audiocaps_csv(folder, split)
        if path is None:
            continue
        texts: dict[str, list[str]] = defaultdict(list)
        with path.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                texts[f"{row['youtube_id']}_{row['start_time']}"].append(row["caption"].strip())
        for name, captions in texts.items():
            file = media.get(name) or media.get(name.removesuffix(".0"))
            if file is not None:
                yield {
                    "file": file, "texts": captions, "split": split, "kind": "sound", "group": "audiocaps",
                    "has_audio": True, "license": "MIT (captions)", "text_source": "human",
                }  # fmt: skip


def _ave_rows(path: Path) -> list[list[str]]:
    """`Category&VideoID&Quality&StartTime&EndTime`, with or without that header."""
    rows = [line.strip().split("&") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [row for row in rows if len(row) >= 5 and row[0] != "Category"]


def _ave(folder: Path) -> Lines:
    """The class is the text; items of one class are relevant to each other. Rows of zero length are left out."""
    media = Media(folder)
    for split, name in AVE_LISTS.items():
        path = first(folder, name, f"*/{name}")
        for category, video, _, start_s, end_s, *_ in _ave_rows(path) if path else []:
            file = media.get(video) or media.found.get(video)
            if file is not None and float(end_s) > float(start_s):
                label = category.replace(",", " or").replace("_", " ").strip().lower()
                yield {
                    "file": file, "texts": [label], "split": split, "kind": "sound", "group": "ave",
                    "relevance_key": f"ave:{label}", "has_audio": True, "event_start_s": float(start_s),
                    "event_end_s": float(end_s), "license": "research use", "text_source": "class label",
                }  # fmt: skip


AUDIOCAPS = Adapter(
    "AudioCaps",
    "Expected: {train,val,test}.csv with youtube_id, start_time, caption, and {youtube_id}_{start}.wav.",
    lambda folder: any(_audiocaps_csv(folder, split) for split in ("train", "val", "test")),
    _audiocaps,
)
AVE = Adapter(
    "AVE",
    "Expected: trainSet.txt, valSet.txt, testSet.txt and AVE/{video}.mp4.",
    lambda folder: any(first(folder, name, f"*/{name}") for name in AVE_LISTS.values()),
    _ave,
)
