"""The video encoder: timm and Video Swin trunks, stills, the layout of tokens, no clip that depends on its batch."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import RetrieverConfig, VideoConfig
from model.video import VideoEncoder
from tests.model.samples import WIDTH, fresh_tiny, pictures, scramble, tiny


def frames(*seeds: int, count: int = 4, size: int = 64) -> Tensor:
    return torch.from_numpy(np.stack([pictures(count, size, seed) for seed in seeds]).transpose(0, 1, 4, 2, 3).copy())


def small(backbone: str) -> VideoConfig:
    """A config of each kind of trunk, as small as it can be."""
    config = RetrieverConfig.from_preset("tiny").video
    if backbone == "swin3d_t":
        paper = RetrieverConfig.from_preset("paper").video
        return dataclasses.replace(paper, frames=4, image_size=64, map_sizes=(4, 4, 2, 2))
    if backbone.startswith("swin_"):
        return dataclasses.replace(
            config, backbone=backbone, channels=(96, 192, 768), taps=(0, 1, 3), image_size=224, frames=1
        )
    return dataclasses.replace(config, backbone=backbone)


BACKBONES = ["test_efficientnet", "swin_tiny_patch4_window7_224", "swin3d_t"]


@pytest.fixture(scope="module", params=BACKBONES)
def encoder(request: pytest.FixtureRequest) -> VideoEncoder:
    made = VideoEncoder(small(request.param), WIDTH, wide=24)
    scramble(made)
    return made.eval()


def test_every_trunk_gives_tokens_of_the_promised_shape_and_finite_gradients(encoder: VideoEncoder) -> None:
    config = encoder.config
    shown = frames(1, 2, count=config.frames, size=config.image_size)
    maps = encoder.trunk_features(shown)
    expected = [(2, config.time_steps, c, s, s) for c, s in zip(config.channels, config.map_sizes, strict=True)]
    assert [tuple(level.shape) for level in maps] == expected
    found = encoder(maps)
    assert found.tokens.shape == (2, config.max_tokens, WIDTH)
    assert found.levels.shape == found.steps.shape == (config.max_tokens,)
    assert bool(found.tokens.isfinite().all()) and float(found.tokens.detach().std()) > 0.1
    found.tokens.square().mean().backward()
    gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    assert len(gradients) > 20 and all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert float(gradients[0].abs().sum()) > 0.0  # the trunk's first layer


def test_a_still_is_one_frame(encoder: VideoEncoder) -> None:
    config = encoder.config
    with torch.inference_mode():
        found = encoder(encoder.trunk_features(frames(1, count=1, size=config.image_size)))
    cells = sum(rows * columns for rows, columns in config.grids)
    assert found.tokens.shape == (1, cells, WIDTH) and found.steps.unique().tolist() == [0]
    assert bool(found.tokens.isfinite().all())


def test_the_summary_of_a_frame_is_in_its_coarsest_token_and_nothing_at_the_start() -> None:
    config = small("test_efficientnet")
    with torch.random.fork_rng():
        encoder = VideoEncoder(config, WIDTH, wide=24).eval()
    assert encoder.summary is not None
    shown = frames(1, 2)
    with torch.inference_mode():
        maps = encoder.trunk_features(shown)
        assert torch.equal(encoder.summary(maps), torch.zeros(2, config.frames, WIDTH))
        before = encoder(maps).tokens
        scramble(encoder.summary)
        moved = (encoder(maps).tokens - before).norm(dim=2).view(2, config.frames, -1)
    assert bool((moved[..., -1] > 0.1).all()) and float(moved[..., :-1].max()) == 0.0


def test_a_clip_does_not_depend_on_its_batch(encoder: VideoEncoder) -> None:
    shown = frames(1, 2, 3, count=encoder.config.frames, size=encoder.config.image_size)
    with torch.inference_mode():
        together = encoder(encoder.trunk_features(shown)).tokens
        alone = encoder(encoder.trunk_features(shown[1:2])).tokens
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_tokens_run_step_by_step_through_the_cells_of_all_levels() -> None:
    levels, steps = tiny().video.layout(3)
    assert levels.tolist() == [0, 1, 1, 1, 1, 2] * 3
    assert steps.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_a_change_in_one_corner_moves_the_cell_of_that_corner_most() -> None:
    encoder = VideoEncoder(dataclasses.replace(small("test_efficientnet"), swin_blocks=0), WIDTH).eval()
    scramble(encoder)
    shown = frames(1)
    changed = shown.clone()
    changed[0, 2, :, :12, 52:] = 255  # third frame, upper right
    with torch.inference_mode():
        before, after = (encoder(encoder.trunk_features(x)).tokens[0] for x in (shown, changed))
    moved = (before - after).norm(dim=1).view(4, 6)
    assert int(moved.sum(dim=1).argmax()) == 2 and float(moved[[0, 1, 3]].abs().sum()) < 1e-3
    assert int(moved[2, 1:5].argmax()) == 1  # rows first: upper left, upper right, lower left, lower right


def test_order_in_time_counts() -> None:
    shown = frames(1)
    with torch.inference_mode():
        forward, backward = (tiny().video(tiny().video.trunk_features(x)).tokens for x in (shown, shown.flip(1)))
    turned = backward.view(1, 4, 6, WIDTH).flip(1).reshape(1, 24, WIDTH)
    assert float((forward - turned).abs().max()) > 1e-2


def test_training_leaves_the_trunk_and_its_statistics_as_they_are() -> None:
    retriever = fresh_tiny().train()
    assert retriever.training and retriever.video.training and not retriever.video.trunk.training
    before = {name: value.clone() for name, value in retriever.video.trunk.named_buffers()}
    retriever.video(retriever.video.trunk_features(frames(1)))
    assert before and all(torch.equal(before[name], value) for name, value in retriever.video.trunk.named_buffers())


def test_the_paper_preset_has_the_shape_that_its_encoder_gives() -> None:
    config = RetrieverConfig.from_preset("paper").video
    assert config.time_steps == 8 and config.max_tokens == 56 <= 64
    assert RetrieverConfig.from_preset("compact").video.max_tokens <= 64
