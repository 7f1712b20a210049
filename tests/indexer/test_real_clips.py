"""Real footage of many sizes and rates, where the development data is at hand (never part of the repository)."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from indexer import sample
from indexer.config import IndexSettings
from indexer.decode import Decoder
from model import Retriever, media
from tests.indexer.library_files import Bench


@pytest.fixture(scope="module")
def clips() -> list[Path]:
    folder = Path(os.environ.get("HTAV_DEV_DATA", Path(__file__).parents[3] / "shared" / "data")) / "clips"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (HTAV_DEV_DATA names another place)")
    return sorted(folder.glob("*.mp4"))


def test_every_clip_is_probed_whole_and_sampled_at_true_times(clips: list[Path]) -> None:
    """Every eighth file: each frame is the one on the screen, never one to come."""
    with Decoder() as decoder:
        for path in clips[::8]:
            probe = decoder.probe(path)
            assert probe.completeness == 1.0 and 0 < probe.duration_s < 30
            for clip in decoder.read(path, probe, sample.plan(probe.duration_s), 8, 64):
                assert clip.problem is None and clip.frames is not None and clip.frame_times is not None
                late = np.array(clip.window.frame_times(8)) - clip.frame_times
                assert late.min() > -1e-3 and late.max() < 1.1
                assert clip.frames.std() > 0


def test_real_clips_are_indexed_faster_than_they_play(
    clips: list[Path], settings: IndexSettings, tiny_checkpoint: Path
) -> None:
    bench = Bench(settings, Retriever.from_pretrained(tiny_checkpoint))
    started = time.process_time()
    report = bench.index(*clips[:6])
    assert report.counts.encoded == 6 and report.failed == []
    assert report.media_s == pytest.approx(sum(media.probe(path).duration_s for path in clips[:6]), rel=0.01)
    assert time.process_time() - started < report.media_s  # this process alone; the machine may be busy
    assert bench.index(*clips[:6]).counts.unchanged == 6
