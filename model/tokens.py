"""The encoded clip as data: what the indexer stores and the reranker reads. numpy only, so that storing needs no torch.

A *token set* keeps each token as int8 with one scale a token. Record layout, little endian:
`V, A, d` and a version as uint16, then video tokens, audio tokens (int8), scales and times (float32), levels (uint8),
`chance` (float32), and, where the clip has one, `glance` (float16).
"""

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKEN_FORMAT = 2
_HEADER = struct.Struct("<4H")
_CHANCE = struct.Struct("<f")

Int8 = NDArray[np.int8]
Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TokenSet:
    """One encoded clip.

    video [V, d] and audio [A, d] are int8; multiplied by `video_scale` [V] and `audio_scale` [A] they are the tokens.
    `video_times` [V] and `audio_times` [A] are seconds from the start of the file; `video_levels` [V] is the pyramid
    level. V or A is 0 where the clip has no pictures or no sound. `chance` is what words cost that are not said in it
    (`model.chance`), NaN where that is not known or nothing is heard. `glance` [d] is what its pictures show as a whole
    (`ClipGlance`), [0] where there is none.
    """

    video: Int8
    video_scale: Float32
    video_times: Float32
    video_levels: UInt8
    audio: Int8
    audio_scale: Float32
    audio_times: Float32
    chance: float = math.nan
    glance: Float16 = field(default_factory=lambda: np.zeros(0, np.float16))

    def only(self, modalities: tuple[str, ...]) -> "TokenSet":
        """The same clip without the tokens of the modalities not named."""
        V = len(self.video) if "video" in modalities else 0
        A = len(self.audio) if "audio" in modalities else 0
        return replace(
            self,
            video=self.video[:V],
            video_scale=self.video_scale[:V],
            video_times=self.video_times[:V],
            video_levels=self.video_levels[:V],
            audio=self.audio[:A],
            audio_scale=self.audio_scale[:A],
            audio_times=self.audio_times[:A],
            glance=self.glance if "video" in modalities else self.glance[:0],
        )

    def to_bytes(self) -> bytes:
        V, d = self.video.shape
        A, audio_d = self.audio.shape
        if audio_d != d:
            raise ValueError(f"video tokens have width {d}, audio tokens {audio_d}")
        if self.glance.dtype != np.float16 or len(self.glance) not in (0, d):
            raise ValueError(f"a glance is {d} numbers of float16 or none, not {len(self.glance)} {self.glance.dtype}")
        parts: list[NDArray[Any]] = [
            self.video,
            self.audio,
            self.video_scale,
            self.video_times,
            self.audio_scale,
            self.audio_times,
            self.video_levels,
        ]
        arrays = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        return _HEADER.pack(V, A, d, TOKEN_FORMAT) + arrays + _CHANCE.pack(self.chance) + self.glance.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "TokenSet":
        """Read a record. Raises ValueError when its length or version does not fit."""
        if len(data) < _HEADER.size:
            raise ValueError(f"a token record has at least {_HEADER.size} bytes, got {len(data)}")
        V, A, d, version = _HEADER.unpack_from(data)
        if version != TOKEN_FORMAT:
            raise ValueError(f"token format {version} is not {TOKEN_FORMAT}")
        plain = _HEADER.size + (V + A) * (d + 8) + V + _CHANCE.size
        with_glance = plain + d * np.dtype(np.float16).itemsize
        if len(data) not in (plain, with_glance):
            raise ValueError(
                f"a token record of {V} + {A} tokens has {plain} bytes, with a glance {with_glance}, got {len(data)}"
            )
        offset = _HEADER.size

        def take(dtype: type[np.generic], *shape: int) -> NDArray[Any]:
            nonlocal offset
            count = math.prod(shape)
            array = np.frombuffer(data, dtype=dtype, count=count, offset=offset).reshape(shape)
            offset += array.nbytes
            return array

        video, audio = take(np.int8, V, d), take(np.int8, A, d)
        video_scale, video_times = take(np.float32, V), take(np.float32, V)
        audio_scale, audio_times = take(np.float32, A), take(np.float32, A)
        levels = take(np.uint8, V)
        (chance,) = _CHANCE.unpack_from(data, offset)
        glance = np.frombuffer(data, np.float16, offset=offset + _CHANCE.size)
        return cls(video, video_scale, video_times, levels, audio, audio_scale, audio_times, chance, glance)


def quantise(tokens: Float32) -> tuple[Int8, Float32]:
    """Tokens [M, d] to int8 with a scale per token [M]: the largest entry of each token becomes 127."""
    scale = np.abs(tokens).max(axis=1, initial=0.0) / 127.0
    safe = np.where(scale > 0, scale, 1.0)
    return np.rint(tokens / safe[:, None]).astype(np.int8), scale.astype(np.float32)


def dequantise(tokens: Int8, scale: Float32) -> Float32:
    """The inverse of `quantise`, to half a step: [M, d] float32."""
    return tokens.astype(np.float32) * scale[:, None]
