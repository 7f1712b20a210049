"""The paper preset: Video Swin, RoBERTa's tokenizer, AST and BiLSTM together, at a size that a test can afford."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import RobertaProcessing

from model import hub
from model.ast_trunk import AstTrunk
from model.config import RetrieverConfig
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import trunks
from model.training.batch import TrainBatch
from model.training.start import load_frames
from model.video import SwinTrunk
from tests.model.samples import clip, pictures, scramble, wave

SIZE = 32


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer with RoBERTa's special tokens, learned from one sentence."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["a red dog says a word"], 300, 1, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return Tokenizer.from_str(bpe.to_str())


@pytest.fixture(scope="module")
def retriever(tokenizer: Tokenizer) -> Retriever:
    paper = RetrieverConfig.from_preset("paper")
    config = dataclasses.replace(
        paper,
        width=32,
        text=dataclasses.replace(paper.text, vocab_size=300, hidden=32, layers=1, heads=2, intermediate=64),
        video=dataclasses.replace(paper.video, frames=4, image_size=SIZE, map_sizes=(4, 4, 2, 1)),
        audio=dataclasses.replace(paper.audio, width=32, layers=1, heads=2, lstm_hidden=16),
    )
    made = Retriever(config, tokenizer)
    scramble(made)
    return made.eval()


def test_clips_are_encoded_found_and_saved(retriever: Retriever, tmp_path: Path) -> None:
    assert isinstance(retriever.video.trunk, SwinTrunk) and isinstance(retriever.audio.pretrained, AstTrunk)
    clips = [clip(1, 4, 1.0, SIZE), clip(2, 4, 0.0, SIZE), clip(3, 0, 11.0), clip(4, 1, 0.0, SIZE)]
    items = retriever.encode_clips(clips)
    cells = retriever.cells
    assert [len(item.video) for item in items] == [2 * cells, 2 * cells, 0, cells]
    assert [len(item.audio) for item in items] == [13, 0, 138, 0]
    np.testing.assert_allclose(np.unique(items[0].video_times), [1.0, 3.0])  # time is halved once
    text = retriever.encode_text(["a red dog", "Dog"])
    scores = retriever.rerank(text, 0, items)
    assert np.isfinite(scores.fused).all() and float(scores.fused.std()) > 0
    retriever.save_pretrained(tmp_path)
    loaded = Retriever.from_pretrained(tmp_path, query_only=True)
    np.testing.assert_allclose(
        loaded.rerank(loaded.encode_text(["a red dog"]), 0, items).fused, scores.fused, atol=0.02
    )


def test_bytes_are_words_too(retriever: Retriever) -> None:
    found = retriever.encode_text(["a red dog", "zebra"])
    assert [word.strip() for word in found.words[0]] == ["a", "red", "dog"]
    assert "".join(found.words[1]) == "zebra" and found.understood == [True, True]


def test_a_step_of_training_reaches_all_three_trunks(retriever: Retriever) -> None:
    shown = np.stack([pictures(4, SIZE, seed) for seed in range(2)]).transpose(0, 1, 4, 2, 3)
    pairs = TrainBatch(
        ["a red dog", "a word"], torch.eye(2, dtype=torch.bool), frames=torch.from_numpy(shown.copy()),
        waveforms=[wave(0.5, 0), wave(0.7, 1)], transcripts=["hello", None],
    )  # fmt: skip
    retriever.train()
    RetrievalLoss(drop=0.0, drop_tokens=0.0)(retriever, pairs)["total"].backward()
    retriever.eval()
    assert retriever.audio.pretrained is not None
    for trunk in (retriever.text.layers, retriever.video.trunk, retriever.audio.pretrained):
        gradients = [parameter.grad for parameter in trunk.parameters() if parameter.grad is not None]
        assert len(gradients) > 10 and all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert max(float(gradient.abs().max()) for gradient in gradients) > 0
    retriever.zero_grad()


def test_published_weights_find_their_places(retriever: Retriever) -> None:
    from torchvision.models.video import swin3d_t
    from transformers import ASTModel

    published = scramble(swin3d_t(weights=None)).state_dict()
    load_frames(retriever.video.trunk, published)
    assert torch.equal(retriever.video.trunk.patch_embed.proj.weight, published["patch_embed.proj.weight"])
    assert retriever.audio.pretrained is not None
    names = set(retriever.audio.pretrained.net.state_dict())
    assert names == set(ASTModel(retriever.audio.pretrained.net.config).state_dict())


def test_without_the_hub_the_paper_preset_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> Path:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "fetch", offline)
    monkeypatch.setattr(trunks, "default_cache", lambda _: tmp_path)
    with pytest.raises(trunks.TrunkUnavailableError, match="roberta-base/tokenizer.json") as caught:
        Retriever.from_preset("paper")
    assert "compact" in caught.value.hint
