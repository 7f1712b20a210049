"""A query's letters laid over those that are heard: dynamic time warping (Eq. 13) letter by letter.

An alignment costs what the query's letters lack against the likeliest symbols, frame by frame, under CTC's rules
(Graves et al. 2006); so much a letter for a word that is skipped (`SKIPPED`); and so much for each letter heard between
two words (`BETWEEN`). What is heard before and after is free. So it is an edit distance between the query and a part
of what is said, as far as the ear is sure of it.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

SYMBOLS = "_ abcdefghijklmnopqrstuvwxyz'0123456789"  # CTC's blank, which is padding and any other character too
BLANK, SPACE, LETTERS = 0, 1, slice(2, 28)
SKIPPED, BETWEEN = 4.0, 1.0  # nats a letter; chosen on drawn voices of val (docs/training-log.md)
_SURE = math.log(0.98)  # of being no letter: of such frames in a row, one says as much as all
_NEVER = -1e4


class SpelledToken(NamedTuple):
    """The letters of a text token, as places in SYMBOLS, and whether it goes on with the word before."""

    symbols: tuple[int, ...]
    goes_on: bool


def spelled(text: str) -> list[int]:
    """A text as symbols; what cannot be spelled is left out."""
    return [place for place in (SYMBOLS.find(letter) for letter in text.lower()) if place > BLANK]


def read(log_probabilities: Tensor) -> str:
    """The likeliest symbols of one sound, [F, symbols], as they would be written down."""
    likeliest = [place for place, _ in groupby(log_probabilities.argmax(dim=-1).tolist())]
    return " ".join("".join(SYMBOLS[place] for place in likeliest if place != BLANK).split())


class QueryLetters(NamedTuple):
    """L letters of n words, and how much each counts."""

    symbols: Tensor  # [L]
    words: Tensor  # [L] the word of each letter
    first: Tensor  # [L] whether it is its word's first
    last: Tensor  # [n] the place of each word's last letter
    weights: Tensor  # [L]


def query_letters(tokens: Sequence[SpelledToken], weights: Tensor) -> QueryLetters | None:
    """The letters of a query's N tokens with a weight each [N or more]; None where none can be spelled."""
    symbols: list[int] = []
    words: list[int] = []
    owners: list[int] = []
    word = -1
    for place, token in enumerate(tokens):
        if not token.symbols:
            continue
        word += 0 if token.goes_on and word >= 0 else 1
        symbols += token.symbols
        words += [word] * len(token.symbols)
        owners += [place] * len(token.symbols)
    if not symbols:
        return None
    of = torch.tensor(words, device=weights.device)
    first = torch.ones_like(of, dtype=torch.bool)
    first[1:] = of[1:] != of[:-1]
    last = torch.cat([first[1:].nonzero().flatten(), of.new_tensor([len(of) - 1])])
    return QueryLetters(torch.tensor(symbols, device=of.device), of, first, last, weights[owners])


class HeardLetters(NamedTuple):
    """The letters heard in C sounds."""

    costs: Tensor  # [C, F, symbols] log-probabilities, less that of the likeliest symbol of the frame
    begins: Tensor  # [C, F] 1 where a letter other than the frame's before is the likeliest symbol
    lengths: Tensor  # [C] frames that count

    def room(self) -> Tensor:
        """How easily any words are found in each sound, [C, 2]: what a letter costs on average, and log frames."""
        counted = torch.arange(self.costs.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(1)
        frames = self.lengths.clamp(min=1).to(self.costs.dtype)
        of_a_letter = self.costs[..., LETTERS].mean(dim=-1) * counted
        return torch.stack([of_a_letter.sum(dim=1) / frames, frames.log()], dim=1)


def heard_letters(log_probabilities: Tensor, lengths: Tensor) -> HeardLetters:
    """What log-probabilities [C, F, symbols], of which `lengths` [C] frames count, say; sure silence is shortened."""
    C, F, S = log_probabilities.shape
    valid = torch.arange(F, device=lengths.device) < lengths.unsqueeze(1)
    sure = (log_probabilities[..., BLANK] > _SURE) & valid
    kept = valid.clone()
    kept[:, 1:] &= ~(sure[:, 1:] & sure[:, :-1])
    lengths = kept.sum(dim=1)
    order = torch.argsort(~kept, dim=1, stable=True)[:, : max(int(lengths.max()), 1)]  # kept frames first, in order
    frames = log_probabilities.gather(1, order.unsqueeze(-1).expand(-1, -1, S))
    best, likeliest = frames.max(dim=-1)
    begins = likeliest > SPACE
    begins[:, 1:] &= likeliest[:, 1:] != likeliest[:, :-1]
    return HeardLetters(frames - best.unsqueeze(-1), begins.to(frames.dtype), lengths)


def alignment_costs(query: QueryLetters, heard: HeardLetters) -> Tensor:
    """The best alignment of a query with each of C sounds, [C]: nats a letter, weighed; from -SKIPPED to 0, the best.

    Differentiable with respect to the query's weights.
    """
    C, F, _ = heard.costs.shape
    letter = heard.costs[:, :, query.symbols] * query.weights  # [C, F, L]
    blank = heard.costs[:, :, BLANK, None] * query.weights
    between = BETWEEN * query.weights.mean() * heard.begins.unsqueeze(-1)
    by_word = query.weights.new_zeros(len(query.last)).index_add(0, query.words, query.weights)
    skipped = SKIPPED * torch.cat([by_word.new_zeros(1), by_word.cumsum(dim=0)])  # [n + 1] cost of all words so far
    twice = torch.zeros_like(query.first)
    twice[1:] = query.symbols[1:] == query.symbols[:-1]  # a letter and the same again need a blank between
    barred = torch.zeros_like(query.weights).masked_fill(twice, _NEVER)
    free = letter.new_zeros(C, 1)
    on_letter = on_blank = letter.new_full((C, len(query.symbols)), _NEVER)
    gap = (-skipped).expand(C, -1)  # best so far with the first 0 to n words behind
    best = gap[:, -1]
    for frame in range(F):
        before = torch.maximum(on_letter.roll(1, dims=1) + barred, on_blank.roll(1, dims=1))
        enter = torch.where(query.first, gap[:, query.words], before)
        on_letter, on_blank = (
            letter[:, frame] + torch.maximum(on_letter, enter),
            blank[:, frame] + torch.maximum(on_blank, on_letter),
        )
        ends = torch.maximum(on_letter, on_blank)[:, query.last]
        gap = torch.cat([free, torch.maximum(gap[:, 1:] - between[:, frame], ends)], dim=1)
        gap = (gap + skipped).cummax(dim=1).values - skipped  # words that are skipped now
        best = torch.where(frame < heard.lengths, torch.maximum(best, gap[:, -1]), best)
    return best / query.weights.sum()
