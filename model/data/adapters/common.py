"""What the adapters share: the media that is there, and one kind of error."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from model.data.manifest import AUDIO_SUFFIXES, IMAGE_SUFFIXES, ManifestError

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".3gp", ".flv"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES | IMAGE_SUFFIXES

Lines = Iterator[dict[str, Any]]


class LayoutError(ManifestError):
    """A folder looks like a known data set, but lacks what makes it usable."""

    code: ClassVar[str] = "bad_layout"


@dataclass(frozen=True)
class Adapter:
    """One data set's layout. `expects` tells a user what the folder should hold."""

    name: str
    expects: str
    recognises: Callable[[Path], bool]
    lines: Callable[[Path], Lines]


class Media:
    """The media files below a folder, found by name without suffix, whatever sub-folders a copy of the set uses."""

    def __init__(self, folder: Path, suffixes: frozenset[str] = MEDIA_SUFFIXES) -> None:
        self.found: dict[str, str] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in suffixes and path.is_file():
                self.found.setdefault(path.stem, path.relative_to(folder).as_posix())

    def get(self, name: str) -> str | None:
        """The file called `name`, with or without its suffix, relative to the folder."""
        return self.found.get(name) or self.found.get(Path(name).stem)


def first(folder: Path, *names: str) -> Path | None:
    """The first of `names` (which may hold `*`) in the folder, whatever its case: copies of TIMIT differ in it."""
    for name in names:
        pattern = "".join(f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in name)
        if found := sorted(folder.glob(pattern)):
            return found[0]
    return None


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise LayoutError(f"{path} is not JSON: {err}.", "Fetch the annotations again.") from err


def collect(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts by item, in order, without repeats."""
    texts: dict[str, list[str]] = defaultdict(list)
    for name, text in pairs:
        if (text := text.strip()) and text not in texts[name]:
            texts[name].append(text)
    return texts


def names_in(path: Path) -> list[str]:
    """One name a line; a CSV's first column, its header left out."""
    lines = [line.strip().split(",")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and line not in ("video_id", "key", "image")]
