"""What makes a test set the same set: digests of its queries and of its files, kept in `digests.json` beside this code.

`queries` covers file names, groups and texts, and holds on every machine. `files` also covers the bytes of the media,
which encoders of another version may write otherwise; and where sounds are computed, another processor rounds another
last bit. It must hold only where the versions and the processor's vector instructions are the recorded ones.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from model.data.manifest import Item, normalised
from model.evaluation.testsets.captions import TestSetError

RECORD = Path(__file__).with_name("digests.json")
MAKERS = ("av", "espeakng-loader", "numpy", "pillow")


def makers() -> dict[str, str]:
    """The versions of what the bytes of the media depend on, and the vector instructions that numpy uses here."""
    found = {"simd": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))}
    for name in MAKERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def digests_of(items: Sequence[Item]) -> dict[str, Any]:
    """Counts and digests of a set as its manifest lists it."""
    contents = sorted(["|".join(item.media), *(_sha256(path) for path in item.paths())] for item in items)
    return {
        "items": len(items),
        "queries": len({normalised(text) for item in items for text in item.texts}),
        "queries_sha256": digest_of_rows(items),
        "files_sha256": _digest([_rows(items), contents]),
    }


def digest_of_rows(items: Sequence[Item]) -> str:
    """The digest of file names, groups and texts, for which the files need not be there."""
    return _digest(_rows(items))


def _rows(items: Sequence[Item]) -> list[list[Any]]:
    """What each item is asked for; a reverse is asked as well."""
    return sorted(
        [item.name, item.group, sorted(map(normalised, [*item.texts, *item.extra.get("reversed_text", ())]))]
        for item in items
    )


def digests_of_texts(queries: Sequence[str]) -> dict[str, Any]:
    """Digests of a set that is queries alone."""
    digest = _digest(sorted(map(normalised, queries)))
    return {"items": 0, "queries": len(queries), "queries_sha256": digest, "files_sha256": digest}


def recorded() -> dict[str, Any]:
    """{"made_with": {...}, "sets": {name: digests}}"""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def record(sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep the digests of sets; only for those who define a set anew."""
    known: dict[str, Any] = recorded()["sets"] if RECORD.is_file() else {}
    document = {"made_with": makers(), "sets": {**known, **sets}}
    RECORD.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def check(name: str, found: Mapping[str, Any]) -> str:
    """Compare a set with its record: "same", or "same queries" where other library versions wrote the media.

    Raises TestSetError when it is another set.
    """
    document = recorded()
    if name not in document["sets"]:
        raise TestSetError(f"no digest of the test set '{name}' is recorded.", "Record it with --record.")
    known = document["sets"][name]
    if found["queries_sha256"] != known["queries_sha256"]:
        raise TestSetError(
            f"the test set '{name}' is not the recorded one: {found['items']} items and {found['queries']} queries, "
            f"recorded {known['items']} and {known['queries']}, or other texts.",
            "Figures of the two cannot be compared. Are --data and eSpeak NG those that docs/evaluation.md names?",
        )
    if found["files_sha256"] == known.get("files_sha256"):
        return "same"
    if makers() == document["made_with"] and "files_sha256" in known:
        raise TestSetError(
            f"the media files of the test set '{name}' differ from the recorded ones, but the libraries do not.",
            "Delete its folder and run the command again.",
        )
    return "same queries"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
