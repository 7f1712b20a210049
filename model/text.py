"""Text encoder, Eqs 2, 9, 10: E_T = TGN(RoBERTa(t)), with a character branch for spelling.

The query path loads this module, so its RoBERTa layers are our own (equal to transformers' RobertaModel in a test) and
it needs `tokenizers` alone. English only.
"""

import unicodedata
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from model.config import ConfigError, TextConfig
from model.graph import TemporalGraphNetwork
from model.letters import BLANK, SPACE, SYMBOLS, TYPED, SpelledToken, spelled


@dataclass(frozen=True)
class TextEncoding:
    """B encoded queries. The valid tokens of a row come first."""

    tokens: Tensor  # [B, N, d]
    mask: Tensor  # [B, N]
    pooled: Tensor  # [B, d]
    gist: Tensor  # [B, hidden] the mean of RoBERTa's states, which knows more words than captions teach
    words: list[list[str]]
    unknown: list[list[str]]
    understood: list[bool]
    spelled: list[list[SpelledToken]]
    events: list["TextEncoding | None"] = field(default_factory=list)  # of queries that tell an order: `model.order`

    def row(self, index: int) -> "TextEncoding":
        """The single query `index`, without padding; a query without tokens keeps one that the mask hides."""
        n = max(int(self.mask[index].sum()), 1)
        return TextEncoding(
            self.tokens[index : index + 1, :n],
            self.mask[index : index + 1, :n],
            self.pooled[index : index + 1],
            self.gist[index : index + 1],
            [self.words[index]],
            [self.unknown[index]],
            [self.understood[index]],
            self.spelled[index : index + 1],
            self.events[index : index + 1],
        )


