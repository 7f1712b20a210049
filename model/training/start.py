"""A new network of a preset's shape, its trunks random or from their publishers."""

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from model import checkpoint
from model.config import RetrieverConfig
from model.retriever import Retriever
from model.text import TextEncoder, load_tokenizer
from model.training import trunks
from model.training.options import TrainingError

_LAYER_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_norm",
}


def start_from_preset(preset: str, *, pretrained: bool, seed: int) -> Retriever:
    """Build a retriever; the same seed gives the same weights. The caller's random state is left alone.

    Raises UnknownPreset, TrunkUnavailableError when a publisher's weights cannot be had.
    """
    config = RetrieverConfig.from_preset(preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        retriever = Retriever(config, _tokenizer(config))
    if pretrained:
        load_trunks(retriever)
    return retriever.eval()


def deepened(trained: Retriever, seed: int) -> Retriever:
    """`trained` with as many layers over time in its audio encoder, and as wide branches, as its preset has now.

    Those that a checkpoint of an earlier version lacks change next to nothing until they learn, but that the coarse
    vectors get a quarter of the score.
    """
    config = trained.config
    now = RetrieverConfig.from_preset(config.preset)
    layers = max(config.audio.temporal_layers, now.audio.temporal_layers)
    most = max(config.audio.max_tokens, now.audio.max_tokens)
    grown = replace(
        config,
        wide=config.wide or now.wide,
        gist=config.gist or now.gist,
        listing=config.listing or now.listing,
        spelling=config.spelling or now.spelling,
        glance=config.glance or now.glance,
        audio=replace(config.audio, temporal_layers=layers, max_tokens=most),
    )
    return trained if grown == config else with_config(trained, grown, seed)


def with_config(trained: Retriever, config: RetrieverConfig, seed: int) -> Retriever:
    """A network of this shape with the weights of `trained`; what that lacks is as the seed draws it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        deeper = Retriever(config, trained.text.tokenizer)
    deeper.load_state_dict(deeper.state_dict() | trained.state_dict())
    deeper.card = trained.card
    return deeper.eval()


def with_taught_part(trained: Retriever, seed: int, then: str, **settings: Any) -> Retriever:
    """The network with a part that a command of its own teaches and that reads RoBERTa's mean state; untaught where it
    lacks one. `then` says in the hint what to do once that state is there. Raises TrainingError where it is not."""
    if not trained.config.gist:
        raise TrainingError(
            "the checkpoint is of an earlier version, which knows no gist of a query.",
            f"Train it on with `htav train --init`; then {then}.",
        )
    return with_config(trained, replace(trained.config, **settings), seed)


def load_trunks(retriever: Retriever) -> None:
    """Put the publishers' weights into the trunks of a retriever of the compact or paper preset."""
    config = retriever.config
    if config.preset == "compact":
        load_frames(retriever.video.trunk.get_submodule("net"), trunks.lite2_state())
        minilm, published = trunks.minilm_state()
        load_roberta(retriever.text, fit_embeddings(minilm, load_tokenizer(published), retriever.text))
    elif config.preset == "paper":
        load_frames(retriever.video.trunk, trunks.swin3d_state())
        load_roberta(retriever.text, trunks.roberta_state()[0])
        if retriever.audio.pretrained is not None:
            retriever.audio.pretrained.net.load_state_dict(trunks.ast_state())


def load_frames(trunk: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a frame trunk; what only the publisher's classifier needs is left out."""
    trunk.load_state_dict({name: state[name] for name in trunk.state_dict()})


def load_roberta(text: TextEncoder, state: dict[str, Tensor]) -> None:
    """Load weights under the names of transformers' RobertaModel into our embeddings and layers."""
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("embeddings."):
            rows = 1 if "token_type" in name else None  # both models feed the first type alone
            ours[name] = value[:rows] if rows else value
        elif name.startswith("encoder.layer."):
            number, rest = name.removeprefix("encoder.layer.").split(".", 1)
            part, kind = rest.rsplit(".", 1)
            ours[f"layers.{number}.{_LAYER_NAMES[part]}.{kind}"] = value
    missing, unexpected = text.load_state_dict(ours, strict=False)
    lost = [name for name in missing if name.startswith(("embeddings.", "layers."))]
    if lost or unexpected:
        raise checkpoint.CheckpointError(f"these RoBERTa weights do not fit: {lost or unexpected}.")


def _tokenizer(config: RetrieverConfig) -> Tokenizer:
    if config.preset == "tiny":
        return tiny_tokenizer(config.text.vocab_size)
    if config.preset == "paper":
        return load_tokenizer(trunks.roberta_tokenizer())
    shipped = checkpoint.EMBEDDED / checkpoint.TOKENIZER
    return load_tokenizer(shipped) if shipped.is_file() else english_tokenizer(trunks.minilm_state()[1])


def english_tokenizer(published: Path) -> Tokenizer:
    """The published WordPiece tokenizer without its unused and non-ASCII pieces.

    HTAV speaks English only: a word in another script becomes unknown, which the service can say, and the embeddings of
    2,894 pieces need not be shipped.
    """
    values = json.loads(published.read_text())
    vocabulary = values["model"]["vocab"]
    kept = [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if _is_english(piece)]
    values["model"]["vocab"] = {piece: place for place, piece in enumerate(kept)}
    tokens = [token for token in values["added_tokens"] if token["content"] in values["model"]["vocab"]]
    values["added_tokens"] = [{**token, "id": kept.index(token["content"])} for token in tokens]
    for token in values["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [kept.index(piece) for piece in token["tokens"]]
    for side in ("sep", "cls"):
        if side in values["post_processor"]:
            piece = values["post_processor"][side][0]
            values["post_processor"][side] = [piece, kept.index(piece)]
    if values.get("padding"):
        values["padding"]["pad_id"] = kept.index(values["padding"]["pad_token"])
    return Tokenizer.from_str(json.dumps(values))


def _is_english(piece: str) -> bool:
    return piece.isascii() and not piece.startswith("[unused")


def fit_embeddings(state: dict[str, Tensor], published: Tokenizer, text: TextEncoder) -> dict[str, Tensor]:
    """The published weights with the word rows that our tokenizer keeps and the positions that a query can reach."""
    ours = text.tokenizer.get_vocab()
    rows = torch.tensor([published.token_to_id(piece) for piece in sorted(ours, key=ours.__getitem__)])
    words, positions = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    return {**state, words: state[words][rows], positions: state[positions][: text.config.max_positions]}


def tiny_tokenizer(size: int) -> Tokenizer:
    """A WordPiece tokenizer of letters, pairs of letters and a few words, made from nothing, for tests."""
    letters = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters), *",.?!':;-"]
    pieces += [
        "a",
        "the",
        "and",
        "with",
        "in",
        "of",
        "dog",
        "cat",
        "man",
        "woman",
        "red",
        "blue",
        "green",
        "says",
        "car",
    ]
    pairs = (f"{prefix}{first}{second}" for first in letters for second in "aeiouthrn" for prefix in ("", "##"))
    vocabulary: dict[str, int] = {}
    for piece in [*pieces, *pairs]:
        if len(vocabulary) < size:
            vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return tokenizer
