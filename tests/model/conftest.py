"""What the tests of training share: small data, prepared once."""

from pathlib import Path

import pytest

from tests.model.small_data import films, photographs, tones


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, sounds and films to train on, in `p`, `t` and `f`."""
    root = tmp_path_factory.mktemp("data")
    photographs(root / "p", 2)
    tones(root / "t", 4)
    films(root / "f", 4)
    return root


@pytest.fixture
def training_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared by the tests of training alone, so that their data is prepared once."""
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "training-cache"))
