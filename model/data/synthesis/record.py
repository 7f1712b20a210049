"""What a made file holds, in words, and its line in manifest.jsonl."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from model.errors import HtavError

TextKind = Literal["said", "seen", "heard", "order", "together", "all"]
LINE_KINDS: dict[TextKind, str] = {
    "said": "speech",
    "seen": "visual",
    "heard": "sound",
    "order": "order",
    "together": "together",
    "all": "mixed",
}


class SynthesisError(HtavError):
    """The synthesis cannot be done as asked, or its folder cannot be used."""

    code: ClassVar[str] = "synthesis_refused"


LICENSE = "Apache-2.0 (made by htav synth)"


@dataclass(frozen=True)
class Event:
    """Something that happens between two true times."""

    text: str
    kind: TextKind
    start_s: float
    end_s: float


@dataclass
class Description:
    """The texts of one file by kind; `together` needs both eyes and ears."""

    said: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    together: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    words: list[tuple[str, float, float]] = field(default_factory=list)

    def by_kind(self) -> dict[TextKind, list[str]]:
        return {
            "said": self.said,
            "seen": self.seen,
            "heard": self.heard,
            "order": self.order,
            "together": self.together,
        }

    def chosen(self, kind: TextKind) -> list[str]:
        """The texts of one kind, or all of them; each once."""
        texts = self.by_kind()[kind] if kind != "all" else [text for group in self.by_kind().values() for text in group]
        return list(dict.fromkeys(texts))


@dataclass(frozen=True)
class Item:
    """One written file."""

    file: str
    description: Description
    split: str
    group: str
    duration_s: float
    has_audio: bool
    text_source: str = "generated"
    license: str = LICENSE
    extra: dict[str, Any] = field(default_factory=dict)

    def line(self, kind: TextKind) -> dict[str, Any]:
        """The manifest object, with the texts of `kind` as its queries and everything else beside them."""
        described = self.description
        return {
            "file": self.file,
            "texts": described.chosen(kind),
            "split": self.split,
            "kind": LINE_KINDS[kind],
            "group": self.group,
            "has_audio": self.has_audio,
            "license": self.license,
            "text_source": self.text_source,
            "duration_s": round(self.duration_s, 3),
            **{name: texts for name, texts in described.by_kind().items() if texts},
            "events": [
                {
                    "text": event.text,
                    "kind": event.kind,
                    "start_s": round(event.start_s, 3),
                    "end_s": round(event.end_s, 3),
                }
                for event in described.events
            ],
            "words": [[word, round(start, 3), round(end, 3)] for word, start, end in described.words],
            **self.extra,
        }


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The manifest's objects, none when there is no manifest yet."""
    path = folder / "manifest.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise SynthesisError(f"{folder} is not a folder.", "Choose a folder, which may be a new one.") from error
    except (OSError, ValueError) as error:
        raise SynthesisError(f"Cannot read {path}: {error}.", "Repair it, or choose another folder.") from error
    if not all(isinstance(line, dict) and isinstance(line.get("file"), str | list) for line in lines):
        raise SynthesisError(f"{path} has lines that are not items.", 'Each line is an object with "file" and "texts".')
    return lines
