"""What one training step sees."""

from dataclasses import dataclass

from torch import Tensor

from model.data.manifest import TimedWord


@dataclass(frozen=True, eq=False)
class Sense:
    """What pictures alone, or sound alone, can answer.

    positives: bool [B, C]; asks: bool [B], the queries that ask anything of this sense.
    """

    positives: Tensor
    asks: Tensor


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """B texts and C clips of one source. A modality that the source lacks is None.

    positives: bool [B, C]; several clips may answer a text (equal texts are positives).
    frames: uint8 [C, T, 3, S, S], or `video_features`: the trunk's pooled maps, each [C, T', channels, size, size].
    waveforms: C tensors, float [samples] in [-1, 1] at 16 kHz, empty for a clip without sound.
    transcripts: what is said in each clip, None where unknown.
    timings: when each word of each clip is said, as far as that is known.
    said: the words of each text that are said in the clips it asks for, in pieces; None where unknown.
    seen, heard: what either sense can answer by itself; None where that is not known, so that each must answer all. A
    sentence that is said cannot be found in pictures, and to demand it would teach them to speak against the sound.
    """

    texts: list[str]
    positives: Tensor
    frames: Tensor | None = None
    video_features: list[Tensor] | None = None
    waveforms: list[Tensor] | None = None
    transcripts: list[str | None] | None = None
    timings: list[list[TimedWord]] | None = None
    said: list[tuple[str, ...] | None] | None = None
    seen: Sense | None = None
    heard: Sense | None = None
