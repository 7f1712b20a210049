"""What the network looked at and listened to: for moments (when) and explanations (why)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.audio import TOKENS_PER_SECOND
from model.clip_tokens import ClipTokens
from model.fusion import FusionHead, PairScores
from model.order import EVIDENCE
from model.text import TextEncoding
from model.tokens import TokenSet


@dataclass(frozen=True, eq=False)
class Relevance:
    """How well each instant answers the query: `times` [M] ascending, seconds; `scores` [M], cosine-like.

    `said`: from when to when the query's words are heard, seconds; None where it is not they that a clip is found by.
    `events`: the same for each event of a query that tells an order.
    """

    times: NDArray[np.float32]
    scores: NDArray[np.float32]
    said: tuple[float, float] | None = None
    events: tuple["Relevance", ...] = ()


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where each word looked (rows sum to 1 over frames) and what it heard (exact zeros kept); and
    the letters that are heard, as far as they can be read."""

    tokens: list[str]
    frames: list[float]
    video_attention: list[list[float]]
    audio_times: list[float]
    audio_kept: list[list[float]]
    audio_alignment: list[list[float]]
    heard_as: str
    gates: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "frames": [{"t_s": time} for time in self.frames]}


def relevances(
    head: FusionHead, text: TextEncoding, clips: ClipTokens, pairs: PairScores, token_sets: list[TokenSet]
) -> list[Relevance]:
    """Score every frame and audio token of C clips against one query (text without padding, B = 1) in one pass.

    An instant's score is the token-weighted best cosine: over the frame's cells for pictures, and for sound over what
    survives the threshold and the alignment. The two are mixed by the share each modality has in the evidence.
    """
    return [_relevance(head, text, clips, pairs, place, token_set) for place, token_set in enumerate(token_sets)]


def _relevance(
    head: FusionHead, text: TextEncoding, clips: ClipTokens, pairs: PairScores, place: int, token_set: TokenSet
) -> Relevance:
    """The curve of clip number `place`."""
    weights = pairs.cls_weights[0]  # [N]
    V, A = len(token_set.video), len(token_set.audio)
    curves: list[tuple[NDArray[np.float32], NDArray[np.float32], float]] = []
    if bool(clips.video_mask[place].any()):
        query = F.normalize(head.video_text.query(text.tokens[0]), dim=-1)
        cosine = query @ F.normalize(clips.video[place, :V], dim=-1).T  # [N, V]
        times, step = np.unique(token_set.video_times, return_inverse=True)
        by_step = torch.full((len(weights), len(times)), -1.0)
        by_step = by_step.scatter_reduce(1, torch.from_numpy(step).expand(len(weights), -1), cosine, "amax")
        curves.append((times, (weights @ by_step).numpy(), _pictures(pairs, clips, place)))
    if pairs.audio_block is not None and bool(clips.audio_mask[place].any()):
        query = F.normalize(head.audio_text.query(text.tokens[0]), dim=-1)
        cosine = query @ F.normalize(clips.audio[place, :A], dim=-1).T  # [N, A]
        attended = pairs.audio_block.weights[0, place, :, :A]
        share = attended / attended.amax(dim=1, keepdim=True).clamp(min=1e-6)
        heard = (weights.unsqueeze(1) * share * cosine.clamp(min=0.0)).sum(dim=0)
        curves.append((token_set.audio_times, heard.numpy(), float(pairs.audio[0, place])))
    return _mixed(curves)


def _pictures(pairs: PairScores, clips: ClipTokens, place: int) -> float:
    """The mean of the cosines that the pictures' score sums, which is on one scale with the sound's."""
    share = 0.0 if pairs.coarse_share is None else float(pairs.coarse_share[0, 0])
    return float(pairs.video[0, place]) / (1.0 + share * bool(clips.glance[place].any()))


def said_seconds(places: tuple[int, int], token_set: TokenSet, each: int) -> tuple[float, float]:
    """From when to when a sound is at its places for letters (`each` in a token) from one to another, both included."""
    times = token_set.audio_times
    token = float(times[1] - times[0]) if len(times) > 1 else 1.0 / TOKENS_PER_SECOND
    start = float(times[0]) - token / 2
    first, last = places
    return start + first * token / each, start + (last + 1) * token / each


def _mixed(curves: list[tuple[NDArray[np.float32], NDArray[np.float32], float]]) -> Relevance:
    if not curves:
        return Relevance(np.zeros(0, np.float32), np.zeros(0, np.float32))
    grid = np.unique(np.concatenate([times for times, _, _ in curves]))
    evidence = np.array([score for _, _, score in curves]) * EVIDENCE
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    total = np.zeros(len(grid))
    for (times, scores, _), weight in zip(curves, share, strict=True):
        spread = max(float(scores.std()), 1e-4)  # a curve's shape matters here, not its level; noise has no shape
        total += weight * np.interp(grid, times, (scores - scores.mean()) / spread)
    return Relevance(grid.astype(np.float32), total.astype(np.float32))


def explain(pair: PairScores, text: TextEncoding, token_set: TokenSet, heard_as: str = "") -> Explanation:
    """Explain the score of one query (without padding) and one clip, whose sound is spelled as `heard_as`."""
    N = len(text.words[0])
    audio = pair.audio_block
    heard = len(token_set.audio) if audio is not None else 0
    times, step = np.unique(token_set.video_times, return_inverse=True)
    attention = np.zeros((N, len(times)))
    if len(times):
        np.add.at(attention.T, step, pair.video_block.weights()[0, 0, :N].numpy().T)
    gates = {"modality": _rounded(pair.gate[0, :N]), "token": _rounded(pair.cls_weights[0, :N])}
    if audio is not None:
        gates["order"] = round(float(audio.order), 4)
    if pair.coarse_share is not None:
        gates["coarse"] = round(float(pair.coarse_share), 4)
    if pair.asked is not None and float(pair.asked) < 1.0:  # of a silent clip
        gates["pictures"] = round(float(pair.asked), 4)
    if pair.led is not None:
        gates["events"] = round(float(pair.led), 4)
    if pair.spelled_share is not None:
        gates["spelled"] = round(float(pair.spelled_share), 4)
    return Explanation(
        text.words[0],
        [round(float(time), 3) for time in times],
        np.round(attention, 6).tolist(),
        [round(float(time), 3) for time in token_set.audio_times[:heard]],
        _rounded(audio.kept[0, 0, :N]) if audio is not None and heard else [[] for _ in range(N)],
        _rounded(audio.aligned[0, 0, :N]) if audio is not None and heard else [[] for _ in range(N)],
        heard_as,
        gates,
    )


def _rounded(values: Tensor) -> Any:
    """To JSON numbers; a weight that is not exactly zero never becomes zero by rounding."""
    exact = values.double().numpy()
    return np.where((exact != 0) & (abs(exact) < 1e-6), np.sign(exact) * 1e-6, np.round(exact, 6)).tolist()
