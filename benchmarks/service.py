"""The service under load: what each stage takes, and what happens at twice the load it can bear.

    python benchmarks/service.py [--clips 200] [--seconds 60] [--model DIR] [--neighbours] [--soak MINUTES]

A real `htav serve` over an index of random token sets, each a full clip of the preset, so that every search reranks
100. First one client alone: the median of each stage. Then open-loop arrivals at 0.7, 1 and 2 times the measured
capacity (T19): accepted p99, answers a second, how fast refusals come, and how soon the service is itself again.
`--neighbours`: p95 beside a worker that indexes (T5), and with one thread and with all on a busy machine (T27).
`--soak`: memory and descriptors after minutes at 0.7 times the capacity (T20). Goals stand beside what is measured.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import av
import httpx
import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from indexer.catalog import Catalog, MediaRoot, Video, VideoState, VideoUri, video_id
from indexer.config import IndexSettings
from indexer.publish import publish
from indexer.writer import ClipWriter, NewClip
from model.retriever import Retriever
from model.tokens import TokenSet, quantise

LETTERS = np.frombuffer(b"etaoinshrdlu", np.uint8)
QUERY = {"query": "a red ball rolls across the grass while a dog barks", "limit": 10, "shortlist": 100}
console = Console()


@dataclass
class Load:
    """What came of one phase of arrivals: seconds by kind of answer, and when the last one came."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    last_arrival: float = 0.0


def token_set(retriever: Retriever, rng: np.random.Generator) -> TokenSet:
    config = retriever.config
    V, A, d = config.video.max_tokens, config.audio.max_tokens, config.width
    video, audio = (rng.standard_normal((count, d)).astype(np.float32) for count in (V, A))
    steps = V // retriever.cells
    times = np.repeat(np.arange(steps, dtype=np.float32), retriever.cells)
    levels, heard_at = np.zeros(V, np.uint8), np.linspace(0, 10, A, dtype=np.float32)
    glance = (rng.standard_normal(d) / d**0.5).astype(np.float16)
    return TokenSet(*quantise(video), times, levels, *quantise(audio), heard_at, chance=-2.5, glance=glance)


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
            reading = rng.choice(LETTERS, rng.integers(0, 200)).tobytes().decode()
            clip = NewClip(0, 0.0, 10.0, tokens.to_bytes(), coarse, reading)
            writer.commit(video_id(f"{number:064x}"), [clip])
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
        load.last_arrival = time.perf_counter()
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
        loads = {}
        for share in (0.7, 1.0, 2.0):
            loads[share] = await arrive(client, share * capacity, seconds)
            table.add_row(f"{share}x {capacity:.1f}/s", *_summary(loads[share], seconds))
        recovery_s = await recovery(client, medians["total"] / 1000, loads[2.0].last_arrival)
        console.print(table)
    usual, over = loads[0.7], loads[2.0]
    peak = max(len(load.accepted) for load in loads.values())
    verdicts(
        "Twice the capacity",
        ("accepted p99, times that at 0.7x", np.percentile(over.accepted, 99) / np.percentile(usual.accepted, 99), 1.5),
        ("refusal p99, ms", 1000 * np.percentile(over.refused or [0.0], 99), 50),
        ("answers lost against the peak, %", 100 * (1 - len(over.accepted) / peak), 10),
        ("seconds until it is itself again", recovery_s, 5),
    )


async def recovery(client: httpx.AsyncClient, alone_s: float, last_arrival: float) -> float:
    """Seconds from the last arrival of an overload until a search takes at most twice what it takes alone."""
    while True:
        await ask(client, load := Load())
        if load.accepted and load.accepted[0] <= 2 * alone_s:
            return time.perf_counter() - last_arrival


def verdicts(title: str, *rows: tuple[str, float, float]) -> None:
    """What was measured beside the most that it may be."""
    table = Table("figure", "measured", "at most", "", title=title)
    for name, value, limit in rows:
        table.add_row(name, f"{value:.2f}", f"{limit:g}", "ok" if value <= limit else "MISSED")
    console.print(table)


async def soak(address: str, minutes: float, pid: int) -> None:
    """0.7 times the capacity for minutes; memory and descriptors count from the first tenth of it on."""
    process = psutil.Process(pid)
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        rate = 0.7 * 1000 / (await stages(client))["total"]
        await arrive(client, rate, 6 * minutes)
        memory, descriptors = process.memory_info().rss, process.num_fds()
        load = await arrive(client, rate, 54 * minutes)
        await asyncio.sleep(10)  # connections that were kept open are closed
        errors = sum(count for code, count in load.codes.items() if code not in ("200", "shortlist_reduced"))
        verdicts(
            f"Soak of {minutes:g} minutes, {len(load.accepted)} searches",
            ("memory drift, %", 100 * (process.memory_info().rss / memory - 1), 5),
            ("descriptors more than before", process.num_fds() - descriptors, 0),
            ("errors", errors, 0),
        )


