"""Token sets as bytes: what is read is what was written, and nothing malformed is read at all."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.tokens import TOKEN_FORMAT, TokenSet, dequantise, quantise
from tests.model.samples import token_set

FIELDS = ("video", "video_scale", "video_times", "video_levels", "audio", "audio_scale", "audio_times", "glance")


@pytest.mark.parametrize(("steps", "sounds"), [(4, 9), (0, 3), (2, 0), (0, 0), (8, 64)])
def test_a_token_set_survives_its_bytes(steps: int, sounds: int) -> None:
    written = token_set(1, steps, sounds)
    data = written.to_bytes()
    for read in (TokenSet.from_bytes(data), TokenSet.from_bytes(memoryview(data))):
        for field in FIELDS:
            before, after = getattr(written, field), getattr(read, field)
            assert before.dtype == after.dtype and before.shape == after.shape
            np.testing.assert_array_equal(before, after)


def test_the_record_is_as_long_as_documented() -> None:
    assert len(token_set(1, 4, 9).to_bytes()) == 8 + (24 + 9) * (32 + 8) + 24 + 4 + 2 * 32
    assert len(token_set(1, 0, 9).to_bytes()) == 8 + 9 * (32 + 8) + 4


def test_a_slice_of_memory_gives_a_contiguous_record() -> None:
    whole = token_set(1)
    sliced = TokenSet(*(getattr(whole, field)[::2] for field in FIELDS[:-1]))
    np.testing.assert_array_equal(TokenSet.from_bytes(sliced.to_bytes()).video, whole.video[::2])


def test_widths_must_agree() -> None:
    whole = token_set(1)
    narrow = TokenSet(
        *(getattr(whole, field) for field in FIELDS[:4]), whole.audio[:, :8], whole.audio_scale, whole.audio_times
    )
    with pytest.raises(ValueError, match="width 32, audio tokens 8"):
        narrow.to_bytes()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "at least 8 bytes"),
        (b"\x00" * 7, "at least 8 bytes"),
        (struct.pack("<4H", 1, 0, 4, TOKEN_FORMAT + 1) + b"\x00" * 13, "token format"),
        (struct.pack("<4H", 1, 0, 4, TOKEN_FORMAT) + b"\x00" * 16, "has 25 bytes, with a glance 33, got 24"),
        (struct.pack("<4H", 1, 0, 4, TOKEN_FORMAT) + b"\x00" * 18, "has 25 bytes, with a glance 33, got 26"),
        (struct.pack("<4H", 65535, 65535, 65535, TOKEN_FORMAT), "got 8"),
    ],
)
def test_a_malformed_record_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TokenSet.from_bytes(data)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=120))
def test_random_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        read = TokenSet.from_bytes(data)
    except ValueError:
        return
    assert read.to_bytes() == data


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(arrays.arrays(np.float32, (5, 7), elements=st.floats(-1e4, 1e4, width=32)))
def test_quantisation_errs_by_at_most_half_a_step(tokens: np.ndarray) -> None:
    numbers, scale = quantise(tokens)
    assert numbers.dtype == np.int8 and scale.dtype == np.float32
    error = np.abs(dequantise(numbers, scale) - tokens)
    assert bool((error <= scale[:, None] * 0.501 + 1e-30).all())


def test_the_largest_entry_of_a_token_becomes_127_and_zero_stays_zero() -> None:
    numbers, scale = quantise(np.array([[0.5, -2.0, 1.0], [0.0, 0.0, 0.0]], np.float32))
    assert numbers.tolist() == [[32, -127, 64], [0, 0, 0]] and float(scale[1]) == 0.0
    assert dequantise(numbers, scale)[1].tolist() == [0.0, 0.0, 0.0]
    assert quantise(np.zeros((0, 4), np.float32))[0].shape == (0, 4)
