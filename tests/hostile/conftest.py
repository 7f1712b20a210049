"""Settings for tests with hostile files."""

from pathlib import Path

import pytest

from indexer.config import IndexSettings


@pytest.fixture
def settings(tmp_path: Path) -> IndexSettings:
    return IndexSettings(data_dir=tmp_path / "data", min_free_bytes=0)
