"""The text encoder: RoBERTa to the last digit, a graph and a spelling branch that start as nothing, own words alone."""

import pytest
import torch
from torch import Tensor

from model.config import ConfigError, RetrieverConfig, TextConfig
from model.graph import (
    BACKWARD,
    CONTEXT,
    FORWARD,
    FROM_GLOBAL,
    NONE,
    SELF,
    TO_GLOBAL,
    TemporalGraphNetwork,
    typed_edges,
)
from model.letters import SYMBOLS
from model.retriever import Retriever
from model.text import TextEncoder, character_spans
from model.training.start import load_roberta, tiny_tokenizer
from tests.model.samples import TEXTS, WIDTH, fresh_tiny, scramble, tiny


def unscrambled() -> Retriever:
    return Retriever.from_preset("tiny", seed=3)


@pytest.mark.parametrize("pad_id", [0, 1])
def test_our_layers_equal_roberta(pad_id: int) -> None:
    from transformers import RobertaConfig, RobertaModel

    shape = RobertaConfig(
        vocab_size=512, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=70, type_vocab_size=2, layer_norm_eps=1e-5, pad_token_id=pad_id,
    )  # fmt: skip
    theirs = scramble(RobertaModel(shape, add_pooling_layer=False)).eval()
    ours = TextEncoder(TextConfig(512, 48, 3, 4, 96, 70, 64, layer_norm_eps=1e-5), WIDTH, tiny_tokenizer(512)).eval()
    ours.embeddings.pad_id = pad_id
    state = {name: value for name, value in theirs.state_dict().items() if "_ids" not in name}
    load_roberta(ours, state)
    ids = torch.randint(2, 512, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12) < torch.tensor([12, 5, 8]).unsqueeze(1)
    ids = ids.masked_fill(~mask, pad_id)
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(ours.contextual(ids, mask)[mask], expected[mask], rtol=0, atol=1e-6)


def test_weights_that_do_not_fit_are_refused() -> None:
    from model.checkpoint import CheckpointError

    with pytest.raises(CheckpointError, match="do not fit"):
        load_roberta(unscrambled().text, {})


def test_the_graph_starts_as_identity_and_does_not_stay_so() -> None:
    encoder = unscrambled().text
    nodes = torch.randn(2, 7, WIDTH)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    assert torch.equal(encoder.graph(nodes, mask), nodes)
    assert not torch.allclose(tiny().text.graph(nodes, mask)[mask], nodes[mask])


def test_the_spelling_branch_starts_at_zero_and_learns_from_the_first_step() -> None:
    encoder = unscrambled().text
    spelled = encoder.characters(*character_spans(TEXTS, encoder.tokenizer.encode_batch(TEXTS)))
    assert float(spelled.detach().abs().sum()) == 0.0
    spelled.sum().backward()
    assert float(encoder.characters.gate.grad.abs().sum()) > 0.0


def test_spelling_tells_words_apart_that_the_vocabulary_does_not() -> None:
    encoder = tiny().text
    spelled = encoder.characters(*character_spans(["xylo", "xyla"], encoder.tokenizer.encode_batch(["xylo", "xyla"])))
    assert float((spelled[0] - spelled[1]).abs().max()) > 1e-3


def test_characters_are_counted_as_offsets_count_them() -> None:
    texts = ["İs a dog", "dog"]  # İ becomes two characters in lower case
    ids, spans = character_spans(texts, tiny().text.tokenizer.encode_batch(texts))
    assert ids.shape == (2, 8) and ids[0, 5:].tolist() == [SYMBOLS.index(c) for c in "dog"]
    assert int((ids[1] > 0).sum()) == 3
    assert set(spans.sum(dim=2).round(decimals=5).unique().tolist()) == {0.0, 1.0}


def test_a_text_does_not_depend_on_its_batch() -> None:
    texts = [*TEXTS, " cat  ", "東京", "", "very " * 100 + "dog", "A RED DOG!"]
    together = tiny().encode_text(texts)
    for row, text in enumerate(texts):
        alone = tiny().encode_text([text])
        n = int(alone.mask.sum())
        assert int(together.mask[row].sum()) == n
        torch.testing.assert_close(together.tokens[row, :n], alone.tokens[0, :n], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.gist[row], alone.gist[0], rtol=0, atol=1e-5)
    assert not torch.allclose(together.pooled[0], together.pooled[1])
    assert not torch.allclose(together.gist[0], together.gist[1])


def test_case_and_spaces_around_do_not_matter() -> None:
    pooled = tiny().encode_text(["a red dog", "  A Red DOG "]).pooled
    torch.testing.assert_close(pooled[0], pooled[1], rtol=0, atol=1e-5)


def test_how_a_text_is_typed_does_not_matter() -> None:
    plain = tiny().encode_text(['"don\'t go"'])
    for typed in (tiny().encode_text([text]) for text in ("“don’t\u00a0go”", "“don´t go”")):
        torch.testing.assert_close(typed.tokens, plain.tokens)
        assert typed.words == plain.words and typed.unknown == plain.unknown
    composed, apart = (tiny().encode_text([text]) for text in ("a caf\u00e9", "a cafe\u0301"))
    torch.testing.assert_close(composed.tokens, apart.tokens)


