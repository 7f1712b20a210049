"""A query that tells what comes first: whether a clip shows its events in that order.

Words in a sentence know of each other, so where "first a dog barks, then a bell rings" attends tells the two hardly
apart. Asked one by one, events do: each has a centre in time, where attention finds it, and the query is right as far
as the centres follow each other (Eqs 9, 10 put the order among the words; this looks for it in the clip).
"""

import re
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import AudioTextAttention, VideoTextAttention
from model.clip_tokens import ClipTokens
from model.coarse import CoarseEncoder
from model.fusion import FusionHead
from model.text import TextEncoding, plain

SHARPNESS: Final = 20.0  # of attention over instants, for cosines
EVIDENCE: Final = 8.0  # of the cosines of pictures and sound, for which of them shows something
SHARE: Final = 0.4  # how far order leads a score; these were chosen on val (docs/training-log.md)
MOST_EVENTS: Final = 5  # of a query; each is encoded and asked by itself

_FIRST = re.compile(r"^(?:at )?first(?:ly)?(?:, | )(?!(?:aid|lady)\b)", re.IGNORECASE)
_THEN = re.compile(
    r"(?:[,;.] (?:and )?(?:(?:then|after that|afterwards|followed by|finally)\b,? )+"
    r"| and (?<!\bnow and )(?:(?:then|after that|afterwards|followed by|finally)\b,? )+"
    r"| (?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bbeing )(?<!\bbeen )(?<!\bbe )followed by "
    r"| (?<!\band )(?<!\bjust )(?<!\beven )(?<!\bback )(?<!\bwho )(?<!\bthat )(?<!\bwhich )"
    r"(?<!\bsince )(?<!\buntil )(?<!\bby )(?<!\bfrom )(?<!\bbefore )(?<!\bthe )then )",
    re.IGNORECASE,
)
_AFTER = re.compile(r"^after ((?!all\b|that\b|this\b|a while\b)[^,]+ [^,]+), (?:then )?(.+)$", re.IGNORECASE)
_NO_ORDER = re.compile(r'[":]|\b(?:say|says|said|saying|if)\b', re.IGNORECASE)


def events(text: str) -> list[str]:
    """What a query tells in order, two events or more; nothing where it tells no order, or what somebody says.

    "first A, then B", "A and then B", "A followed by B" and "after A, B" are [A, B].
    """
    text = plain(text)
    if _NO_ORDER.search(text):
        return []
    after = _AFTER.match(text)
    first, rest = after.groups() if after else ("", _FIRST.sub("", text))
    told = [part.strip(" ,;.") for part in [*filter(None, [first]), *_THEN.split(rest)]]
    return told if 2 <= len(told) <= MOST_EVENTS and all(told) else []


class Order(NamedTuple):
    """How far the order of events leads scores, each [B, C], from -1, the other way round, to 1; 0 for no events."""

    video: Tensor
    audio: Tensor
    both: Tensor  # each event in what shows it better


def event_order(fusion: FusionHead, coarse: CoarseEncoder, text: TextEncoding, clips: ClipTokens) -> Order:
    """How far each of C clips shows the events of each of B queries in order: as far as the worst pair is apart."""
    unordered = text.pooled.new_zeros(3, len(clips))
    rows = [unordered if asked is None else _apart(fusion, coarse, asked, clips) for asked in text.events]
    return Order(*(SHARE * torch.stack(rows, dim=1)))


def _apart(fusion: FusionHead, coarse: CoarseEncoder, asked: TextEncoding, clips: ClipTokens) -> Tensor:
    """Of one query's K events: the least that one comes after the one before, of the clip, [3, C]."""
    weights = fusion.token_weights(asked)
    centres = torch.stack(
        [
            _centres(fusion.video_text, asked, weights, clips.video, clips.video_mask, clips.video_places),
            _centres(fusion.audio_text, asked, weights, clips.audio, clips.audio_mask, clips.audio_places()),
        ]
    )  # [2, K, C]
    present = torch.stack([clips.video_mask.any(dim=1), clips.audio_mask.any(dim=1)]).unsqueeze(1)
    centres = centres * present  # what a clip lacks leads nowhere
    found = coarse.compare(asked, clips)
    shares = (EVIDENCE * torch.stack([found.video, found.audio])).masked_fill(~present, -1e4).softmax(dim=0)
    both = (shares * centres).sum(dim=0, keepdim=True)
    return torch.cat([centres, both]).diff(dim=1).amin(dim=1)


def _centres(
    head: VideoTextAttention | AudioTextAttention,
    asked: TextEncoding,
    weights: Tensor,
    tokens: Tensor,
    mask: Tensor,
    places: Tensor,
) -> Tensor:
    """Where in each of C clips K events are, [K, C]: their words' mean attention to places [C, T] in time, 0 to 1."""
    queries = F.normalize(head.query(asked.tokens), dim=-1)
    cosines = torch.einsum("knd,ctd->knct", queries, F.normalize(tokens, dim=-1))
    attention = (SHARPNESS * cosines).masked_fill(~mask, -1e4).softmax(dim=-1)
    at: Tensor = torch.einsum("kn,knct,ct->kc", weights, attention, places)
    return at
