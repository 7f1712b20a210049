"""A library of 10,000 clips and 1,000 held-out queries: whether the shortlist holds what the reranker would choose.

It takes minutes to make, but more than an hour of one core to encode and score, so it is made only when it is named.
"""

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from model.data.manifest import PART_KINDS, Item, load_manifest, normalised
from model.data.synthesis.library import synthesise
from model.data.synthesis.record import read_lines
from model.data.synthesis.request import Kind, Request
from model.evaluation.testsets.captions import Captions
from model.progress import Count

LINES = 160
PHOTOS = "photos"
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How many items of each kind there are, and how many queries of each part are asked of which."""

    photos: int = 5000
    talkers: int = 3000
    scenes: int = 2000
    photo_queries: int = 200  # of Flickr8k's test part, whose photographs are added
    talker_queries: Mapping[str, int] = field(default_factory=lambda: {"said": 250, "together": 150})
    scene_queries: Mapping[str, int] = field(
        default_factory=lambda: {"seen": 120, "heard": 40, "order": 140, "together": 100}
    )

    @property
    def items(self) -> int:
        return self.photos + self.photo_queries + self.talkers + self.scenes


def make_large(out: Path, captions: Captions, progress: Count, sizes: Sizes | None = None) -> Lines:
    """Train photographs as a crowd, test photographs with a caption each, talkers and scenes of the test split."""
    sizes = sizes or Sizes()
    photos = _photos(out, captions.data / "flickr8k", sizes)
    progress(len(photos), sizes.items)
    done = len(photos)
    parts: tuple[tuple[Kind, int], ...] = (("talkers", sizes.talkers), ("scenes", sizes.scenes))
    for kind, count in parts:
        request = Request(out, kind, count, split="test", seed=5, size=LINES, texts="all")
        synthesise(request, partial(_after, done, sizes.items, progress))
        done += count
    made = read_lines(out)
    talkers = [line for line in made if line["group"] == "talkers"]
    scenes = [line for line in made if line["group"] == "scenes"]
    return [*photos, *ask(talkers, sizes.talker_queries), *ask(scenes, sizes.scene_queries)]


def _after(before: int, of: int, progress: Count, made: int) -> None:
    progress(before + made, of)


def ask(lines: Sequence[Mapping[str, Any]], queries: Mapping[str, int]) -> Lines:
    """The lines with the wanted number of different texts of each part as queries, and otherwise without texts."""
    chosen: dict[str, tuple[str, str]] = {}
    taken: set[str] = set()
    for part, count in queries.items():
        order = sorted(lines, key=lambda line: str(line["file"]))
        random.Random(f"large {part}").shuffle(order)
        for line in order:
            found = [text for text in line.get(part, ()) if normalised(text) not in taken]
            if found and line["file"] not in chosen and sum(one == part for one, _ in chosen.values()) < count:
                taken.add(normalised(found[0]))
                chosen[line["file"]] = (part, found[0])
    return [_line(line, *chosen.get(line["file"], ("", ""))) for line in lines]


def _line(line: Mapping[str, Any], part: str, text: str) -> dict[str, Any]:
    kept = {name: line[name] for name in ("file", "group", "has_audio", "license", "text_source", "duration_s")}
    asked = {"texts": [text], "kind": PART_KINDS[part], part: [text]} if text else {"texts": []}
    return {**kept, "split": "test", **asked}


def _photos(out: Path, flickr8k: Path, sizes: Sizes) -> Lines:
    """Copies of the photographs; those of the test part have one caption each."""
    (out / PHOTOS).mkdir(parents=True, exist_ok=True)
    dice, lines = random.Random("large photos"), []
    crowd = dice.sample(load_manifest(flickr8k, "train"), sizes.photos)
    asked = dice.sample(load_manifest(flickr8k, "test"), sizes.photo_queries)
    for item in (*crowd, *asked):
        name = f"{PHOTOS}/{Path(item.name).name}"
        shutil.copyfile(item.paths()[0], out / name)
        lines.append(_photo_line(item, name, [dice.choice(item.texts)] if item.split == "test" else []))
    return lines


def _photo_line(item: Item, name: str, texts: list[str]) -> dict[str, Any]:
    return {
        "file": name,
        "texts": texts,
        "split": "test",
        "kind": "visual",
        "group": PHOTOS,
        "has_audio": False,
        "license": str(item.extra.get("license", "")),
        "text_source": "human",
    }
