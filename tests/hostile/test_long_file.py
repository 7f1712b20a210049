"""T11: a file has no total limit. Three hours become ready, and a run that is killed goes on in the middle.

Minutes of work, so only with HTAV_LONG=1; `tests/indexer/test_pipeline.py` does the same on a minute of film.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from indexer.config import IndexSettings
from indexer.tables import VideoState
from model import Retriever
from model.media import clip_windows
from tests.indexer.library_files import Bench, seen

HOURS = 3


@pytest.mark.skipif("HTAV_LONG" not in os.environ, reason="takes minutes: set HTAV_LONG=1")
@pytest.mark.timeout(7200)
def test_a_file_of_three_hours_is_indexed_and_resumed(
    tmp_path: Path, settings: IndexSettings, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = seen(tmp_path / "film.mp4", seconds=HOURS * 3600.0, fps=1)
    bench = Bench(settings, Retriever.from_pretrained(tiny_checkpoint))
    encode, batches = Retriever.encode_clips, []

    def dying(retriever: Retriever, clips: list[Any]) -> Any:
        batches.append(len(clips))
        if sum(batches) > 600:
            raise SystemExit
        return encode(retriever, clips)

    with monkeypatch.context() as patch:
        patch.setattr(Retriever, "encode_clips", dying)
        with pytest.raises(SystemExit):
            bench.index(path)
    kept = len(bench.clips())
    assert kept > 500
    report = bench.index(path)
    video = bench.videos()["film.mp4"]
    assert video.state is VideoState.READY
    assert report.media_s < HOURS * 3600 * 0.7
    assert len(bench.clips()) == len(clip_windows(video.duration_s or 0)) > kept
