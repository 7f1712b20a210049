"""A clip and a query as a whole: adds nothing untaught, is taught by itself, and only pictures have it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.coarse import CoarseScores
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training.batch import TrainBatch
from model.training.prepare import loss_weights
from model.training.recipe import ONLY_GLANCE
from model.training.start import deepened, with_config
from tests.model.samples import TEXTS, clip, fresh_tiny, scramble, tiny

ALONE = loss_weights(ONLY_GLANCE)


def test_untaught_it_changes_no_score() -> None:
    config = dataclasses.replace(tiny().config, glance=0)
    without = with_config(Retriever(config, tiny().text.tokenizer), config, 0)
    scramble(without)
    grown = deepened(without, 0)
    assert grown.config.glance and grown.coarse.glance is not None
    clips = [clip(1), clip(2), clip(3, seconds=0.0)]
    found = [
        network.rerank(network.encode_text(TEXTS), row, network.encode_clips(clips))
        for network in (without, grown)
        for row in range(len(TEXTS))
    ]
    scores = [np.stack([one.fused, one.mean]) for one in found]
    for before, after in zip(scores[: len(TEXTS)], scores[len(TEXTS) :], strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_clip_without_one_scores_beside_others_as_alone() -> None:
    """An index from before there was a glance: its mean is of fewer cosines, and nobody else's changes."""
    text, found = tiny().encode_text(TEXTS), tiny().encode_clips([clip(1), clip(2)])
    bare = dataclasses.replace(found[1], glance=found[1].glance[:0])
    mixed = tiny().rerank(text, 0, [found[0], bare])
    for place, item in enumerate((found[0], bare)):
        alone = tiny().rerank(text, 0, [item])
        np.testing.assert_allclose([part[place] for part in mixed], [part[0] for part in alone], atol=1e-5)
    whole = tiny().rerank(text, 0, found)
    assert abs(float(whole.fused[1] - mixed.fused[1])) > 1e-4 and whole.fused[0] == pytest.approx(mixed.fused[0])


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
    pairs = pairs._replace(fused=most, video=most, audio=most, mean=most)
    coarse = CoarseScores(2 * most, 2 * most, most, 2 * most, 2 * most, most)  # both cosines are 1
    summed = pairs.summed(coarse, torch.full((len(TEXTS), 1), 0.5))
    assert float(summed.fused.max()) == float(summed.video.max()) == 1.0
    torch.testing.assert_close(summed.mean, most)
    apart = pairs.summed(coarse._replace(taught=0.8 * most), torch.full((len(TEXTS), 1), 0.25))
    torch.testing.assert_close(apart.mean, (0.75 + 0.25 * 0.8) / 1.25 * most)


def test_saved_and_loaded_it_gives_the_same(tmp_path: Path) -> None:
    network = fresh_tiny()
    network.save_pretrained(tmp_path)
    once = Retriever.from_pretrained(tmp_path)
    once.save_pretrained(tmp_path)
    again = Retriever.from_pretrained(tmp_path)
    np.testing.assert_array_equal(once.encode_clips([clip(1)])[0].glance, again.encode_clips([clip(1)])[0].glance)
