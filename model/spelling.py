"""Words found by their spelling, so that a name that training never had can be found where it is said.

Attention knows no such word; its letters can be heard all the same. Sound tokens are read as letters (CTC, Graves et
al. 2006), and the query's letters are laid over them in order (`model.letters`). How well that goes lifts the fusion's
score s to `1 - (1 - s) (1 - share heard)^2`, the share set by the query: who says just these words is found whatever
is seen.
"""

from itertools import compress
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from model.chance import chance_costs
from model.clip_tokens import ClipTokens
from model.letters import (
    SYMBOLS,
    HeardLetters,
    QueryLetters,
    alignment_costs,
    heard_letters,
    letter_spans,
    query_letters,
    read,
)
from model.share import QueryShare
from model.text import TextEncoding

FRAMES = 2  # places for a letter in each sound token, 40 ms each: speech has up to 17 letters a second

CLEARLY = 0.5  # of the surest word: what is less said than that is not said
# Chosen on val (docs/training-log.md): speech in noise is found, and other words hardly ever lift what is seen. Costs
# spread by 1 / sqrt(letters of the query); hence the unit of the first bar.
BEYOND = 5.0  # words count half so many nats a letter above chance, over sqrt(letters)
# And half where it lacks, in all, 2.4 nats a letter less 18 nats; 0.7 nats a letter where that is more, for names.
LACKING, LESS_IN_ALL, AT_LEAST = 2.4, 18.0, 0.7
FORGIVEN = 2.0  # nats a letter of words that nobody says: they have to be skipped
STEEPLY = 3.0  # times as steep there as above chance
KEENNESS = 0.1  # a nat a letter: what is heard worse counts that much less, where all of a query is said


class Usual(NamedTuple):
    """What words cost that are not said, laid as loosely as `chance.LOOSE`, nats a letter: the level to beat.

    A regression on drawn voices and real clips of val. Laid strictly such words cost more, by how many are wrong: a
    level from that tells clear speech from noise less well.
    """

    chance: float = 0.883  # of the sound's own chance
    frames: float = 0.097  # of the logarithm of its frames
    few: float = 3.649  # of 1 / sqrt(letters of the query)
    always: float = -1.62

    def level(self, chance: Tensor, sounds: HeardLetters) -> Tensor:
        """The level in each of C sounds with these costs of chance [C], [C]; `few` comes by the query."""
        return self.chance * chance + self.frames * sounds.room() + self.always


USUAL: Final = Usual()


class SpelledScores(NamedTuple):
    """How well B queries are spelled in C clips, and how far that lifts a pair's score."""

    heard: Tensor  # [B, C], 0 to 1; 0 for a clip without sound and for a query without letters
    share: Tensor  # [B, 1]; 0 for a query without letters


