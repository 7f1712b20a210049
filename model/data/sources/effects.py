"""Recorded sound effects with telling names, out of Debian's packages of games and desktops.

effects_files.ini says which file is what, effects_classes.ini what one may say of it. Every sound is cut to what sounds
in it, at most 8 s; all sounds of a class are relevant to each other's texts.
"""

import fnmatch
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.sources.common import Clip, Report, SourceError, write_clips
from model.data.sources.effects_table import PACKAGES, TEXTS
from model.data.sources.packages import unpacked
from model.data.sources.sound import decode
from model.data.splits import share_of
from model.data.synthesis.noise import level
from model.media import SAMPLE_RATE
from model.progress import Count

LONGEST_S: Final = 8.0
SHORTEST_S: Final = 0.6  # shorter ones are followed by silence
QUIET: Final = 0.01  # of the loudest sample
VAL_SHARE: Final = 0.08
FEW: Final = 3  # a class with fewer sounds is all for training
SUFFIXES: Final = {".ogg", ".oga", ".wav", ".flac", ".pk3", ".cat", ""}
Sounds = dict[str, Path | bytes]


def gather(folder: Path, packages: Path | None, progress: Count) -> Report:
    """Write the sounds of every package into `folder`."""
    clips: list[Clip] = []
    for number, (name, package) in enumerate(PACKAGES.items(), 1):
        with unpacked(name, packages) as root:
            sounds = sounds_of(root)
            for kind, patterns in package.patterns.items():
                found = matching(sounds, patterns)
                if not found:
                    raise SourceError(f"{name} holds none of {', '.join(patterns)}.", "It is another version.")
                clips += [clip(name, package.licence, kind, key, excerpt(sounds[key])) for key in found]
            progress(number, len(PACKAGES))
    return write_clips(folder, with_splits(clips), "see each line", progress)


def matching(sounds: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that end as one of the patterns says, sorted."""
    wanted = re.compile("|".join(fnmatch.translate(f"*/{each}") for each in patterns))
    return sorted(name for name in sounds if wanted.match(f"/{name}"))


def sounds_of(root: Path) -> Sounds:
    """Every file by its path, every entry of zip archives by its name, every OpenSFX sound by its title."""
    sounds: Sounds = {}
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        if path.suffix == ".pk3":
            with zipfile.ZipFile(path) as archive:
                sounds.update({name: archive.read(name) for name in archive.namelist() if name.endswith(".ogg")})
        elif path.suffix == ".cat":
            sounds.update(titled(path.read_bytes()))
        else:
            sounds[path.relative_to(root).as_posix()] = path
    return sounds


def titled(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The sounds of an OpenTTD sound set: a table of offsets and sizes, then each title and WAV file."""
    first = struct.unpack_from("<I", data)[0] & 0x7FFFFFFF
    for number in range(first // 8):
        start, size = struct.unpack_from("<II", data, 8 * number)
        start &= 0x7FFFFFFF
        length = data[start]
        title = data[start + 1 : start + length].decode("latin-1").split('"')[1]
        yield re.sub(r"\W+", "-", title).strip("-").lower(), data[start + length + 1 : start + length + 1 + size]


def excerpt(sound: Path | bytes) -> NDArray[np.int16]:
    """int16 [samples], mono, 16 kHz: from where it begins to sound, at an even loudness."""
    samples = decode(sound)
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET * np.abs(samples.astype(np.int32)).max(initial=1))
    if not len(loud):
        return samples[:0]
    kept = samples[loud[0] : loud[-1] + 1][: int(LONGEST_S * SAMPLE_RATE)]
    missing = max(0, int(SHORTEST_S * SAMPLE_RATE) - len(kept))
    return np.pad(level(kept), (0, missing))


def clip(package: str, licence: str, kind: str, key: str, samples: NDArray[np.int16]) -> Clip:
    """One sound of a class."""
    name = f"{package}-{re.sub(r'[^A-Za-z0-9]+', '-', PurePosixPath(key).with_suffix('').as_posix())[-60:].strip('-')}"
    texts = (*TEXTS[kind], f"the sound of {TEXTS[kind][0]}")
    fields = {
        "label": kind, "relevance_key": f"effects:{kind}", "heard": list(texts), "license": licence,
        "text_source": "class label", "source_file": key,
    }  # fmt: skip
    return Clip(name, texts, kind, partial(np.copy, samples), "sound", fields)


def with_splits(clips: list[Clip]) -> list[Clip]:
    """About 8 % of the files of a class for `val`, by their names alone."""
    sizes = Counter(clip.group for clip in clips)

    def split(clip: Clip) -> str:
        return "val" if sizes[clip.group] >= FEW and share_of(clip.name) < VAL_SHARE else "train"

    return [replace(clip, fields={**clip.fields, "split": split(clip)}) for clip in clips]
