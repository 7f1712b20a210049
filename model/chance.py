"""What words cost that are not said in a sound: the level above which a query's words are found.

Sounds differ in it by more than any mean of their letters tells: fluent speech, music and noise each have something of
every word. So a few phrases that nobody asks for are laid over each sound once, when it is encoded.
"""

from typing import Final

import torch
from torch import Tensor

from model.letters import HeardLetters, SpelledToken, Strictness, alignment_costs, query_letters, spelled

# Both are stored in effect: a change of either needs a new TOKEN_FORMAT. Laid as strictly as a query, such words would
# tell how many of them are wrong, and not how well the sound is understood.
LOOSE: Final = Strictness(skipped=4.0, between=1.0)
PHRASES: Final = (
    "a letter from the capital",
    "seven grey horses",
    "the weather will change by evening",
    "put it back",
    "nobody had asked for a second opinion",
    "silver",
    "we walked along the river",
    "fresh bread and butter",
)


def chance_costs(heard: HeardLetters) -> Tensor:
    """The mean over PHRASES of what their letters cost in each of C sounds, [C]: nats a letter, as of a query."""
    words = [[SpelledToken(tuple(spelled(word)), goes_on=False) for word in phrase.split()] for phrase in PHRASES]
    queries = [query for tokens in words if (query := query_letters(tokens, torch.ones(len(tokens)))) is not None]
    costs = torch.stack([alignment_costs(query, heard, LOOSE) for query in queries])
    numbers = torch.tensor([float(len(query.symbols)) for query in queries], device=costs.device, dtype=costs.dtype)
    return numbers @ costs / numbers.sum()
