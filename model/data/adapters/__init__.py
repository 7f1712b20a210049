"""Public data sets in the layouts their users know, turned into manifest lines.

Each adapter says whether it recognises a folder and yields the manifest line of every item whose media is there. What
it yields can be trained on and evaluated at once, or written out with `model.data.manifest.write_manifest`.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.data.adapters import captioned, events, segments, spoken
from model.data.adapters.common import Adapter, LayoutError
from model.data.manifest import ManifestError

__all__ = ["ADAPTERS", "Adapter", "LayoutError", "adapt", "recognise"]

ADAPTERS: tuple[Adapter, ...] = (
    spoken.VIDTIMIT,
    spoken.TIMIT,
    captioned.MSRVTT,
    captioned.MSVD,
    captioned.VATEX,
    captioned.FLICKR8K,
    captioned.MUGEN,
    segments.LSMDC,
    segments.DIDEMO,
    segments.YOUCOOK2,
    events.AUDIOCAPS,
    events.AVE,
)


def recognise(folder: Path) -> Adapter | None:
    """The data set whose layout `folder` has."""
    return next((adapter for adapter in ADAPTERS if adapter.recognises(folder)), None)


def adapt(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest lines of a folder in a known layout."""
    adapter = recognise(folder)
    if adapter is None:
        known = ", ".join(adapter.name for adapter in ADAPTERS)
        raise ManifestError(
            f"{folder} has no manifest.jsonl, and its layout is none that HTAV knows.",
            "Write a manifest.jsonl (one JSON object a line: file, texts, split, kind), "
            f"or lay it out as one of: {known}.",
        )
    count = 0
    try:
        for line in adapter.lines(folder):
            count += 1
            yield line
    except (KeyError, TypeError, AttributeError, ValueError, csv.Error) as err:
        raise LayoutError(
            f"{folder} looks like {adapter.name}, but its annotations cannot be understood: {err!r}.", adapter.expects
        ) from err
    if not count:
        raise LayoutError(f"{folder} looks like {adapter.name}, but none of its media files is there.", adapter.expects)
