"""A query's letters laid over those that are heard: dynamic time warping (Eq. 13) letter by letter.

An alignment costs what the query's letters lack against the likeliest symbols, frame by frame, under CTC's rules
(Graves et al. 2006); so much a letter for a word that is skipped; and so much for each letter heard between two words
(`Strictness`). What is heard before and after is free. So it is an edit distance between the query and a part of what
is said, as far as the ear is sure of it.
"""

import math
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SYMBOLS = "_ abcdefghijklmnopqrstuvwxyz'0123456789"  # CTC's blank, which is padding and any other character too
BLANK, SPACE = 0, 1
_SURE = math.log(0.98)  # of being no letter: of such frames in a row, one says as much as all
_NEVER = -1e4
TYPED = str.maketrans("‘’ʼ´“”„–—", "''''\"\"\"--")  # a telephone writes don’t, books and captions don't
_WHOLE = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})  # that no accent is taken off


class Strictness(NamedTuple):
    """What an alignment pays for words that are not there, and for letters between two that are: nats a letter."""

    skipped: float
    between: float


STRICT: Final = Strictness(6.0, 2.0)  # so that half a sentence is told from a whole one in noise; chosen on val


class SpelledToken(NamedTuple):
    """The letters of a text token, as places in SYMBOLS, and whether it goes on with the word before."""

    symbols: tuple[int, ...]
    goes_on: bool


def spelled(text: str) -> list[int]:
    """A text as symbols, letters without accents and strokes; what cannot be spelled is left out."""
    letters = unicodedata.normalize("NFKD", text.translate(TYPED).casefold().translate(_WHOLE))
    return [place for place in map(SYMBOLS.find, letters) if place > BLANK]


def read(log_probabilities: Tensor) -> str:
    """The likeliest symbols of one sound, [F, symbols], as they would be written down."""
    likeliest = [place for place, _ in groupby(log_probabilities.argmax(dim=-1).tolist())]
    return " ".join("".join(SYMBOLS[place] for place in likeliest if place != BLANK).split())


class QueryLetters(NamedTuple):
    """The L letters of a query's words, and how much each counts."""

    symbols: list[int]
    first: list[bool]  # whether a letter is its word's first
    weights: Tensor  # [L]

    def number(self) -> Tensor:
        """How many letters count: L where all count alike."""
        return self.weights.sum().square() / self.weights.square().sum()


def query_letters(tokens: Sequence[SpelledToken], weights: Tensor) -> QueryLetters | None:
    """The letters of a query's N tokens with a weight each [N or more]; None where none can be spelled."""
    symbols: list[int] = []
    first: list[bool] = []
    owners: list[int] = []
    for place, token in enumerate(tokens):
        begins = [not token.goes_on or not symbols, *[False] * len(token.symbols)]
        symbols += token.symbols
        first += begins[: len(token.symbols)]
        owners += [place] * len(token.symbols)
    return QueryLetters(symbols, first, weights[owners]) if symbols else None


class HeardLetters(NamedTuple):
    """The letters heard in C sounds. Times run from 0, before the first frame, to F."""

    costs: Tensor  # [symbols, C, F + 1] added up to each time: log-probability, less that of the likeliest symbol
    begun: Tensor  # [C, F + 1] letters that the likeliest symbols spell up to each time
    lengths: Tensor  # [C] frames that count
    origins: Tensor  # [C, F] which of the sound's frames each is

    def room(self) -> Tensor:
        """The logarithm of each sound's frames, [C]: words find more places in a long one."""
        return self.lengths.clamp(min=1).to(self.costs.dtype).log()


