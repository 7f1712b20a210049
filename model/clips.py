"""Between clips as media, clips as token sets, and clips as padded tensors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.audio import TOKENS_PER_SECOND, AudioEncoder, AudioTokens
from model.audio_blocks import length_mask
from model.clip_tokens import ClipTokens
from model.sound_format import WINDOW
from model.tokens import TokenSet, dequantise, quantise
from model.video import VideoEncoder

SPARE = 2.0  # sound tokens that a clip's sound may lack and still go on to its end


@dataclass(frozen=True, eq=False)
class ClipInput:
    """One clip to encode. A missing modality is None.

    frames: uint8 [T, S, S, 3], upright, squashed to the network's image size.
    frame_times: [T] seconds from the file's start.
    audio: int16 [samples], mono, 16 kHz; audio_start_s: where in the file it starts.
    """

    frames: NDArray[np.uint8] | None
    frame_times: NDArray[np.float32] | None
    audio: NDArray[np.int16] | None
    audio_start_s: float = 0.0


def encode(clips: list[ClipInput], video: VideoEncoder, audio: AudioEncoder, width: int) -> list[TokenSet]:
    """Encode a batch; clips with the same number of frames share a pass, and none is padded with frames."""
    device = next(video.parameters()).device
    pictures: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]] = {}
    glances: dict[int, NDArray[np.float16]] = {}
    for count in sorted({len(clip.frames) for clip in clips if clip.frames is not None}):
        of_count = [i for i, clip in enumerate(clips) if clip.frames is not None and len(clip.frames) == count]
        stacked = np.stack([np.asarray(clips[i].frames) for i in of_count]).transpose(0, 1, 4, 2, 3)
        encoded = video(video.trunk_features(torch.from_numpy(np.ascontiguousarray(stacked)).to(device)))
        steps, levels = encoded.steps.cpu().numpy(), encoded.levels.cpu().numpy().astype(np.uint8)
        for place, i in enumerate(of_count):
            times = _step_times(clips[i].frame_times, int(steps.max()) + 1)[steps]
            pictures[i] = (encoded.tokens[place].cpu().numpy(), times, levels)
            if encoded.glance is not None:
                glances[i] = encoded.glance[place].cpu().numpy().astype(np.float16)
    sounds: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    heard = [i for i, clip in enumerate(clips) if clip.audio is not None and len(clip.audio) >= WINDOW]
    if heard:
        waves = [torch.from_numpy(np.asarray(clips[i].audio, np.float32) / 32768.0).to(device) for i in heard]
        tokens, mask, seconds = (part.cpu() for part in limit_audio(audio(waves), audio.config.max_tokens))
        for place, i in enumerate(heard):
            keep = mask[place]
            start = clips[i].audio_start_s
            sounds[i] = (tokens[place][keep].numpy(), (start + seconds[place][keep].numpy()).astype(np.float32))
    made = [_token_set(pictures.get(i), sounds.get(i), width) for i in range(len(clips))]
    return [replace(item, glance=glances[i]) if i in glances else item for i, item in enumerate(made)]


def limit_audio(encoded: AudioTokens, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge neighbours until each clip has at most `most` tokens.

    Each clip is merged by its own whole factor, so that times stay uniform and a clip never depends on its batch.
    Returns tokens [C, A, d], mask [C, A] and times [C, A] in seconds from the start of the sound.
    """
    C, S, d = encoded.tokens.shape
    factor = ((encoded.lengths + most - 1) // most).clamp(min=1)
    target = torch.arange(S, device=factor.device) // factor.unsqueeze(1)
    valid = length_mask(encoded.lengths, S)
    lengths = (encoded.lengths + factor - 1) // factor
    A = max(int(lengths.max()), 1)
    target = torch.where(valid, target, 0).clamp(max=A - 1)
    merged = encoded.tokens.new_zeros(C, A, d).scatter_add(
        1, target.unsqueeze(-1).expand(C, S, d), encoded.tokens * valid.unsqueeze(-1)
    )
    counts = merged.new_zeros(C, A).scatter_add(1, target, valid.to(merged.dtype)).clamp(min=1)
    seconds = (torch.arange(A, device=factor.device) + 0.5) * factor.unsqueeze(1) / TOKENS_PER_SECOND
    return merged / counts.unsqueeze(-1), length_mask(lengths, A), seconds


def collate(token_sets: list[TokenSet], cells: int, width: int) -> ClipTokens:
    """Pad token sets to one batch of tensors; `cells` is the number of video tokens a time step."""
    C = len(token_sets)
    V = max([1, *(len(item.video) for item in token_sets)])
    A = max([1, *(len(item.audio) for item in token_sets)])
    video, audio = np.zeros((C, V, width), np.float32), np.zeros((C, A, width), np.float32)
    levels, places = np.zeros((C, V), np.int64), np.zeros((C, V), np.float32)
    video_mask, audio_mask = np.zeros((C, V), bool), np.zeros((C, A), bool)
    glance, lasting = np.zeros((C, width), np.float32), np.ones(C, np.float32)
    for row, item in enumerate(token_sets):
        v, a = len(item.video), len(item.audio)
        if v:
            video[row, :v] = dequantise(item.video, item.video_scale)
            levels[row, :v] = item.video_levels
            places[row, :v] = step_places(v, cells)
            video_mask[row, :v] = True
        if len(item.glance):
            glance[row] = item.glance
        if a:
            audio[row, :a] = dequantise(item.audio, item.audio_scale)
            audio_mask[row, :a] = True
            lasting[row] = sound_lasts(item)
    chance = np.array([item.chance if len(item.audio) else 0.0 for item in token_sets], np.float32)
    arrays = (video, video_mask, levels, places, audio, audio_mask, chance, glance, ~audio_mask.any(axis=1), lasting)
    return ClipTokens(*(torch.from_numpy(array) for array in arrays))


def sound_lasts(item: TokenSet) -> float:
    """For what part of a clip's pictures its sound goes on, in (0, 1]: 1 where it is a token or two short of them."""
    times = np.unique(item.video_times)
    if len(times) < 2 or len(item.audio) < 2:
        return 1.0
    pictures = (times[-1] - times[0]) + (times[-1] - times[-2])  # from centre to centre; the last step may be shorter
    tokens = float(pictures / (item.audio_times[1] - item.audio_times[0]))
    return len(item.audio) / max(len(item.audio), tokens - SPARE)


def step_places(tokens: int, cells: int) -> NDArray[np.float32]:
    """Each video token's place in the clip, in (0, 1), tokens running step by step."""
    steps = max(tokens // cells, 1)
    places: NDArray[np.float32] = ((np.arange(tokens) // cells + 0.5) / steps).astype(np.float32)
    return places


def _step_times(times: NDArray[np.float32] | None, steps: int) -> NDArray[np.float32]:
    """Frame times [T] to time steps: the mean of a step's frames (Video Swin halves time once, an odd T rounded up)."""
    if times is None:
        raise ValueError("a clip with frames needs their times")
    per_step = -(-len(times) // steps)
    return np.array([times[first : first + per_step].mean() for first in range(0, len(times), per_step)], np.float32)


def _token_set(
    pictures: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] | None,
    sounds: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    width: int,
) -> TokenSet:
    nothing = np.zeros((0, width), np.float32), np.zeros(0, np.float32)
    video, video_times, levels = pictures or (*nothing, np.zeros(0, np.uint8))
    audio, audio_times = sounds or nothing
    return TokenSet(*quantise(video), video_times, levels, *quantise(audio), audio_times)
