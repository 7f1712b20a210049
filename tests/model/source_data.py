"""Tiny files in the formats of the public sources, written by the tests that read them."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from model.data.sources.rnc import checksum
from model.data.sources.sky_archive import CODES, FIRST_SOUNDS, FIRST_TEXTS, PART_HEADER, code_words


def tone(seconds: float, rate: int = 16000) -> NDArray[np.int16]:
    wave: NDArray[np.int16] = np.round(8000 * np.sin(np.arange(int(seconds * rate)) * 0.2)).astype(np.int16)
    return wave


def encoded(codec: str, form: str, samples: NDArray[np.int16], rate: int) -> bytes:
    """int16 samples as a sound file of a codec."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = cast(AudioStream, container.add_stream(codec, rate=rate))
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.frame_size or 320)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return out.getvalue()


def package(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A Debian package of these files, in `folder`."""
    root = folder / f"{name}-files"
    for path, content in {**files, "DEBIAN/control": _control(name)}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    archive = folder / f"{name}_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(archive)], check=True, capture_output=True)
    shutil.rmtree(root)
    return archive


def _control(name: str) -> bytes:
    fields = {"Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "A <a@b.c>", "Description": "d"}
    return "".join(f"{field}: {value}\n" for field, value in fields.items()).encode()


def big(*numbers: int) -> bytes:
    return b"".join((number & 0xFFFF).to_bytes(2) for number in numbers)


def little(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "little") for number in numbers)


def queen_string(text: str, at: int, align: int = 2) -> bytes:
    """A text that begins at `at` in its part."""
    body = bytes([len(text)]) + text.encode()
    return body + b"\0" * (-(at + len(body)) % align if text else 0)


def queen_dialogue(
    key: int, hero: list[tuple[int, str]], other: list[tuple[int, str]], again: tuple[str, str]
) -> bytes:
    """A .DOG part without levels: the hero's lines, the other's, and what they say when they meet again."""
    body = bytearray(32)
    starts = []
    for lines in (hero, other):
        starts.append(len(body))
        for number, text in lines:
            body += big(0, number)
            body += queen_string(text, len(body), align=4)
    end = len(body)
    for text in again:
        body += queen_string(text, len(body))
    header = big(0, 1, key, len(hero), len(other)) + bytes(12) + big(starts[1], 0, end)
    return bytes(20) + header + bytes(32 - len(header)) + bytes(body[32:])


def queen_scene(steps: Iterable[tuple[int, str, int]]) -> bytes:
    """A .CUT part: who speaks (0 is the hero), the text, and how many frames an animation runs in its place."""
    listed, texts = list(steps), bytearray(queen_string("", 0))
    objects = bytearray()
    for who, _, frames in listed:
        objects += big(who, 0, 0, 0, frames, int(frames > 0), *[0] * 11) + big(1, 7)
        objects += b"".join(big(3) + bytes(18) for _ in range(frames)) + (big(-2) if frames else b"")
    start = 12 + len(objects)
    for _, text, _ in listed:
        texts += queen_string(text, start + len(texts))
    return bytes(20) + big(0, len(listed), 0, 0, start, 0) + objects + texts


def queen_world(names: list[str], persons: dict[int, int], remarks: list[str]) -> dict[str, bytes]:
    """QUEEN.JAS and QUEEN2.JAS: names of things, objects that are people (their name's place), and remarks."""
    objects = b"".join(big(persons.get(number, 0), *[0] * 6, -3 if number in persons else 5) for number in range(1, 4))
    lines = [*remarks, *names, "a room", *["verb"] * 12, *[f"Answer {number}*14" for number in range(1, 41)]]
    jas = bytes(20) + big(1, len(names), 3, len(remarks)) + objects
    return {"QUEEN.JAS": jas, "QUEEN2.JAS": "\r\n".join(lines).encode()}


def queen_archive(parts: dict[str, bytes], version: bytes = b"CEM10") -> bytes:
    """All parts behind their table."""
    offset, table, data = 15 + 21 * len(parts), b"", b""
    for name, part in parts.items():
        table += name.encode().ljust(12, b"\0") + b"\1" + (offset + len(data)).to_bytes(4) + len(part).to_bytes(4)
        data += part
    return b"QTBL" + version + bytes(3) + b"\1" + big(len(parts)) + table + data


class Packer:
    """Writes the bits of RNC method 1; a word has its place where its first bit is written."""

    def __init__(self) -> None:
        self.out, self.slot, self.used = bytearray(), 0, 16

    def bits(self, value: int, count: int) -> None:
        for place in range(count):
            if self.used == 16:
                self.slot, self.used = len(self.out), 0
                self.out += b"\0\0"
            self.out[self.slot + self.used // 8] |= (value >> place & 1) << self.used % 8
            self.used += 1

    def table(self, symbols: int, length: int) -> None:
        """A code whose words have all one length: a symbol's word is its number."""
        self.bits(symbols, 5)
        for _ in range(symbols):
            self.bits(length, 4)

    def value(self, value: int, length: int) -> None:
        symbol = value.bit_length() if value else 0
        self.bits(int(f"{symbol:0{length}b}"[::-1], 2), length)
        if symbol > 1:
            self.bits(value & ((1 << (symbol - 1)) - 1), symbol - 1)


def packed(steps: list[tuple[bytes, int, int]], plain: bytes) -> bytes:
    """RNC method 1 of steps (literal run, distance, length); the last step has a run alone. `plain` is the result."""
    packer = Packer()
    packer.bits(0, 2)
    for _ in range(3):
        packer.table(8, 3)
    packer.bits(len(steps), 16)
    for number, (run, distance, length) in enumerate(steps, 1):
        packer.value(len(run), 3)
        packer.out += run
        if number < len(steps):
            packer.value(distance - 1, 3)
            packer.value(length - 2, 3)
    sizes = len(plain).to_bytes(4) + len(packer.out).to_bytes(4)
    return b"RNC\1" + sizes + checksum(plain).to_bytes(2) + bytes(4) + bytes(packer.out)


def sky_texts(texts: list[str]) -> bytes:
    """A section of coded texts, in blocks of 32."""
    words = {letter: key for key, letter in code_words(json.loads(CODES.read_text())["codes"]).items()}
    coded, lengths, blocks = "", b"", [0] * (len(texts) // 32)
    for number, text in enumerate(texts):
        bits = "".join(f"{word:0{length}b}" for length, word in (words[ord(letter)] for letter in f"{text}\0"))
        unit = 2 if len(bits) < 240 else 16
        bits += "0" * (-len(bits) % unit)
        coded, lengths = coded + bits, lengths + bytes([len(bits) // unit | (0x80 if unit == 16 else 0)])
        if number // 32 < len(blocks):
            blocks[number // 32] += len(bits) // 2
    coded += "0" * (-len(coded) % 8)
    start = 4 + 2 * len(blocks)
    body = bytes(int(coded[at : at + 8], 2) for at in range(0, len(coded), 8))
    return little(start, start + len(lengths), *blocks) + lengths + body


def sky_files(texts: dict[int, list[str]], sounds: dict[tuple[int, int], bytes]) -> tuple[bytes, bytes]:
    """sky.dnr and sky.dsk with texts by section, and recordings by section and place of their text."""
    parts = {FIRST_TEXTS + section: sky_texts(texts.get(section, [""])) for section in range(8)}
    parts |= {FIRST_SOUNDS[section] + place: bytes(PART_HEADER) + part for (section, place), part in sounds.items()}
    listing, data = len(parts).to_bytes(4, "little"), b""
    for number, part in parts.items():
        listing += little(number) + len(data).to_bytes(3, "little") + len(part).to_bytes(3, "little")
        data += part
    return listing, data
