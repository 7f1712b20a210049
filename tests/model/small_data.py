"""Small data folders for tests of training and evaluation: coloured pictures, tones, short films."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.clips import ClipInput
from model.data.examples import Folder, Source, gather
from model.data.items import ClipCache, Shape
from model.retriever import Retriever
from model.tokens import TokenSet
from tests.media_files import tone, write_media

SHAPE = Shape(4, 32)
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (40, 40, 220),
    "yellow": (230, 220, 40),
    "white": (240, 240, 240),
    "black": (15, 15, 15),
    "pink": (240, 120, 200),
    "orange": (240, 140, 30),
}
SAID = [
    "a gardener waters the tomatoes", "two pilots land the aeroplane", "the chef whisks an omelette",
    "a goat climbs the ladder", "the goalkeeper stretches slowly", "a nurse folds the blankets",
]  # fmt: skip


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def picture(path: Path, colour: tuple[int, int, int], seed: int = 0) -> None:
    """A JPEG of one colour with a little noise, so that no two are equal."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    pixels = np.clip(np.asarray(colour) + rng.normal(0, 6, (64, 64, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def photographs(folder: Path, each: int = 2, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """`each` pictures a colour and split, with the colour in the text."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, split in enumerate(splits):
        for index, (name, colour) in enumerate(COLOURS.items()):
            for copy in range(each):
                file = f"{split}-{name}-{copy}.jpg"
                picture(folder / file, colour, 100 * number + 10 * index + copy)
                lines.append({"file": file, "texts": [f"a {name} car", f"{name}"], "split": split, "kind": "visual"})
    return write_lines(folder, lines)


def tones(folder: Path, count: int = 6, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """Sound files with one pitch each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for split in splits:
        for number in range(count):
            file = f"{split}-{number}.wav"
            write_media(
                folder / file, codec=None, sound=tone(0.6, 16_000, hertz=200.0 * (number + 1)), sound_codec="pcm_s16le",
                sound_rate=16_000,
            )  # fmt: skip
            texts = [f"tone {number}"]
            lines.append({"file": file, "texts": texts, "transcript": texts[0], "split": split, "kind": "sound"})
    return write_lines(folder, lines)


def films(folder: Path, count: int = 4, split: str = "train", **more: Any) -> Path:
    """One-second films, every second one with sound."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (name, colour) in zip(range(count), COLOURS.items(), strict=False):
        file, sound = f"{split}-{name}.mp4", tone(1.0, 16_000, hertz=300.0 + 100 * number) if number % 2 else None
        flat = np.full((48, 64, 3), colour, np.uint8)
        write_media(
            folder / file,
            seconds=1.0,
            fps=8,
            size=(64, 48),
            picture=lambda _, p=flat: p,
            sound=sound,
            sound_rate=16_000,
        )
        lines.append({"file": file, "texts": [f"a {name} film"], "split": split, "kind": "visual", **more})
    return write_lines(folder, lines)


def mixed_sources(tmp_path: Path, cache: ClipCache) -> list[Source]:
    """A source of each form."""
    photographs(tmp_path / "p", 1)
    tones(tmp_path / "t", 4)
    films(tmp_path / "f", 4)
    sources, failures = gather([Folder(tmp_path / n) for n in "ptf"], "train", cache, quiet)
    assert not failures
    return sources


def quiet(_what: str, _done: int, _of: int) -> None:
    pass


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of clips of each batch that is encoded from now on."""
    batches: list[int] = []
    encode = Retriever.encode_clips

    def counted(self: Retriever, clips: list[ClipInput]) -> list[TokenSet]:
        batches.append(len(clips))
        return encode(self, clips)

    monkeypatch.setattr(Retriever, "encode_clips", counted)
    return batches
