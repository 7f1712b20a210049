"""Encoded sounds of any source as mono 16 kHz samples, and human text as the words that are said."""

import io
import re
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from model.data.sources.common import SourceError
from model.media import SAMPLE_RATE

DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def decode(sound: Path | bytes, form: str | None = None, options: dict[str, str] | None = None) -> NDArray[np.int16]:
    """A file, or one in memory, as int16 [samples], mono, 16 kHz.

    `form` names FFmpeg's demuxer where it cannot tell, `options` are the demuxer's.

    Raises SourceError when it is not sound.
    """
    try:
        with av.open(
            io.BytesIO(sound) if isinstance(sound, bytes) else str(sound), "r", format=form, options=options
        ) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            frames = (*container.decode(audio=0), None)
            pieces = [piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)]
    except (av.error.FFmpegError, IndexError) as err:
        name = "A sound in the archive" if isinstance(sound, bytes) else str(sound)
        raise SourceError(f"{name} cannot be decoded: {err}.", "The package is damaged, or another version.") from err
    return np.concatenate(pieces).astype(np.int16) if pieces else np.zeros(0, np.int16)


def spoken_text(text: str) -> str:
    """A written line as it is said: single digits as words, no dashes between words, no runs of dots or spaces."""
    text = re.sub(r"(?<![\w.])\d(?![\w]|[.,]\d)", lambda digit: DIGITS[int(digit.group())], text)
    text = re.sub(r"\.{2,}|[-–—_/]+|\s+", " ", text)
    return re.sub(r" +([,.!?;:])", r"\1", re.sub(r" {2,}", " ", text)).strip(" ,;:")
