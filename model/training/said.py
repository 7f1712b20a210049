"""Which words of a query are said: taught by queries that were put together, so that it is known."""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.text import TextEncoding

Pieces = tuple[str, ...]


def said_loss(gate: nn.Module, text: TextEncoding, said: Sequence[Pieces | None]) -> Tensor:
    """Cross-entropy of a gate of text tokens over the queries of which it is known what of them is said.

    The text encoder learns nothing from it: it has the retrieval to learn from.
    """
    marks = {row: said_tokens(text.words[row], pieces) for row, pieces in enumerate(said) if pieces is not None}
    rows = [row for row, marked in marks.items() if any(marked)]  # of a query cut short the pieces may be gone
    if not rows:
        return text.tokens.sum() * 0.0
    logits: Tensor = gate(text.tokens[rows].detach()).squeeze(-1)
    truth = torch.zeros_like(logits)
    for place, row in enumerate(rows):
        truth[place, : len(marks[row])] = torch.tensor(marks[row])
    return F.binary_cross_entropy_with_logits(logits, truth, weight=text.mask[rows].to(logits.dtype))


def said_tokens(words: Sequence[str], pieces: Pieces) -> list[float]:
    """1 for each token of a query, as written, that belongs to one of the pieces, else 0."""
    letters = "".join(words).lower()
    sought = ["".join(piece.lower().split()).rstrip(".") for piece in pieces]
    starts = [letters.find(piece) for piece in sought]
    spans = [(start, start + len(piece)) for start, piece in zip(starts, sought, strict=True) if start >= 0]
    ends = list(accumulate(map(len, words)))
    return [
        float(any(start <= end - len(word) and end <= stop for start, stop in spans))
        for word, end in zip(words, ends, strict=True)
    ]
