"""Prompts of a telephone system, read by one woman: Debian's asterisk-core-sounds-en-g722, 16 kHz.

The transcripts are in the documentation of asterisk-core-sounds-en, one `name: text` a line.
"""

import gzip
import re
from functools import partial
from pathlib import Path
from typing import Final

from model.data.sources.common import Clip, Report, SourceError, write_clips
from model.data.sources.packages import one_file, unpacked
from model.data.sources.sound import decode, spoken_text
from model.progress import Count

SOUNDS: Final = "asterisk-core-sounds-en-g722"
TEXTS: Final = "asterisk-core-sounds-en"
LICENCE: Final = "CC-BY-SA-3.0"
SPEAKER: Final = "allison-smith"


def gather(folder: Path, packages: Path | None, progress: Count) -> Report:
    """Write every prompt whose words are known into `folder`."""
    with unpacked(TEXTS, packages) as documents, unpacked(SOUNDS, packages) as sounds:
        listing = one_file(documents, "core-sounds-en.txt*", TEXTS)
        voice = one_file(sounds, "activated.g722", SOUNDS).parent
        return write_clips(folder, list_clips(read_listing(listing), voice), LICENCE, progress)


def read_listing(path: Path) -> dict[str, str]:
    """Each prompt's words by its name; those that are tones, in brackets, have none and are left out."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith(";"))
    known = {name.strip(): spoken_text(words) for name, colon, words in lines if colon}
    spoken = {name: words for name, words in known.items() if words and not re.search(r"[\[\]<>]", words)}
    if not spoken:
        raise SourceError(f"{path} lists no prompt.", "It must hold lines of `name: text`.")
    return spoken


def list_clips(listing: dict[str, str], voice: Path) -> list[Clip]:
    """The prompts that are there both as sound and as text, in order of their names."""
    found = {name: voice / f"{name}.g722" for name in sorted(listing)}
    return [
        Clip(name.replace("/", "-"), (listing[name],), SPEAKER, partial(decode, path, "g722"))
        for name, path in found.items()
        if path.is_file()
    ]
