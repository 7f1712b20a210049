"""Decoded clips to token sets, several files' clips in one batch; one bad clip costs its own file, not the batch."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexer.decode import DecodedClip, FileFailed
from indexer.writer import NewClip
from model.tokens import TokenSet

if TYPE_CHECKING:
    from model import Retriever

log = logging.getLogger(__name__)


def encode(retriever: "Retriever", clips: Sequence[DecodedClip]) -> list[NewClip | FileFailed]:
    """Encode clips together, or one by one if together they fail; a clip that fails alone gets its failure."""
    try:
        return list(_encode(retriever, clips))
    except Exception as err:  # the per-batch boundary
        if len(clips) > 1:
            return [encode(retriever, [clip])[0] for clip in clips]
        log.warning("a clip cannot be encoded", exc_info=True)
        return [FileFailed("encode_failed", f"The clip cannot be encoded: {type(err).__name__}: {err}")]


def _encode(retriever: "Retriever", clips: Sequence[DecodedClip]) -> list[NewClip]:
    from model.clips import ClipInput

    inputs = [ClipInput(clip.frames, clip.frame_times, clip.audio, clip.window.start_s) for clip in clips]
    token_sets: list[TokenSet] = retriever.encode_clips(inputs)
    coarse = retriever.coarse_vectors(token_sets)
    if not np.isfinite(coarse).all():
        raise ValueError("the network gave numbers that are not finite")
    readings = retriever.readings(token_sets)
    return [
        NewClip(clip.window.ordinal, clip.window.start_s, clip.window.end_s, tokens.to_bytes(), vectors, reading)
        for clip, tokens, vectors, reading in zip(clips, token_sets, coarse, readings, strict=True)
    ]
