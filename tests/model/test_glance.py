"""A clip and a query as a whole: adds nothing untaught, is taught by itself, and only pictures have it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch

from model.losses import LossWeights, RetrievalLoss
from model.retriever import Retriever
from model.training.batch import TrainBatch
from model.training.start import deepened, with_config
from tests.model.samples import TEXTS, clip, fresh_tiny, scramble, tiny

ALONE = LossWeights(
    glance=1,
    fused=0,
    coarse=0,
    coarse_alone=0,
    distil=0,
    words=0,
    alone=0,
    monotone=0,
    ctc=0,
    hardest=0,
    said=0,
    hide=0,
)


def test_untaught_it_changes_no_score() -> None:
    config = dataclasses.replace(tiny().config, glance=0)
    without = with_config(Retriever(config, tiny().text.tokenizer), config, 0)
    scramble(without)
    grown = deepened(without, 0)
    assert grown.config.glance and grown.coarse.glance is not None
    clips = [clip(1), clip(2), clip(3, seconds=0.0)]
    scores = [
        network.rerank(network.encode_text(TEXTS), row, network.encode_clips(clips)).fused
        for network in (without, grown)
        for row in range(len(TEXTS))
    ]
    for before, after in zip(scores[: len(TEXTS)], scores[len(TEXTS) :], strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_it_is_learned_by_itself() -> None:
    torch.manual_seed(0)
    retriever, loss = Retriever.from_preset("tiny", seed=1).train(), RetrievalLoss(ALONE)
    video = retriever.config.video
    maps = [torch.randn(8, 1, c, size, size) for c, size in zip(video.channels, video.map_sizes, strict=True)]
    words = ["red dog", "blue cat", "green car", "man", "woman says", "in the red", "of a cat", "and with"]
    pairs = TrainBatch(words, torch.eye(8, dtype=torch.bool), video_features=maps)
    moving = {n: p for n, p in retriever.named_parameters() if n.startswith(("video.glance.", "coarse.glance."))}
    optimiser = torch.optim.AdamW(moving.values(), lr=1e-2)
    first = None
    for _ in range(60):
        optimiser.zero_grad()
        parts = loss(retriever, pairs)
        parts["total"].backward()
        first = first or float(parts["total"].detach())
        optimiser.step()
    with torch.no_grad():
        learned = float(loss.eval()(retriever.eval(), pairs)["glance"])
    assert first is not None and abs(first - math.log(8)) < 0.1, "untaught, all clips are alike"
    assert learned < 0.3 * first


def test_only_pictures_have_it_and_the_order_of_frames_does_not_matter() -> None:
    whole, turned, heard = clip(1), clip(1), clip(2, frames=0)
    assert turned.frames is not None
    turned = dataclasses.replace(turned, frames=turned.frames[::-1].copy())
    found = tiny().encode_clips([whole, turned, heard])
    assert [len(item.glance) for item in found] == [tiny().config.width, tiny().config.width, 0]
    np.testing.assert_allclose(np.linalg.norm(found[0].glance.astype(np.float32)), 1, atol=1e-2)
    np.testing.assert_allclose(found[1].glance, found[0].glance, atol=1e-3)
    assert len(found[0].only(("audio",)).glance) == 0
    text = tiny().encode_text(TEXTS)
    cosines = tiny().coarse.glances(text, tiny().collate(found))
    assert bool((cosines[:, 2] == 0).all()) and bool((cosines[:, :2] != 0).all())
    hidden = tiny().collate(found).only(("audio",))
    assert bool((tiny().coarse.glances(text, hidden) == 0).all())


def test_the_sum_of_two_cosines_stays_a_score() -> None:
    text = tiny().encode_text(TEXTS)
    pairs = tiny().fusion(text, tiny().collate(tiny().encode_clips([clip(1)])))
    most = torch.ones_like(pairs.fused)
    pairs = pairs._replace(fused=most, video=most, audio=most)
    summed = pairs.summed(2 * most, 2 * most, most, torch.full((len(TEXTS), 1), 0.5))
    assert float(summed.fused.max()) == float(summed.video.max()) == 1.0


def test_saved_and_loaded_it_gives_the_same(tmp_path: Path) -> None:
    network = fresh_tiny()
    network.save_pretrained(tmp_path)
    once = Retriever.from_pretrained(tmp_path)
    once.save_pretrained(tmp_path)
    again = Retriever.from_pretrained(tmp_path)
    np.testing.assert_array_equal(once.encode_clips([clip(1)])[0].glance, again.encode_clips([clip(1)])[0].glance)
