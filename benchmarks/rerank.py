"""Where the time of a rerank goes: collate, video block, audio block, soft-DTW, CLS, letters, as shares of the whole.

    python benchmarks/rerank.py [--clips 100] [--words 12] [--preset compact]

Times are CPU time of one thread, the median of several runs, so that a busy machine does not count. Weights are random:
the work does not depend on them.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from model.alignment import alignment_rows, expected_alignment
from model.clip_tokens import ClipTokens
from model.clips import collate
from model.coarse import CoarseEncoder
from model.config import RetrieverConfig
from model.fusion import FusionHead, Gated
from model.letters import SpelledToken
from model.spelling import Spelling
from model.text import TextEncoding
from model.tokens import TokenSet, quantise


def token_set(config: RetrieverConfig, rng: np.random.Generator) -> TokenSet:
    """A full clip of the preset: as many tokens as it stores at most."""
    V, A, d = config.video.max_tokens, config.audio.max_tokens, config.width
    cells = [rows * columns for rows, columns in config.video.grids]
    levels = np.tile(np.repeat(np.arange(len(cells)), cells), config.video.time_steps).astype(np.uint8)
    video, audio = (rng.standard_normal((count, d)).astype(np.float32) for count in (V, A))
    glance = (rng.standard_normal(d) / d**0.5).astype(np.float16)
    seen, heard = quantise(video), quantise(audio)
    return TokenSet(*seen, np.zeros(V, np.float32), levels, *heard, np.zeros(A, np.float32), -2.5, glance)


def stages(config: RetrieverConfig, clips: int, words: int) -> dict[str, Callable[[], Any]]:
    """Each stage as a call on inputs made beforehand; "rerank" is the whole."""
    rng, d = np.random.default_rng(0), config.width
    sets = [token_set(config, rng) for _ in range(clips)]
    cells = sum(rows * columns for rows, columns in config.video.grids)
    head = FusionHead(d, len(config.video.channels), config.dtw_gamma).eval()
    coarse = CoarseEncoder(d, config.wide, config.gist_width, glance=config.glance).eval()
    head.gate_temperature = coarse.gate_temperature = 2.0  # as in the shipped checkpoint: one score more
    mask = torch.ones(1, words, dtype=torch.bool)
    spelling = Spelling(d).eval()
    letters = [[SpelledToken(tuple(rng.integers(2, 28, size=5).tolist()), False) for _ in range(words)]]
    text = TextEncoding(
        torch.randn(1, words, d), mask, torch.randn(1, d), torch.randn(1, config.text.hidden), [], [], [], letters
    )
    batch: ClipTokens = collate(sets, cells, d)
    video = head.video_text(text.tokens, mask, batch)
    audio = head.audio_text(text.tokens, mask, text.pooled, batch)
    cost = (1.0 - audio.cosine).flatten(0, 1)
    lengths = torch.full((clips,), words), torch.full((clips,), config.audio.max_tokens)
    gate = torch.ones(1, words)
    blocks = [Gated(block.output, block.output.dot(head.cls), gate) for block in (video, audio)]

    def whole(clips: ClipTokens) -> None:
        head(text, clips)
        coarse.compare(text, clips, glance=True)
        spelling(text, clips)

    return {
        "collate": lambda: collate(sets, cells, d),
        "video block": lambda: head.video_text(text.tokens, mask, batch),
        "audio block": lambda: head.audio_text(text.tokens, mask, text.pooled, batch),
        "  of it threshold": lambda: head.audio_text.threshold(audio.cosine, batch.audio_mask),
        "  of it soft-DTW": lambda: alignment_rows(expected_alignment(cost, *lengths, config.dtw_gamma)),
        "CLS, four scores": lambda: [head.score(some, text) for some in (blocks, blocks, blocks[:1], blocks[1:])],
        "late sum": lambda: coarse.compare(text, batch, glance=True),
        "letters": lambda: spelling(text, batch),
        "rerank": lambda: whole(collate(sets, cells, d)),
        "(coarse vectors, when indexing)": lambda: coarse.clips(batch),
    }


def milliseconds(call: Callable[[], Any], runs: int) -> float:
    call()
    times = []
    for _ in range(runs):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times)


def main(
    clips: Annotated[int, typer.Option(help="Candidates to rerank.")] = 100,
    words: Annotated[int, typer.Option(help="Tokens of the query.")] = 12,
    preset: Annotated[str, typer.Option(help="Shape of the network.")] = "compact",
    runs: Annotated[int, typer.Option(help="Runs of each stage.")] = 15,
) -> None:
    """Print the time of each stage and its share of the whole rerank."""
    torch.set_num_threads(1)
    config = RetrieverConfig.from_preset(preset)
    with torch.inference_mode():
        times = {name: milliseconds(call, runs) for name, call in stages(config, clips, words).items()}
    table = Table(title=f"{preset}: {clips} clips, {words} words, one thread, CPU time")
    for name, justify in (("stage", "left"), ("ms", "right"), ("share of the rerank", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, taken in times.items():
        table.add_row(name, f"{taken:.1f}", f"{taken / times['rerank']:.0%}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