def test_letters_are_heard_without_their_accents() -> None:
    for text, letters in (
        ("Zürich café", "zurichcafe"),
        ("Dvořák", "dvorak"),
        ("Straße", "strasse"),
        ("Łódź", "lodz"),
        ("don’t", "don't"),
    ):
        (tokens,) = tiny().encode_text([text]).spelled
        assert "".join(SYMBOLS[place] for token in tokens for place in token.symbols) == letters


def test_words_unknown_words_and_understanding() -> None:
    found = tiny().encode_text(["a red dog", "犬が走る", "dog 犬", "?!", "", "x" * 120])
    assert found.words[0] == ["a", "red", "dog"] and found.unknown[0] == []
    assert found.unknown[1] == ["犬", "が走る"] or "".join(found.unknown[1]) == "犬が走る"
    assert found.unknown[2] == ["犬"]
    assert found.understood[:5] == [True, False, True, False, False]
    assert found.mask.sum(dim=1).tolist() == [len(words) for words in found.words]


@pytest.mark.parametrize(
    "text",
    [
        "a red dog😂", "犬 a red dog", "a red 日本 dog ✨✨", "\u2764\ufe0f a red dog",
        "a \U0001f469\u200d\U0001f692 red dog",
    ],
)  # fmt: skip
def test_a_sign_changes_nothing_but_is_named(text: str) -> None:
    """Nor does it take the place of a word."""
    asked, alone = tiny().encode_text([text]), tiny().encode_text(["a red dog"])
    assert asked.words == alone.words and asked.unknown[0]
    for part in ("tokens", "pooled", "gist"):
        torch.testing.assert_close(getattr(asked, part), getattr(alone, part))
    longest = tiny().text.config.max_tokens - 2
    assert tiny().encode_text(["😂 " * longest + "dog"]).words == [["dog"]]


def test_words_beyond_the_longest_query_are_named() -> None:
    longest = tiny().text.config.max_tokens - 2  # [CLS] and [SEP] have a place too
    found = tiny().encode_text(["dog " * longest, "dog " * longest + "a red cat"])
    assert found.unknown == [[], ["a", "red", "cat"]]
    assert len(found.words[1]) == longest


def test_a_row_is_the_query_without_padding() -> None:
    texts = tiny().encode_text([*TEXTS, ""])
    for row in range(3):
        alone = texts.row(row)
        assert bool(alone.mask.all()) and alone.tokens.shape[1] == len(texts.words[row])
    empty = texts.row(3)
    assert empty.tokens.shape[1] == 1 and not bool(empty.mask.any()) and float(empty.pooled.abs().max()) < 10.0


def test_long_texts_are_cut_to_the_tokens_that_positions_exist_for() -> None:
    encoded = tiny().encode_text(["dog " * 200])
    assert encoded.tokens.shape[1] == tiny().config.text.max_tokens - 2
    assert bool(encoded.tokens.isfinite().all())


def edges(nodes: Tensor, length: int) -> list[list[int]]:
    mask = torch.arange(nodes.shape[0]) < length
    return typed_edges(nodes.unsqueeze(0), mask.unsqueeze(0), window=1, neighbours=1)[0].tolist()


def test_edges_are_typed_and_padding_has_none() -> None:
    nodes = torch.eye(6)
    nodes[5, 1] = 5.0  # padding, most like node 1: must not be chosen
    nodes[4, 1] = 0.9  # node 1's nearest beyond its window
    found = edges(nodes, 5)
    assert found[1] == [FROM_GLOBAL, SELF, FORWARD, NONE, CONTEXT, NONE]
    assert found[0] == [SELF, TO_GLOBAL, TO_GLOBAL, TO_GLOBAL, TO_GLOBAL, NONE]
    assert found[2][1:4] == [BACKWARD, SELF, FORWARD] and found[5] == [NONE] * 6


def test_each_kind_of_edge_and_the_distance_in_time_count() -> None:
    graph = TemporalGraphNetwork(RetrieverConfig.from_preset("tiny").text, WIDTH).requires_grad_(False)
    scramble(graph)
    layer = graph.layers[0]
    nodes = torch.randn(1, 4, WIDTH)
    same = torch.full((1, 4, 4), FORWARD)
    plain = layer(nodes, same)
    other = same.clone()
    other[0, 1, 2] = CONTEXT
    changed = (layer(nodes, other) - plain).abs().amax(dim=2)[0]
    assert float(changed[1]) > 1e-5 and changed[[0, 2, 3]].tolist() == [0.0, 0.0, 0.0]
    order = [0, 2, 1, 3]
    assert not torch.allclose(layer(nodes[:, order], same)[:, order], plain, atol=1e-4)  # who is when matters


def test_a_tokenizer_without_padding_is_an_error() -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(ConfigError, match="no token"):
        TextEncoder(RetrieverConfig.from_preset("tiny").text, WIDTH, Tokenizer(models.WordPiece({"[UNK]": 0})))


def test_gradients_reach_every_part() -> None:
    encoder = fresh_tiny().train().text
    found = encoder(TEXTS)
    (found.tokens[found.mask].square().sum() + found.pooled.square().sum()).backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert silent == []
    assert float(encoder.layers[0].query.weight.grad.abs().sum()) > 0.0