class RobertaEmbeddings(nn.Module):
    """Word, position and type embeddings; positions start after the padding index, as in RobertaModel."""

    def __init__(self, config: TextConfig, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden)
        self.position_embeddings = nn.Embedding(config.max_positions, config.hidden)
        self.token_type_embeddings = nn.Embedding(1, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        B, N = ids.shape
        positions = mask.long().cumsum(dim=1) * mask + self.pad_id
        embedded = (
            self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + self.position_embeddings(positions)
        )
        normed: Tensor = self.LayerNorm(embedded)
        return normed


class RobertaLayer(nn.Module):
    """One post-norm transformer layer of BERT and RoBERTa."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, self.heads = config.hidden, config.heads
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.attention_out = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(hidden, config.intermediate)
        self.output = nn.Linear(config.intermediate, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, N, hidden = x.shape
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.attention_norm(x + self.attention_out(attended.transpose(1, 2).flatten(2)))
        normed: Tensor = self.output_norm(x + self.output(F.gelu(self.intermediate(x))))
        return normed


_GATE_RATE = 10.0  # how much faster than other weights the gate opens: words are spelled before they are heard


class CharacterBranch(nn.Module):
    """Spelling beside meaning: convolutions over the sentence's characters, averaged over each token's span.

    Its output enters through a gate that starts at zero, so that the first step is the plain RoBERTa state.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.char_width
        self.embedding = nn.Embedding(len(SYMBOLS), width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(2))
        self.out = nn.Linear(width, config.hidden)
        self.gate = nn.Parameter(torch.zeros(config.hidden))

    def forward(self, characters: Tensor, spans: Tensor) -> Tensor:
        """Character ids [B, S] and token spans [B, N, S] (rows sum to 1 or 0) to [B, N, hidden]."""
        present = (characters > 0).unsqueeze(1)
        x = self.embedding(characters).transpose(1, 2) * present  # what padding would leak through the kernel
        for convolution in self.convolutions:
            x = (x + F.gelu(convolution(x))) * present
        gated: Tensor = _GATE_RATE * self.gate * self.out(spans.to(x.dtype) @ x.transpose(1, 2))
        return gated


class TextEncoder(nn.Module):
    """Queries to text tokens E_T [B, N, d] and a pooled vector t [B, d]."""

    def __init__(self, config: TextConfig, width: int, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        pad_token, pad_id = _special_token(tokenizer, "<pad>", "[PAD]")
        _, self.unknown_id = _special_token(tokenizer, "<unk>", "[UNK]")
        tokenizer.enable_truncation(config.max_tokens)
        tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token)
        self.embeddings = RobertaEmbeddings(config, pad_id)
        self.layers = nn.ModuleList(RobertaLayer(config) for _ in range(config.layers))
        self.characters = CharacterBranch(config)
        self.project = nn.Linear(config.hidden, width)
        self.norm = nn.LayerNorm(width)
        self.graph = TemporalGraphNetwork(config, width)
        self.pool_score = nn.Linear(width, 1)
        nn.init.zeros_(self.pool_score.weight)
        self.pool_out = nn.Linear(width, width)
        nn.init.eye_(self.pool_out.weight)
        nn.init.zeros_(self.pool_out.bias)

    def contextual(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Eq. 9: RoBERTa's last hidden states [B, N, hidden]."""
        x: Tensor = self.embeddings(ids, mask)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def forward(self, texts: list[str]) -> TextEncoding:
        counted = [self.without_signs(plain(text)) for text in texts]
        texts = [text for text, _ in counted]
        encodings = self.tokenizer.encode_batch(texts)
        device = self.embeddings.word_embeddings.weight.device
        ids = torch.tensor([encoding.ids for encoding in encodings], device=device)
        present = torch.tensor([encoding.attention_mask for encoding in encodings], device=device).bool()
        state = self.contextual(ids, present)
        gist = (state * present.unsqueeze(-1)).sum(dim=1) / present.sum(dim=1, keepdim=True)
        state = state + self.characters(*(part.to(device) for part in character_spans(texts, encodings)))
        nodes = self.norm(self.project(state))
        nodes = self.graph(nodes, present)  # Eqs 2, 10
        # the first token ([CLS]) was the graph's global node; special tokens are not words
        special = torch.tensor([encoding.special_tokens_mask for encoding in encodings], device=device).bool()
        tokens, mask = nodes[:, 1:], (present & ~special)[:, 1:]
        n = max(int(mask.sum(dim=1).max()), 1)
        tokens, mask = tokens[:, :n], mask[:, :n]
        words = self.words(texts, encodings, [left_out for _, left_out in counted])
        spelling = [spelled_tokens(*both) for both in zip(texts, encodings, strict=True)]
        return TextEncoding(tokens, mask, self.pool(tokens, mask), gist, *words, spelling)

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The query vector t [B, d]: an attention-weighted mean of the tokens."""
        scores = self.pool_score(tokens).squeeze(-1).masked_fill(~mask, -1e4)
        weights = scores.softmax(dim=1) * mask
        pooled: Tensor = self.pool_out((weights.unsqueeze(-1) * tokens).sum(dim=1))
        return pooled

    def without_signs(self, text: str) -> tuple[str, list[str]]:
        """A text without what is neither in the vocabulary nor has letters that could be heard, and that: an emoji or
        a word of another script would only blur the others."""
        text, left_out = parted(text)
        while True:  # what is left out makes room for words that were beyond the longest query
            encoding = self.tokenizer.encode(text)
            spans = [encoding.offsets[place] for place, word in enumerate(encoding.ids) if word == self.unknown_id]
            signs = [(start, end) for start, end in spans if end > start and not letters_of(text[start:end])]
            if not signs:
                return text, left_out
            left_out += [text[start:end] for start, end in signs]
            for start, end in reversed(signs):
                text = f"{text[:start]} {text[end:]}"
            text = plain(text)

    def words(
        self, texts: list[str], encodings: list[Encoding], left_out: list[list[str]]
    ) -> tuple[list[list[str]], list[list[str]], list[bool]]:
        """Each query's tokens as written; what did not count; and whether any token can be understood.

        What was `left_out` does not count, nor do words after the last token that a query may have; of other words that
        are not in the vocabulary letters alone count.
        """
        words, unknown, understood = [], [], []
        for text, encoding, signs in zip(texts, encodings, left_out, strict=True):
            real = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
            written = [text[slice(*encoding.offsets[place])] for place in real]
            known = [encoding.ids[place] != self.unknown_id for place in real]
            cut_off = text[max(end for _, end in encoding.offsets) :].split() if encoding.overflowing else []
            words.append(written)
            strange = [word for word, is_known in zip(written, known, strict=True) if not is_known]
            unknown.append(signs + strange + cut_off)
            understood.append(
                any(ok and any(c.isalnum() for c in word) for word, ok in zip(written, known, strict=True))
            )
        return words, unknown, understood


def plain(text: str) -> str:
    """A text as the vocabulary has it: composed letters, a typewriter's quotes and dashes, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).translate(TYPED).split())


def parted(text: str) -> tuple[str, list[str]]:
    """A text without its signs (emoji, currencies, arrows), and these; a word beside one stays."""
    runs = [(sign, "".join(run)) for sign, run in groupby(text, _is_sign)]
    signs = [run for sign, run in runs if sign and any(map(_is_symbol, run))]
    return plain("".join(" " if sign else run for sign, run in runs)), signs


def _is_sign(character: str) -> bool:
    return _is_symbol(character) or character in "\u200d\u20e3\ufe0e\ufe0f"  # what joins and colours emoji


def _is_symbol(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character)[0] == "S"


def character_spans(texts: list[str], encodings: list[Encoding]) -> tuple[Tensor, Tensor]:
    """Character ids [B, S] and, for each token, equal weights over its characters [B, N, S]."""
    B, N = len(texts), len(encodings[0].ids)
    ends = [max(end for _, end in encoding.offsets) for encoding in encodings]  # text cut off is not spelled either
    S = max(1, *ends)
    ids, spans = torch.zeros(B, S, dtype=torch.long), torch.zeros(B, N, S)
    for row, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
        # one symbol a character, as offsets count
        symbols = [next(iter(spelled(character)), BLANK) for character in text[: ends[row]]]
        ids[row, : len(symbols)] = torch.tensor(symbols, dtype=torch.long)
        for place, (start, end) in enumerate(encoding.offsets):
            if end > start:
                spans[row, place, start:end] = 1.0 / (end - start)
    return ids, spans


def letters_of(word: str) -> tuple[int, ...]:
    """The letters of a word as they are heard; none of a sign, or of another script."""
    return tuple(place for place in spelled(word) if place > SPACE)


def spelled_tokens(text: str, encoding: Encoding) -> list[SpelledToken]:
    """The letters of each token that is no special one; a piece goes on with the word where no space is between."""
    places = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    spans = [encoding.offsets[place] for place in places]
    before = [0, *(end for _, end in spans)]
    return [
        SpelledToken(letters_of(text[start:end]), 0 < start == last)
        for (start, end), last in zip(spans, before, strict=False)
    ]


def _special_token(tokenizer: Tokenizer, *names: str) -> tuple[str, int]:
    for name in names:
        number = tokenizer.token_to_id(name)
        if number is not None:
            return name, number
    raise ConfigError(f"the tokenizer has no token {' or '.join(names)}.", "Restore tokenizer.json from its source.")


def load_tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
