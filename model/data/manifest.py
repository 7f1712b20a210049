"""Data sets as HTAV sees them: a folder with `manifest.jsonl`, one JSON object a line, one item each.

Training and evaluation read manifests; the index never does, so that no text about a file can reach a search result.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeGuard

from model.errors import HtavError

MANIFEST = "manifest.jsonl"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".au"})
PART_KINDS = {"seen": "visual", "said": "speech", "heard": "sound", "order": "order", "together": "together"}
TEXT_FIELDS = tuple(PART_KINDS)


class ManifestError(HtavError):
    """A data folder cannot be used."""

    code: ClassVar[str] = "bad_manifest"


class TimedWord(NamedTuple):
    """A word, and from when to when it is said, seconds."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Item:
    """One line of a manifest: one entry of an evaluation's gallery, one example of training.

    `media` is one file (video, image or sound), or the numbered pictures of a clip, whose sound is then in `audio`.
    `start_s`, `end_s` cut a part out of a longer file. `parts` holds the texts by kind where the line has them.
    """

    folder: Path
    media: tuple[str, ...]
    texts: tuple[str, ...] = ()
    split: str = "train"
    kind: str = ""
    group: str = ""
    relevance_key: str | None = None
    has_audio: bool | None = None
    audio: str | None = None
    fps: float = 25.0
    start_s: float | None = None
    end_s: float | None = None
    transcript: str | None = None
    words: tuple[TimedWord, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.media[0]

    @property
    def content(self) -> tuple[Any, ...]:
        """Which files and which part of them: lines that have it in common are one video, however they describe it."""
        return self.media, self.audio, self.start_s, self.end_s, self.folder

    @property
    def form(self) -> str:
        """`still`, `sound`, `frames` (numbered pictures) or `film` (any other file)."""
        if len(self.media) > 1 or self.audio is not None:
            return "frames"
        suffix = Path(self.name).suffix.lower()
        return "still" if suffix in IMAGE_SUFFIXES else "sound" if suffix in AUDIO_SUFFIXES else "film"

    def paths(self) -> list[Path]:
        """Every file of the item, its pictures first."""
        return [self.folder / name for name in (*self.media, *([self.audio] if self.audio else []))]

    def all_texts(self) -> tuple[str, ...]:
        """The texts and the texts by kind, each once."""
        return tuple(dict.fromkeys([*self.texts, *(text for part in self.parts.values() for text in part)]))

    def spoken(self) -> str | None:
        """What is said in it, when the manifest knows: the only text of an item of kind speech is its transcript."""
        said = " ".join(self.parts.get("said", ()))
        return self.transcript or said or (self.texts[0] if self.kind == "speech" and len(self.texts) == 1 else None)


def normalised(text: str) -> str:
    """Lower case, punctuation stripped, single spaces: equal results are one query, and relevant to each other."""
    kept = (letter for letter in text.lower() if unicodedata.category(letter)[0] not in "PS")
    return re.sub(r"\s+", " ", "".join(kept)).strip()


def load_manifest(folder: str | Path, split: str | None = None) -> list[Item]:
    """The items of `folder/manifest.jsonl`; a folder in a known public layout needs none (`model.data.adapters`)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder.", "Give a folder that holds a manifest.jsonl.")
    path = folder / MANIFEST
    if path.is_file():
        items = list(_read(path))
    else:
        from model.data import adapters

        items = [
            parse(line, folder, f"{folder} item {number}") for number, line in enumerate(adapters.adapt(folder), 1)
        ]
    if not items:
        raise ManifestError(f"{path} lists no item.", "Add one JSON object a line, with at least `file` and `texts`.")
    chosen = [item for item in items if split in (None, item.split)]
    if not chosen:
        found = ", ".join(sorted({item.split for item in items}))
        raise ManifestError(f"{folder} has no item of the split '{split}'.", f"It has: {found}.")
    return chosen


def write_manifest(folder: str | Path, lines: Iterable[Mapping[str, Any]]) -> int:
    """Write `manifest.jsonl` beside the files it names; an interrupted run leaves the old one. Returns the items."""
    path = Path(folder) / MANIFEST
    beside, count = path.with_suffix(".partial"), 0
    with beside.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    beside.replace(path)
    return count


def _read(path: Path) -> Iterator[Item]:
    with path.open(encoding="utf-8-sig") as lines:  # editors of Windows put a mark before the first line
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield parse(_json_object(line, f"{path}:{number}"), path.parent, f"{path}:{number}")
        except UnicodeDecodeError as err:
            raise ManifestError(f"{path} is not UTF-8 text: {err}.", "Save it as UTF-8.") from err


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as err:
        raise ManifestError(f"{where} is not JSON: {err}.", "Each line is one JSON object.") from err
    if not isinstance(value, dict):
        raise ManifestError(f"{where} is not a JSON object.", "Each line is one JSON object.")
    return value


def parse(line: Mapping[str, Any], folder: Path, where: str) -> Item:
    """One manifest line as an `Item`; fields unknown here are kept in `extra`."""
    fields = _Fields(line, where)
    media = fields.names("file")
    audio = fields.text("audio")
    if len(media) > 1 and any(Path(name).suffix.lower() in AUDIO_SUFFIXES for name in media):
        raise ManifestError(f"{where}: a list in `file` is a list of pictures.", "Put the sound file into `audio`.")
    start_s, end_s = fields.number("start_s"), fields.number("end_s")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ManifestError(f"{where}: `end_s` {end_s} is not after `start_s` {start_s}.")
    has_audio = line.get("has_audio")
    if has_audio not in (None, True, False):
        raise ManifestError(f"{where}: `has_audio` must be true or false, not {has_audio!r}.")
    return Item(
        folder=folder,
        media=media,
        texts=fields.texts("texts"),
        split=fields.text("split") or "train",
        kind=fields.text("kind") or "",
        group=fields.text("group") or "",
        relevance_key=fields.text("relevance_key"),
        has_audio=has_audio,
        audio=audio,
        fps=fields.number("fps") or 25.0,
        start_s=start_s,
        end_s=end_s,
        transcript=fields.text("transcript"),
        words=fields.words("words"),
        parts={name: found for name in TEXT_FIELDS if (found := fields.texts(name))},
        extra={name: value for name, value in line.items() if name not in KNOWN},
    )


KNOWN = frozenset(
    ["file", "texts", "split", "kind", "group", "relevance_key", "has_audio", "audio", "fps", "start_s", "end_s"]
    + ["transcript", "words", *TEXT_FIELDS]
)


@dataclass(frozen=True)
class _Fields:
    """Typed reads from one line, with an error that says which line and which field."""

    line: Mapping[str, Any]
    where: str

    def names(self, field_name: str) -> tuple[str, ...]:
        value = self.line.get(field_name)
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            raise ManifestError(
                f"{self.where}: `{field_name}` must be a file name or a list of picture names, not {value!r}.",
                "Names are relative to the manifest's folder.",
            )
        return tuple(names)

    def texts(self, field_name: str) -> tuple[str, ...]:
        value = self.line.get(field_name)
        if value is None:
            return ()
        if isinstance(value, str) and field_name in TEXT_FIELDS:
            value = [value]
        if isinstance(value, list):
            # A timed text is {"text": ..., "start_s": ..., "end_s": ...}; training and evaluation need its words alone.
            value = [entry.get("text") if isinstance(entry, dict) else entry for entry in value]
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ManifestError(f"{self.where}: `{field_name}` must be a list of strings, not {value!r}.")
        return tuple(text.strip() for text in value if normalised(text))

    def words(self, field_name: str) -> tuple[TimedWord, ...]:
        """`[["hello", 0.3, 0.7], ...]`: words with their seconds."""
        found = self.line.get(field_name)
        if found is None:
            return ()
        if isinstance(found, list) and all(map(_is_timed_word, found)):
            return tuple(TimedWord(word, float(start), float(end)) for word, start, end in found)
        raise ManifestError(
            f"{self.where}: `{field_name}` must be a list of words with their start and end in seconds.",
            'Such as [["hello", 0.3, 0.7]].',
        )

    def text(self, field_name: str) -> str | None:
        value = self.line.get(field_name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise ManifestError(f"{self.where}: `{field_name}` must be a string, not {value!r}.")
        return value

    def number(self, field_name: str) -> float | None:
        value = self.line.get(field_name)
        if value is None:
            return None
        if not _is_number(value):
            raise ManifestError(f"{self.where}: `{field_name}` must be a number that is not negative, not {value!r}.")
        return float(value)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _is_timed_word(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    word, start, end = value
    return isinstance(word, str) and _is_number(start) and _is_number(end) and start <= end
