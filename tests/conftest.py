"""Fixtures that every room's tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of the `tiny` preset with random, seeded weights."""
    from model import Retriever

    folder = tmp_path_factory.mktemp("tiny-checkpoint")
    Retriever.from_preset("tiny", seed=7).save_pretrained(folder)
    return folder
