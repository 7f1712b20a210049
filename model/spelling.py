"""Words found by their spelling, so that a name that training never had can be found where it is said.

Attention knows no such word; its letters can be heard all the same. Sound tokens are read as letters (CTC, Graves et
al. 2006), and the query's letters are laid over them in order (`model.letters`). How well that goes lifts the fusion's
score s to `s + share heard (1 - s)`, the share set by the query: who says just these words is found whatever is seen.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.clip_tokens import ClipTokens
from model.letters import SYMBOLS, alignment_costs, heard_letters, query_letters
from model.share import QueryShare
from model.text import TextEncoding

FRAMES = 2  # places for a letter in each sound token, 40 ms each: speech has up to 17 letters a second


class SpelledScores(NamedTuple):
    """How well B queries are spelled in C clips, and how far that lifts a pair's score."""

    heard: Tensor  # [B, C], 0 to 1; 0 for a clip without sound and for a query without letters
    share: Tensor  # [B, 1]; 0 for a query without letters


class Spelling(nn.Module):
    """The letters of sound tokens, and how well a query's are among them.

    Which words of a query are said, and how far spelling counts, depends on the query. The alignment teaches these
    two; the letters are taught by CTC alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.symbols = nn.Linear(width, FRAMES * len(SYMBOLS))
        self.said = nn.Linear(width, 1)
        nn.init.zeros_(self.said.weight)
        nn.init.zeros_(self.said.bias)
        self.usual = nn.Linear(2, 1)  # half of what wrong words cost in a sound: noise is cheap for all
        with torch.no_grad():
            self.usual.weight.copy_(torch.tensor([[0.27, 0.33]]))  # by regression on drawn voices of val
            self.usual.bias.fill_(-1.03)
        self.slope = nn.Parameter(torch.tensor(3.0))
        self.offset = nn.Parameter(torch.tensor(0.4))  # between what right and best wrong words cost
        self.share = QueryShare(width)

    def letters(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of symbols [C, FRAMES * A, symbols] of sound tokens [C, A, d]; never in half precision."""
        with torch.autocast(tokens.device.type, enabled=False):
            logits: Tensor = self.symbols(tokens.to(self.symbols.weight.dtype))
            return torch.unflatten(logits, -1, (FRAMES, -1)).flatten(1, 2).log_softmax(dim=-1)

    def forward(self, text: TextEncoding, clips: ClipTokens) -> SpelledScores:
        """All B x C pairs, each by itself."""
        with torch.no_grad():
            sounds = heard_letters(self.letters(clips.audio), FRAMES * clips.audio_mask.sum(dim=1))
        usual = self.usual(sounds.room()).squeeze(-1)  # [C]
        said = torch.sigmoid(self.said(text.tokens.to(self.offset.dtype))).squeeze(-1)  # [B, N]
        rows = []
        for row, tokens in enumerate(text.spelled):
            letters = query_letters(tokens, said[row])
            if letters is None:
                rows.append(said.new_zeros(len(clips)))
            else:
                rows.append(torch.sigmoid(self.slope * (alignment_costs(letters, sounds) - usual + self.offset)))
        some = torch.tensor([[any(token.symbols for token in tokens)] for tokens in text.spelled], device=said.device)
        return SpelledScores(torch.stack(rows) * clips.audio_mask.any(dim=1), self.share(text.pooled) * some)
