"""The service under load: what each stage takes, and what happens at twice the load it can bear.

    python benchmarks/service.py [--clips 200] [--seconds 20] [--model DIR]

A real `htav serve` over an index of random token sets, each a full clip of the preset, so that every search reranks
100. First one client alone: the median of each stage. Then open-loop arrivals at 0.7 and 2 times the measured
capacity: accepted p99, answers a second, how fast refusals come, and how soon the service is itself again.
"""

import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from indexer.catalog import Catalog, MediaRoot, Video, VideoState, VideoUri, video_id
from indexer.config import IndexSettings
from indexer.publish import publish
from indexer.writer import ClipWriter, NewClip
from model.retriever import Retriever
from model.tokens import TokenSet, quantise

QUERY = {"query": "a red ball rolls across the grass while a dog barks", "limit": 10, "shortlist": 100}
console = Console()


@dataclass
class Load:
    """What came of one phase of arrivals: seconds by kind of answer."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)


def token_set(retriever: Retriever, rng: np.random.Generator) -> TokenSet:
    config = retriever.config
    V, A, d = config.video.max_tokens, config.audio.max_tokens, config.width
    video, audio = (rng.standard_normal((count, d)).astype(np.float32) for count in (V, A))
    steps = V // retriever.cells
    times = np.repeat(np.arange(steps, dtype=np.float32), retriever.cells)
    levels = np.zeros(V, np.uint8)
    return TokenSet(*quantise(video), times, levels, *quantise(audio), np.linspace(0, 10, A, dtype=np.float32))


def build(settings: IndexSettings, retriever: Retriever, clips: int) -> None:
    """An index of `clips` videos of one clip each."""
    rng, catalog = np.random.default_rng(0), Catalog.open(settings)
    width = retriever.config.width
    with catalog.transaction() as session:
        root = MediaRoot(path="/nowhere")
        for number in range(clips):
            digest = f"{number:064x}"
            video = Video(id=video_id(digest), content_hash=digest, state=VideoState.READY, duration_s=10.0)
            video.uris.append(VideoUri(root=root, path=f"{number}.mp4", size=1, mtime_ns=1))
            session.add(video)
    with ClipWriter(settings, catalog, retriever.fingerprint, width) as writer:
        for number in range(clips):
            tokens = token_set(retriever, rng)
            coarse = retriever.coarse_vectors([tokens])[0]
            writer.commit(video_id(f"{number:064x}"), [NewClip(0, 0.0, 10.0, tokens.to_bytes(), coarse)])
    publish(settings, catalog, fingerprint=retriever.fingerprint, model=retriever.name, width=width)
    catalog.close()


async def ask(client: httpx.AsyncClient, load: Load) -> None:
    began = time.perf_counter()
    try:
        response = await client.post("/v1/search", json=QUERY)
    except httpx.TransportError as error:
        load.codes[type(error).__name__] += 1
        return
    took = time.perf_counter() - began
    code = str(response.status_code) if response.status_code == 200 else response.json()["code"]
    load.codes[code] += 1
    if response.status_code == 200:
        load.codes.update(response.json()["degraded"])
    (load.accepted if response.status_code == 200 else load.refused).append(took)


async def arrive(client: httpx.AsyncClient, rate: float, seconds: float) -> Load:
    """Arrivals that do not wait for answers, at exponential distances: how strangers come."""
    load, chance, tasks = Load(), random.Random(0), []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        tasks.append(asyncio.create_task(ask(client, load)))
        await asyncio.sleep(chance.expovariate(rate))
    await asyncio.gather(*tasks)
    return load


async def stages(client: httpx.AsyncClient, rounds: int = 40) -> dict[str, float]:
    """The median milliseconds of each stage, one client alone."""
    took = [(await client.post("/v1/search", json=QUERY)).json()["took_ms"] for _ in range(rounds)]
    return {name: statistics.median(entry[name] for entry in took) for name in took[0]}


async def measure(address: str, seconds: float) -> None:
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=address, timeout=30, limits=limits) as client:
        medians = await stages(client)
        table = Table("stage", "p50 ms", title="One client, 100 clips reranked")
        for name, value in medians.items():
            table.add_row(name, f"{value:.1f}")
        console.print(table)
        capacity = 1000 / medians["total"]
        table = Table("arrivals", "accepted p50 s", "p99 s", "a second", "refused p99 ms", "answers")
        for share in (0.7, 2.0):
            load = await arrive(client, share * capacity, seconds)
            table.add_row(f"{share}x {capacity:.1f}/s", *_summary(load, seconds))
        console.print(table)
        began = time.perf_counter()
        await ask(client, alone := Load())
        console.print(f"First answer after the overload: {time.perf_counter() - began:.2f} s, {dict(alone.codes)}")


def _summary(load: Load, seconds: float) -> list[str]:
    p50, p99 = np.percentile(load.accepted, [50, 99])
    refused = f"{1000 * np.percentile(load.refused, 99):.0f}" if load.refused else "-"
    answers = ", ".join(f"{code} {count}" for code, count in load.codes.most_common())
    return [f"{p50:.2f}", f"{p99:.2f}", f"{len(load.accepted) / seconds:.1f}", refused, answers]


def main(
    clips: Annotated[int, typer.Option(help="Clips in the index.")] = 200,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 20.0,
    model: Annotated[Path | None, typer.Option(help="A checkpoint folder; the embedded one by default.")] = None,
    threads: Annotated[int, typer.Option(help="Thread budget of inference.")] = 2,
) -> None:
    """Measure the service on this machine."""
    retriever = Retriever.from_pretrained(model) if model else Retriever.embedded()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        build(IndexSettings(data_dir=Path(folder), min_free_bytes=0), retriever, clips)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = {**os.environ, "HTAV_DATA_DIR": folder, "HTAV_THREADS": str(threads), "HTAV_LOG_LEVEL": "WARNING"}
        if model:
            environment["HTAV_MODEL"] = str(model)
        command = [sys.executable, "-m", "app.cli", "serve", "--no-worker", "--port", str(port)]
        server = subprocess.Popen(command, env=environment)
        try:
            wait(f"http://127.0.0.1:{port}")
            asyncio.run(measure(f"http://127.0.0.1:{port}", seconds))
        finally:
            server.terminate()
            server.wait(30)


def wait(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the service did not become ready")


if __name__ == "__main__":
    typer.run(main)