def heard_letters(log_probabilities: Tensor, lengths: Tensor) -> HeardLetters:
    """What log-probabilities [C, T, symbols], of which `lengths` [C] frames count, say; sure silence is shortened."""
    C, T, S = log_probabilities.shape
    valid = torch.arange(T, device=lengths.device) < lengths.unsqueeze(1)
    sure = (log_probabilities[..., BLANK] > _SURE) & valid
    kept = valid.clone()
    kept[:, 1:] &= ~(sure[:, 1:] & sure[:, :-1])
    lengths = kept.sum(dim=1)
    order = torch.argsort(~kept, dim=1, stable=True)[:, : max(int(lengths.max()), 1)]  # kept frames first, in order
    frames = log_probabilities.gather(1, order.unsqueeze(-1).expand(-1, -1, S))
    best, likeliest = frames.max(dim=-1)
    begins = likeliest > SPACE
    begins[:, 1:] &= likeliest[:, 1:] != likeliest[:, :-1]
    costs = (frames - best.unsqueeze(-1)).permute(2, 0, 1).contiguous()
    return HeardLetters(_added_up(costs), _added_up(begins.to(frames.dtype)), lengths, order)


def _added_up(values: Tensor) -> Tensor:
    """Values [..., F] of frames, added up to each time [..., F + 1]."""
    return F.pad(values.cumsum(dim=-1), (1, 0))


def alignment_costs(query: QueryLetters, heard: HeardLetters, strictness: Strictness = STRICT) -> Tensor:
    """The best alignment of a query with each of C sounds, [C]: nats a letter, weighed; from -skipped to 0, the best.

    Differentiable with respect to the query's weights. All times at once, letter by letter: to stay in a state costs
    what its symbol costs, so that the best time to enter it is a running maximum (`_stay`).
    """
    between = -strictness.between * query.weights.mean() * heard.begun
    letter = blank = skipped = gap = torch.zeros_like(heard.begun)  # the best in each state at each time, [C, F + 1]
    before = BLANK
    for place, (symbol, weight) in enumerate(zip(query.symbols, query.weights, strict=True)):
        if query.first[place]:
            enter, skipped = gap, gap
        else:  # a letter and the same again need a blank between
            enter = blank if symbol == before else torch.maximum(letter, blank)
        letter = _stay(enter, weight * heard.costs[symbol])
        blank = _stay(letter, weight * heard.costs[BLANK])
        skipped, before = skipped - strictness.skipped * weight, symbol
        if place + 1 == len(query.symbols) or query.first[place + 1]:
            left = torch.maximum(torch.maximum(letter, blank), skipped)
            gap = between + (left - between).cummax(dim=1).values
    times = torch.arange(gap.shape[1], device=gap.device)
    best = gap.masked_fill(times > heard.lengths.unsqueeze(1), _NEVER).amax(dim=1)
    return best / query.weights.sum()


def letter_spans(query: QueryLetters, heard: HeardLetters) -> list[tuple[int, int] | None]:
    """The first and the last of each of C sounds' frames that the alignment lays letters of a query on; None: on none.

    All letters count alike. An alignment costs the sum of its symbols' costs, so it goes through those that its
    derivative is not zero by.
    """
    with torch.inference_mode(False), torch.enable_grad():
        frames = heard.costs.diff(dim=-1).requires_grad_()
        alike = QueryLetters(query.symbols, query.first, torch.ones(len(query.symbols)))
        costs = alignment_costs(alike, heard._replace(costs=_added_up(frames)))
        (used,) = torch.autograd.grad(costs.sum(), frames)
    stands = used[SPACE + 1 :].amax(dim=0) > 0.5 * used.max()
    spans = []
    for places, origins in zip(stands, heard.origins, strict=True):
        found = origins[places].tolist()
        spans.append((found[0], found[-1]) if found else None)
    return spans


def _stay(enter: Tensor, costs: Tensor) -> Tensor:
    """The best in a state entered from those before (worth `enter`) and stayed in (at `costs`), all [C, F + 1]."""
    inside = costs[:, 1:] + (enter - costs)[:, :-1].cummax(dim=1).values
    return F.pad(inside, (1, 0), value=_NEVER)
