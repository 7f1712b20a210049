"""What every source shares: a clip as it is read, the checks it must pass, and its place in the manifest.

A source lists its clips first and decodes them one by one, so that splits are known before and memory stays small.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from model.data.manifest import normalised, write_manifest
from model.data.splits import share_of
from model.data.synthesis.writer import FORMATS, write_audio
from model.errors import HtavError
from model.media import SAMPLE_RATE
from model.progress import Count

SHORTEST_S: Final = 0.4
LONGEST_S: Final = 12.0
SLOWEST: Final = 4.0  # characters a second; speech outside these bounds does not say its text
FASTEST: Final = 30.0
VAL_SHARE: Final = 0.04


class SourceError(HtavError):
    """A source cannot be read: its package is missing, or is not what it was."""

    code: ClassVar[str] = "source_unusable"


@dataclass(frozen=True)
class Clip:
    """One sound of a source. `read` decodes it to int16 [samples], mono, 16 kHz; `group` is its speaker or class.

    `fields` are further manifest fields; a `split` among them is kept.
    """

    name: str
    texts: tuple[str, ...]
    group: str
    read: Callable[[], NDArray[np.int16]]
    kind: str = "speech"
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """What was written, and what was left out and why."""

    files: int = 0
    media_s: float = 0.0
    groups: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


def write_clips(folder: Path, clips: Sequence[Clip], licence: str, progress: Count) -> Report:
    """Decode, check and write the clips and their manifest into `folder`."""
    report, splits = Report(), assign_splits(clips)

    def lines() -> Iterator[dict[str, Any]]:
        for number, clip in enumerate(clips, 1):
            samples = clip.read()
            fault = unfit(clip, len(samples) / SAMPLE_RATE)
            if fault:
                report.dropped[fault] += 1
            else:
                write_audio(folder / f"{clip.name}.flac", FORMATS["flac"], samples, SAMPLE_RATE)
                line = manifest_line(clip, splits[clip.name], len(samples) / SAMPLE_RATE, licence)
                _count(report, line)
                yield line
            progress(number, len(clips))

    write_manifest(folder, lines())
    return report


def manifest_line(clip: Clip, split: str, duration_s: float, licence: str) -> dict[str, Any]:
    """What the manifest says of one written clip."""
    said = {"said": list(clip.texts)} if clip.kind == "speech" else {}
    return {
        "file": f"{clip.name}.flac",
        "texts": list(clip.texts),
        "split": split,
        "kind": clip.kind,
        "group": clip.group,
        "has_audio": True,
        "license": licence,
        "text_source": "human",
        "duration_s": round(duration_s, 3),
        **said,
        **clip.fields,
    }


def unfit(clip: Clip, duration_s: float) -> str | None:
    """Why a clip cannot be trained on, if so."""
    if duration_s < SHORTEST_S:
        return f"shorter than {SHORTEST_S:g} s"
    if duration_s > LONGEST_S:
        return f"longer than {LONGEST_S:g} s"
    if clip.kind != "speech":
        return None
    pace = sum(map(len, clip.texts)) / duration_s
    return "too slow for its text" if pace < SLOWEST else "too fast for its text" if pace > FASTEST else None


def assign_splits(clips: Sequence[Clip]) -> dict[str, str]:
    """Each clip's split by name: about 4 % `val`, by whole groups, or by sentences where there is one group.

    The choice hangs on names alone, so that a clip more or less moves no other.
    """
    sizes = Counter(clip.group for clip in clips)
    if len(sizes) == 1:
        return {clip.name: sentence_split(clip.texts[0]) for clip in clips}
    left, chosen = VAL_SHARE * len(clips), set[str]()
    for group in sorted(sizes, key=share_of):
        if sizes[group] <= left:
            chosen.add(group)
            left -= sizes[group]
    return {clip.name: "val" if clip.group in chosen else "train" for clip in clips}


def sentence_split(text: str) -> str:
    """The split of a sentence, wherever it is said."""
    return "val" if share_of(normalised(text)) < VAL_SHARE else "train"


def _count(report: Report, line: Mapping[str, Any]) -> None:
    report.files += 1
    report.media_s += line["duration_s"]
    report.groups[line["group"]] += 1
    report.splits[line["split"]] += 1
