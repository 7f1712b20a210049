"""The data files of Beneath a Steel Sky (CD version 0.0372): numbered parts, packed sounds, and Huffman-coded texts.

`sky.dnr` lists where the parts lie in `sky.dsk`. A text has a number: its section in the upper bits, its place in the
section below them; the same number gives the part with its recording, if it is spoken. Who speaks is decided by the
game's scripts while they run, so the data do not tell. All numbers are little-endian.

The code of the texts belongs to the game's program, which is not among the data: sky_codes.json has the bit count of
each character, in order of the code words, from which the words follow. That every text ends where its length says is
checked.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from model.data.sources.common import SourceError
from model.data.sources.rnc import unpack

CODES: Final = Path(__file__).with_name("sky_codes.json")
PART_HEADER: Final = 22
FIRST_TEXTS: Final = 60600  # of English; one part for each section
# the part with the recording of a section's text 0
FIRST_SOUNDS: Final = (50000, 50600, 51100, 52430, 53380, 54530, 55080, 55230)
BLOCK: Final = 32  # texts whose common length is listed


def u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


@dataclass(frozen=True)
class Archive:
    """Places of the parts in `data`: offset and size by number."""

    data: bytes
    places: dict[int, tuple[int, int]]

    @classmethod
    def read(cls, listing: bytes, data: bytes) -> Self:
        """`listing` and `data` are the contents of sky.dnr and sky.dsk."""
        places = {}
        for at in range(4, 4 + 8 * int.from_bytes(listing[:4], "little"), 8):
            offset, size = (int.from_bytes(listing[at + k : at + k + 3], "little") for k in (2, 5))
            # offsets above 8 MiB are counted in units of 16 bytes
            places[u16(listing, at)] = ((offset & 0x7FFFFF) << (4 if offset >> 23 else 0), size & 0x3FFFFF)
        return cls(data, places)

    def part(self, number: int) -> bytes:
        if number not in self.places:
            raise SourceError(f"The game's data have no part {number}.", "Use Debian's package, unpacked.")
        offset, size = self.places[number]
        return self.data[offset : offset + size]

    def samples(self, number: int) -> bytes:
        """A recording: unsigned 8-bit samples at 11025 Hz."""
        part = self.part(number)[PART_HEADER:]
        return unpack(part) if part.startswith(b"RNC") else part

    def lines(self) -> Iterator[tuple[int, int, str]]:
        """The section, the part with the recording, and the text of everything that is spoken."""
        for section, first in enumerate(FIRST_SOUNDS):
            for place, text in enumerate(self.texts(self.part(FIRST_TEXTS + section))):
                if text and first + place in self.places:
                    yield section, first + place, text

    def texts(self, part: bytes) -> list[str]:
        """All texts of a section, in order."""
        lengths_at, texts_at = u16(part, 0), u16(part, 2)
        texts, start = [], 0
        for number, length in enumerate(part[lengths_at:texts_at]):
            if number % BLOCK == 0:
                start = sum(u16(part, 4 + 2 * block) for block in range(number // BLOCK))
            # starts and lengths are counted in pairs of bits, those of long texts in sixteen bits
            unit = 8 if length & 0x80 else 1
            end = start + (length & 0x7F) * unit
            text, read = self.text(part, 8 * texts_at + 2 * start)
            if not 0 <= 8 * texts_at + 2 * end - read < 2 * unit and number % BLOCK < BLOCK - 1:
                raise SourceError("A text does not end where it should.", "This is another version of the game.")
            texts.append(text)
            start = end
        return texts

    def text(self, part: bytes, at: int) -> tuple[str, int]:
        """The text that begins at bit `at`, highest bits first, and where it ends."""
        letters, word, length = bytearray(), 0, 0
        while at < 8 * len(part):
            word = word << 1 | part[at >> 3] >> (7 - at % 8) & 1
            at, length = at + 1, length + 1
            letter = self.codes.get((length, word))
            if letter == 0:
                break
            if letter is not None:
                letters.append(letter)
                word = length = 0
        return letters.decode("latin-1"), at

    @cached_property
    def codes(self) -> dict[tuple[int, int], int]:
        return code_words(json.loads(CODES.read_text())["codes"])


def code_words(lengths: list[list[int]]) -> dict[tuple[int, int], int]:
    """The characters by (length, code word): each word is the next after the one before, made as long as it is."""
    words, word, before = {}, -1, lengths[0][1]
    for letter, length in lengths:
        word += 1
        word = word << (length - before) if length >= before else word >> (before - length)
        words[length, word], before = letter, length
    return words
