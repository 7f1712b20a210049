"""RNC ProPack, method 1: the packing of many games of the nineties, as literal runs and copies under Huffman codes.

Numbers in the header are big-endian. Bits are taken from little-endian words, lowest first; the bytes of a literal run
lie in the middle of them, where the word that comes next would be.
"""

from dataclasses import dataclass
from typing import Final

from model.data.sources.common import SourceError

MAGIC: Final = b"RNC\x01"
HEADER: Final = 18


@dataclass
class Bits:
    """The bits of a packed stream: what is left of a word, and above it the word at `at`."""

    data: bytes
    at: int
    left: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self.refill()

    def refill(self) -> None:
        self.left |= int.from_bytes(self.data[self.at : self.at + 2], "little") << self.count
        self.count += 16

    def take(self, count: int) -> int:
        value = self.left & ((1 << count) - 1)
        self.left >>= count
        self.count -= count
        if self.count < 16:
            self.at += 2
            self.refill()
        return value

    def literals(self, count: int) -> bytes:
        """Whole bytes from where the next word would be, which then comes after them."""
        run = self.data[self.at : self.at + count]
        self.at += count
        self.count -= 16
        self.left &= (1 << self.count) - 1
        self.refill()
        return run


class Code:
    """A canonical Huffman code over bit counts; a value is its bit count's code, then the bits below its highest."""

    def __init__(self, bits: Bits) -> None:
        lengths = [bits.take(4) for _ in range(bits.take(5))]
        self.symbols: dict[tuple[int, int], int] = {}
        self.lengths = sorted(set(lengths) - {0})
        word = 0
        for length in range(1, 16):
            for symbol in (symbol for symbol, each in enumerate(lengths) if each == length):
                self.symbols[length, int(f"{word:0{length}b}"[::-1], 2)] = symbol
                word += 1
            word <<= 1

    def value(self, bits: Bits) -> int:
        for length in self.lengths:
            symbol = self.symbols.get((length, bits.left & ((1 << length) - 1)))
            if symbol is not None:
                bits.take(length)
                return symbol if symbol < 2 else 1 << (symbol - 1) | bits.take(symbol - 1)
        raise SourceError("A packed file holds a code that is none.", "The package is damaged, or another version.")


def unpack(packed: bytes) -> bytes:
    """Raises SourceError when `packed` is not RNC method 1, or does not have the checksum that it names."""
    if packed[:4] != MAGIC:
        raise SourceError("This is not a packed file (RNC, method 1).", "The package is another version.")
    size, wanted = int.from_bytes(packed[4:8]), int.from_bytes(packed[12:14])
    bits, out = Bits(packed, HEADER), bytearray()
    bits.take(2)
    while len(out) < size:
        runs, distances, lengths = Code(bits), Code(bits), Code(bits)
        steps = bits.take(16)
        for step in range(steps):
            run = runs.value(bits)
            if run:
                out += bits.literals(run)
            if step < steps - 1:
                distance, length = distances.value(bits) + 1, lengths.value(bits) + 2
                out += repeated(out[-distance:], length) if distance <= len(out) else b""
        if not steps:
            break
    if len(out) != size or checksum(out) != wanted:
        raise SourceError("A packed file is damaged.", "Fetch the package again.")
    return bytes(out)


def repeated(pattern: bytes | bytearray, length: int) -> bytes:
    """The first bytes of a pattern; a copy longer than it begins again."""
    return bytes(pattern * (length // len(pattern) + 1))[:length]


def checksum(data: bytes | bytearray) -> int:
    """CRC-16 with the reflected polynomial 0xA001."""
    value = 0
    for byte in data:
        value = value >> 8 ^ CRC_TABLE[(value ^ byte) & 0xFF]
    return value


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


CRC_TABLE: Final = [_crc_entry(byte) for byte in range(256)]
