"""What the shortlist needs of a clip, as one record of a segment: fp16 coarse vectors [3 x width], then its reading."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class CoarseRecord(NamedTuple):
    """Coarse vectors [3 x width] and what is heard, in ASCII letters without spaces."""

    vectors: NDArray[np.float16]
    reading: bytes

    def to_bytes(self) -> bytes:
        return self.vectors.astype("<f2").tobytes() + self.reading

    @classmethod
    def from_bytes(cls, record: bytes | memoryview, width: int) -> Self:
        """Raises ValueError for a record that is too short."""
        size = 3 * width * np.dtype("<f2").itemsize
        if len(record) < size:
            raise ValueError(f"a coarse record of width {width} has at least {size} bytes, got {len(record)}")
        return cls(np.frombuffer(record[:size], "<f2"), bytes(record[size:]))