def p95(address: str, seconds: float, job: str | None = None) -> float:
    """Of the seconds that one client waits, one search after the other; with a job, only while it is under way."""
    took = []
    with httpx.Client(base_url=address, timeout=30) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if job is not None and client.get(job).json()["state"] not in ("queued", "running"):
                break
            began = time.perf_counter()
            if client.post("/v1/search", json=QUERY).status_code == 200:
                took.append(time.perf_counter() - began)
    return float(np.percentile(took, 95))


def neighbours(folder: Path, model: Path | None, threads: int, seconds: float) -> None:
    """How much slower searches are beside indexing (T5), and for having more threads on a busy machine (T27)."""
    media = folder / "media"
    media.mkdir()
    footage(media)
    with serving(folder, model, threads, HTAV_MEDIA_ROOTS=str(media)) as (address, _):
        idle = p95(address, seconds)
        paths = [str(path) for path in media.iterdir()]
        job = httpx.post(f"{address}/v1/index-jobs", json={"paths": paths}).headers["location"]
        while httpx.get(f"{address}{job}").json()["progress"] == 0:  # the worker loads the model first
            time.sleep(0.1)
        beside = p95(address, seconds, job)
    cores = os.cpu_count() or 1
    busy = {}
    with ExitStack() as stack:
        for _ in range(cores):
            burner = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(burner.kill)
        for count in (1, cores):
            with serving(folder, model, count, "--no-worker") as (address, _):
                busy[count] = p95(address, seconds)
    verdicts(
        f"Neighbours; p95 alone {1000 * idle:.0f} ms",
        ("p95 beside indexing, times that alone", beside / idle, 1.5),
        (f"p95 with {cores} threads, times that with 1, {cores} busy processes beside", busy[cores] / busy[1], 1.3),
    )


def footage(folder: Path, files: int = 8, seconds: int = 60, fps: int = 10) -> None:
    """Files for the worker, each with other pictures."""
    rng = np.random.default_rng(0)
    for number in range(files):
        canvas = rng.integers(0, 255, (240, 320 + fps * seconds, 3), np.uint8)
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for index in range(fps * seconds):
                picture = np.ascontiguousarray(canvas[:, index : index + 320])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))


def _summary(load: Load, seconds: float) -> list[str]:
    p50, p99 = np.percentile(load.accepted, [50, 99])
    refused = f"{1000 * np.percentile(load.refused, 99):.0f}" if load.refused else "-"
    answers = ", ".join(f"{code} {count}" for code, count in load.codes.most_common())
    return [f"{p50:.2f}", f"{p99:.2f}", f"{len(load.accepted) / seconds:.1f}", refused, answers]


@contextmanager
def serving(data: Path, model: Path | None, threads: int, *options: str, **variables: str) -> Iterator[tuple[str, int]]:
    """`htav serve` on this data folder: its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HTAV_DATA_DIR": str(data), "HTAV_THREADS": str(threads), **variables}
    environment |= {"HTAV_LOG_LEVEL": "WARNING", "HTAV_MIN_FREE_BYTES": "0"}
    if model:
        environment["HTAV_MODEL"] = str(model)
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *options]
    server = subprocess.Popen(command, env=environment)
    try:
        wait(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(60)


def main(
    clips: Annotated[int, typer.Option(help="Clips in the index.")] = 200,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 20.0,
    model: Annotated[Path | None, typer.Option(help="A checkpoint folder; the embedded one by default.")] = None,
    threads: Annotated[int, typer.Option(help="Thread budget of inference.")] = 2,
    beside: Annotated[bool, typer.Option("--neighbours", help="Also beside indexing, and on a busy machine.")] = False,
    minutes: Annotated[float, typer.Option("--soak", help="Also for so many minutes at 0.7 times the capacity.")] = 0,
) -> None:
    """Measure the service on this machine."""
    retriever = Retriever.from_pretrained(model) if model else Retriever.embedded()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(IndexSettings(data_dir=folder, min_free_bytes=0), retriever, clips)
        with serving(folder, model, threads, "--no-worker") as (address, pid):
            asyncio.run(measure(address, seconds))
            if minutes:
                asyncio.run(soak(address, minutes, pid))
        if beside:
            neighbours(folder, model, threads, seconds)


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
