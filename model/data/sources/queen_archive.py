"""The data file of Flight of the Amazon Queen (CD version): its table of files, and which sound says which text.

The file begins with a table of named parts. Texts are in .DOG parts (dialogues), .CUT parts (scenes) and the two
QUEEN.JAS parts (people, and what the hero says of things). A `*` and two letters within a text is a stage direction;
the text between two of them is one recording, whose name is built from the place of the text. All numbers are
big-endian. Format as understood from the behaviour of ScummVM's engine and checked against the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from model.data.sources.common import SourceError

MAGIC: Final = b"QTBL"
COMPRESSED_MP3: Final = 1
PART_HEADER: Final = 20  # bytes before the contents of .DOG, .CUT and QUEEN.JAS
HERO: Final = "Joe King"
VERBS, RESPONSES = 12, 40  # lines of QUEEN2.JAS
PERSON_IMAGES: Final = (-3, -4)  # an object with one of these as its picture is a person, facing left or right
DIRECTION: Final = re.compile(r"\*(?:XY.{11}|.{2})", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """One recording: its part's name, its text, and who says it as the game's data names them."""

    sound: str
    text: str
    speaker: str


@dataclass
class Cursor:
    """Reads one part from `at` on."""

    data: bytes
    at: int = 0

    def u16(self) -> int:
        return int.from_bytes(self.take(2))

    def s16(self) -> int:
        value = self.u16()
        return value - 0x10000 if value >= 0x8000 else value

    def string(self, align: int = 2) -> str:
        """A length byte and the text; what follows a text that is not empty begins at a multiple of `align`."""
        length = self.take(1)[0]
        text = self.take(length).decode("cp437")
        if length:
            self.at = -(-self.at // align) * align
        return text

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise SourceError(
                "A part of the Amazon Queen ends too early.", "The package is damaged, or another version."
            )
        self.at += count
        return self.data[self.at - count : self.at]


@dataclass(frozen=True)
class Archive:
    """The parts by name."""

    parts: dict[str, bytes]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises SourceError unless `data` is the talking English version with MP3 sounds."""
        if data[:4] != MAGIC or data[4:6] != b"CE" or data[12] != COMPRESSED_MP3:
            raise SourceError("This is not the talking English Amazon Queen.", "Use Debian's package, unpacked.")
        cursor, parts = Cursor(data, 13), {}
        for _ in range(cursor.u16()):
            entry = data[cursor.at : cursor.at + 21]
            offset, size = int.from_bytes(entry[13:17]), int.from_bytes(entry[17:21])
            parts[entry[:12].partition(b"\0")[0].decode("ascii")] = data[offset : offset + size]
            cursor.at += 21
        return cls(parts)

    def lines(self) -> list[Line]:
        """Every recording that has a text, once, in order of its name."""
        world = World.read(self.parts)
        found = list(world.remarks())
        for name, part in self.parts.items():
            stem, _, kind = name.partition(".")
            if kind == "DOG":
                found += dialogue(stem.rstrip("0123456789"), part)
            elif kind == "CUT":
                found += scene(stem, part, world)
        known = {line.sound: line for line in found if line.sound in self.parts and line.text.strip()}
        return [known[sound] for sound in sorted(known)]


@dataclass(frozen=True)
class World:
    """The people of QUEEN.JAS by object number, and what the hero may remark, by number."""

    people: dict[int, str]
    texts: list[str]

    @classmethod
    def read(cls, parts: dict[str, bytes]) -> Self:
        cursor = Cursor(parts["QUEEN.JAS"], PART_HEADER)
        rooms, names, objects, descriptions = (cursor.u16() for _ in range(4))
        lines = parts["QUEEN2.JAS"].decode("cp437").splitlines()
        people = {}
        for number in range(1, objects + 1):
            name, *_, image = (cursor.s16() for _ in range(8))
            if image in PERSON_IMAGES and name:
                people[number] = lines[descriptions + abs(name) - 1]
        responses = descriptions + names + rooms + VERBS
        return cls(people, lines[responses : responses + RESPONSES] + lines[:descriptions])

    def remarks(self) -> Iterator[Line]:
        for number, text in enumerate(self.texts, 1):
            yield from recordings(f"JOE{number:04d}", text, HERO)


def recordings(prefix: str, text: str, speaker: str) -> Iterator[Line]:
    """The recordings of one text, one for each stretch between stage directions."""
    for number, stretch in enumerate(DIRECTION.split(text), 1):
        yield Line(f"{prefix}{number:x}.SB".replace(" ", "0").upper(), stretch, speaker)


def dialogue(speaker: str, part: bytes) -> Iterator[Line]:
    """What the hero and one other person say to each other in a .DOG part."""
    cursor = Cursor(part[PART_HEADER:])
    levels, _, key, hero_lines, other_lines = (cursor.s16() for _ in range(5))
    cursor.at += 12  # what the talk changes in the game
    other, _, again = (cursor.u16() for _ in range(3))
    own = 32 + 96 * abs(levels)
    for start, count, letter, name in ((own, hero_lines, "J", HERO), (other, other_lines, "P", speaker)):
        cursor.at = start
        for index in range(count):
            cursor.at += 2
            number, text = cursor.u16(), cursor.string(align=4)
            yield from recordings(f"{key:2d}{number:4x}{letter}", text, name)
            if letter == "J" and index == 0:
                yield from recordings(f"{key:2d}SSSSJ", text, HERO)  # the greeting
    cursor.at = again  # what they say when they meet again
    for letter, name in (("P", speaker), ("J", HERO)):
        yield from recordings(f"{key:2d}XXXX{letter}", cursor.string(), name)


def scene(stem: str, part: bytes, world: World) -> Iterator[Line]:
    """What is said in a .CUT part: a list of steps, each with one text, of which those of people are spoken."""
    cursor = Cursor(part[PART_HEADER:])
    _, count, _, _, sentences, _ = (cursor.s16() for _ in range(6))
    texts = Cursor(cursor.data, sentences)
    texts.string()
    for number in range(1, abs(count) + 1):
        step = [cursor.s16() for _ in range(17)]
        present = cursor.u16()
        cursor.at += 2 * present
        text = texts.string()
        who, frames, runs, copied_from = step[0], step[4], step[5], step[12]
        speaker = "" if who < -1 else HERO if who < 1 else world.people.get(who)
        is_person = speaker is not None and copied_from <= 0 and (who < -1 or not frames)
        if is_person and text != "*" and not text.startswith("#"):
            yield from recordings(f"{stem:_<5}{number:02d}", text, speaker or "")
        elif who >= -1 and copied_from <= 0 and not is_person and runs:
            while cursor.s16() != -2:  # the frames of an animation
                cursor.at += 18
