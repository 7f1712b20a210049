"""A trunk cut in two gives what it gives in one piece, and only its moving part learns."""

from pathlib import Path

import pytest
import torch

from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import parameters
from model.training.frozen_frames import freeze_frames
from model.training.options import Options


def moving(last: str) -> tuple[Retriever, int]:
    retriever = Retriever.from_preset("tiny").eval()
    trained = parameters.select(retriever, RetrievalLoss(), Options(("x",), Path("y"), train=f"frames-last={last}"))
    return retriever, trained.frozen_frame_stages


def shown(retriever: Retriever) -> torch.Tensor:
    size = retriever.config.video.image_size
    return torch.randint(0, 256, (2, 3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("last", [0, 1, 2, 4])
def test_kept_maps_finish_to_the_whole_trunks_maps(last: int) -> None:
    retriever, stages = moving(str(last))
    whole = retriever.video.trunk_features(shown(retriever))
    kept = freeze_frames(retriever.video, stages)
    assert kept is not None
    maps = retriever.video.keep(shown(retriever))
    assert [tuple(level.shape[2:]) for level in maps] == [tuple(shape) for shape in kept[1]]
    finished = retriever.video.finish(maps)
    assert len(finished) == len(whole)
    for one, other in zip(finished, whole, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_gradients_reach_the_last_stage_alone() -> None:
    retriever, stages = moving("1")
    freeze_frames(retriever.video, stages)
    maps = [level.detach() for level in retriever.video.keep(shown(retriever))]
    retriever.video.finish(maps)[-1].square().mean().backward()
    touched = {name for name, value in retriever.video.trunk.named_parameters() if value.grad is not None}
    assert touched and all(f"blocks.{stages}." in name or "conv_head" in name or "bn2" in name for name in touched)


def test_another_cut_is_another_store() -> None:
    digests = set()
    for last in ("0", "1", "2"):
        retriever, stages = moving(last)
        kept = freeze_frames(retriever.video, stages)
        assert kept is not None
        digests.add(kept[0])
    assert len(digests) == 3


def test_nothing_is_kept_where_everything_moves() -> None:
    retriever, stages = moving("all")
    assert stages == 0 and freeze_frames(retriever.video, stages) is None
