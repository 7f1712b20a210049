"""Voices of an adventure game, British actors: Debian's beneath-a-steel-sky, 8 bits at 11 kHz, with their texts."""

import re
from functools import partial
from pathlib import Path
from typing import Final

from numpy import int16
from numpy.typing import NDArray

from model.data.sources.common import Clip, Report, sentence_split, write_clips
from model.data.sources.packages import one_file, unpacked
from model.data.sources.sky_archive import Archive
from model.data.sources.sound import decode, spoken_text
from model.progress import Count

PACKAGE: Final = "beneath-a-steel-sky"
LICENCE: Final = "Beneath a Steel Sky licence (free to distribute and modify, not to sell by itself)"
RATE: Final = 11025


def gather(folder: Path, packages: Path | None, progress: Count) -> Report:
    """Write every spoken line into `folder`."""
    with unpacked(PACKAGE, packages) as root:
        listing, data = (one_file(root, name, PACKAGE).read_bytes() for name in ("sky.dnr", "sky.dsk"))
        return write_clips(folder, list_clips(Archive.read(listing, data)), LICENCE, progress)


def list_clips(archive: Archive) -> list[Clip]:
    """The spoken lines; who says them is not known, so that val is drawn by sentence, and groups are the chapters."""
    clips = []
    for section, number, text in archive.lines():
        words = spoken_text(text)
        if re.search(r"[a-z]", words, re.IGNORECASE):
            read = partial(recording, archive, number)
            fields = {"split": sentence_split(words)}
            clips.append(Clip(f"{number}", (words,), f"chapter-{section}", read, fields=fields))
    return clips


def recording(archive: Archive, number: int) -> NDArray[int16]:
    return decode(archive.samples(number), "u8", {"sample_rate": str(RATE)})