class Spelling(nn.Module):
    """The letters of sound tokens, and how well a query's are among them.

    The letters are taught by CTC alone; which words of a query are said, by queries of which that is known
    (`model.training.said`); how far spelling counts, on held-out pairs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.symbols = nn.Linear(width, FRAMES * len(SYMBOLS))
        self.said = nn.Linear(width, 1)
        nn.init.zeros_(self.said.weight)
        nn.init.zeros_(self.said.bias)
        self.share = QueryShare(width, start=0.9)

    def letters(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of symbols [C, FRAMES * A, symbols] of sound tokens [C, A, d]; never in half precision."""
        with torch.autocast(tokens.device.type, enabled=False):
            logits: Tensor = self.symbols(tokens.to(self.symbols.weight.dtype))
            return torch.unflatten(logits, -1, (FRAMES, -1)).flatten(1, 2).log_softmax(dim=-1)

    def sounds(self, clips: ClipTokens) -> HeardLetters:
        """The letters heard in C clips."""
        return heard_letters(self.letters(clips.audio), _frames(clips))

    def chance(self, clips: ClipTokens) -> Tensor:
        """What words cost that are not said in each of C clips, [C] (`model.chance`)."""
        return chance_costs(self.sounds(clips))

    def readings(self, clips: ClipTokens) -> list[str]:
        """The likeliest letters of each of C clips, as they would be written; nothing where nothing is said."""
        letters = self.letters(clips.audio)
        return [read(sound[:frames]) for sound, frames in zip(letters, _frames(clips).tolist(), strict=True)]

    def said_shares(self, text: TextEncoding) -> Tensor:
        """How far each token of B queries is said, [B, N], 0 to 1."""
        return torch.sigmoid(self.said(text.tokens.to(self.said.weight.dtype))).squeeze(-1)

    def said_words(self, text: TextEncoding, row: int) -> QueryLetters | None:
        """Those words of query `row` that are said; None where none can be spelled."""
        query = query_letters(text.spelled[row], self.said_shares(text)[row])
        if query is None:
            return None
        said = clearly_said(query)
        kept = said.tolist()
        return QueryLetters(list(compress(query.symbols, kept)), list(compress(query.first, kept)), query.weights[said])

    def said_letters(self, text: TextEncoding, row: int) -> str:
        """The letters of those words of query `row` that are said, without spaces: what readings are searched for."""
        query = self.said_words(text, row)
        return "" if query is None else "".join(SYMBOLS[symbol] for symbol in query.symbols)

    def said_spans(self, text: TextEncoding, row: int, clips: ClipTokens) -> list[tuple[int, int] | None]:
        """From which to which of its places for letters each of C clips says the words of query `row`."""
        query = self.said_words(text, row)
        return [None] * len(clips) if query is None else letter_spans(query, self.sounds(clips))

    def forward(self, text: TextEncoding, clips: ClipTokens) -> SpelledScores:
        """All B x C pairs, each by itself."""
        with torch.no_grad():
            sounds = self.sounds(clips)
            chance = clips.chance if bool(clips.chance.isfinite().all()) else chance_costs(sounds)
            level = USUAL.level(chance, sounds)
        said = self.said_shares(text)
        queries = [query_letters(tokens, weights) for tokens, weights in zip(text.spelled, said, strict=True)]
        rows = [said.new_zeros(len(clips)) if query is None else heard(query, sounds, level) for query in queries]
        some = torch.tensor([[query is not None] for query in queries], device=said.device)
        return SpelledScores(torch.stack(rows) * clips.audio_mask.any(dim=1), self.share(text.pooled) * some)


def _frames(clips: ClipTokens) -> Tensor:
    """Places for letters that count in each of C clips, [C]."""
    return FRAMES * clips.audio_mask.sum(dim=1)


def clearly_said(query: QueryLetters) -> Tensor:
    """Whether each of the L letters of a query is of a word that is said, [L]."""
    words = torch.tensor(query.first, device=query.weights.device).cumsum(dim=0) - 1
    clearest = query.weights.new_zeros(len(words)).scatter_reduce(0, words, query.weights, "amax")
    return (clearest >= CLEARLY * clearest.max())[words]


def heard(query: QueryLetters, sounds: HeardLetters, level: Tensor) -> Tensor:
    """How far a query's alignment with each of C sounds shows that it is said, [C], 0 to 1.

    It has to beat `level` [C], what chance costs in each. Any words are found more easily in noise, in a long sound,
    and if they are few; what wrong words cost spreads by 1 / sqrt(letters). So the same multiple of that counts alike
    in every pair. And it has to be good in itself: clear speech that shares half its words with the query beats chance
    by as much as the query itself does in noise. That is steep, and words that nobody says count little against it, so
    that six who say the same all pass. What may be lacking is of all letters together: by the mean, a sound that is
    asked for in two words is found in anybody's talk.

    A sentence and one that differs in a word both count as heard. The one that fits better counts more, by how much of
    the query is said: who says a sentence, its letters do not tell.
    """
    letters, costs = query.number(), alignment_costs(query, sounds)
    sharpness = letters.sqrt()
    found = torch.sigmoid(sharpness * (costs - level) - USUAL.few - BEYOND)
    unsaid = (query.weights * ~clearly_said(query)).sum() / query.weights.sum()
    allowed = (LACKING - LESS_IN_ALL / letters).clamp(min=AT_LEAST)
    understood = torch.sigmoid(STEEPLY * sharpness * (costs + FORGIVEN * unsaid + allowed))
    said = (query.weights.mean() / query.weights.max()).square()
    return found * understood * (1 + KEENNESS * said * costs)
