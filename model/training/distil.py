"""The shortlist's own layers (`model.listing`), taught to rank a library as the whole network does.

Only what is on the shortlist is reranked, so the coarse vectors must put there what the rerank would put first. The
whole network scores many queries against many clips once; then a few hundred steps draw the softmax of the coarse
scores to that of these (listwise distillation: ListNet, Cao et al. 2007, with a network for a teacher). No score
changes, for scores do not use what is taught. Words found letter by letter are left out of them: letters have places of
their own on the shortlist.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.cachedir import cache_dir
from model.config import RetrieverConfig
from model.data.items import items_digest
from model.data.manifest import Item, load_manifest
from model.durable import replace_bytes
from model.evaluation.evaluate import CLIP_BATCH, Float32, score_queries
from model.evaluation.gallery import EncodedGallery, encode_gallery
from model.evaluation.queries import Query, gather_queries
from model.listing import Listing, told
from model.memory import keep_freed_memory
from model.progress import Progress
from model.retriever import Retriever
from model.training.devices import computing_on
from model.training.options import TrainingError
from model.training.schedule import factor
from model.training.start import with_taught_part

BLOCK: Final = 64  # queries that are scored against the same clips
HELD_OUT: Final = 12  # of so many blocks one teaches nothing and says how well it went
SHORT: Final = 0.01  # of the clips are a shortlist there: as sharp as 100 of 10,000
SHARPNESS: Final = 50.0  # of the scores' softmax: a few clips have most of it
FIRST: Final = 8  # of each query's best clips are in each step
QUERIES, CLIPS, RATE, DECAY = 256, 3000, 1e-3, 0.01  # of a step
SPEECH: Final = "speech"  # the kind of queries that letters answer


@dataclass(frozen=True)
class Request:
    """Which checkpoint is taught, with what library."""

    checkpoint: Path
    data: Sequence[Path]
    split: str = "train"
    queries: int = 800  # of a kind of a folder, at most
    clips: int = 4000  # that a query is scored against, at most
    steps: int = 600
    seed: int = 0
    threads: int = 2


class Block(NamedTuple):
    """Some queries, some of the gallery's clips, and the scores that the whole network gives their pairs."""

    queries: Sequence[int]
    clips: NDArray[np.int64]  # [C], ascending
    scores: Float32  # [B, C]


class Pupil(NamedTuple):
    """What the coarse vectors of Q queries and G clips are made of."""

    queries: Tensor  # [Q, 3 d] without what the listing adds
    told: Tensor  # [Q, 3 d + hidden]
    clips: Tensor  # [G, 3 d]
    halves: Tensor  # [G, 4 d]

    def scores(self, listing: Listing, queries: Tensor, clips: Tensor) -> Tensor:
        """The shortlist's scores of some of the queries with some of the clips."""
        asked = listing.queries(self.queries[queries], self.told[queries])
        return asked @ listing.clips(self.clips[clips], self.halves[clips]).T


def distil(request: Request, progress: Progress) -> dict[str, Any]:
    """Teach the checkpoint in place; the document says how often the shortlist holds the rerank's first.

    Raises ManifestError, CheckpointError, or TrainingError where there is too little to learn from.
    """
    keep_freed_memory()
    teacher = Retriever.from_pretrained(request.checkpoint)
    taught = with_listing(teacher, request.seed)
    items = [item for folder in request.data for item in load_manifest(folder, request.split)]
    queries = drawn(items, request.queries, request.seed)
    if len(queries) <= BLOCK:
        raise TrainingError(
            f"{len(queries)} queries that are not about speech are too few to learn from.",
            f"Give --data with more than {BLOCK} of them, or raise --queries.",
        )
    listing = taught.coarse.listing
    assert listing is not None
    with computing_on(request.threads):
        encoded = encode_gallery(items, teacher, cache_dir("evaluation"), progress)
        if not encoded.clips:
            first = encoded.failures[0]
            raise TrainingError("no file of the data can be read.", f"{first.file}: {first.message}")
        blocks = list(scored(request, teacher, items, queries, encoded, progress))
        held_out, lessons = blocks[::HELD_OUT], [block for n, block in enumerate(blocks) if n % HELD_OUT]
        pupil = prepared(taught, queries, encoded)
        before = holds_first(pupil, listing, held_out)
        teach(pupil, listing, lessons, request.steps, request.seed, progress)
        after = holds_first(pupil, listing, held_out)
    taught.save_pretrained(request.checkpoint)
    return {
        "checkpoint": str(request.checkpoint),
        "queries": len(queries),
        "clips": len(encoded.clips),
        "holds_first_percent": {"before": before, "after": after},
        "failed": [asdict(failure) for failure in encoded.failures],
    }


def with_listing(retriever: Retriever, seed: int) -> Retriever:
    """The retriever with the layers that are taught, untaught where it has none. Raises TrainingError."""
    config = retriever.config
    hidden = config.listing or RetrieverConfig.from_preset(config.preset).listing
    return with_taught_part(retriever, seed, "distil", listing=hidden)


def drawn(items: Sequence[Item], most: int, seed: int) -> list[Query]:
    """Up to `most` texts of each kind of each folder, but what is said, in an order drawn by the seed."""
    rng = np.random.default_rng([seed, 7])
    kinds: dict[tuple[Path, tuple[str, ...]], list[Query]] = defaultdict(list)
    for query in gather_queries(items):
        if SPEECH not in query.kinds:
            kinds[items[query.owners[0]].folder, tuple(sorted(query.kinds))].append(query)
    chosen = [found[place] for _, found in sorted(kinds.items()) for place in rng.permutation(len(found))[:most]]
    return [chosen[place] for place in rng.permutation(len(chosen))]


def scored(
    request: Request,
    teacher: Retriever,
    items: Sequence[Item],
    queries: Sequence[Query],
    encoded: EncodedGallery,
    progress: Progress,
) -> Iterator[Block]:
    """All queries in blocks. What was scored once is kept, for this takes longest."""
    library, folder = items_digest(items), cache_dir("distil")
    count = -(-len(queries) // BLOCK)
    for number in range(count):
        places = range(number * BLOCK, min((number + 1) * BLOCK, len(queries)))
        rng = np.random.default_rng([request.seed, 8, number])
        clips = np.sort(rng.permutation(len(encoded.clips))[: request.clips])
        asked = [queries[place] for place in places]
        lines = [f"{teacher.scoring}", teacher.fingerprint, library, *(query.text for query in asked)]
        known = "\n".join(lines).encode() + clips.tobytes()
        path = folder / f"{hashlib.sha256(known).hexdigest()}.npy"
        scores = _kept(path, (len(asked), len(clips)))
        if scores is None:
            rows = score_queries(teacher, asked, encoded, [clips] * len(asked), letters=False)
            scores = np.stack([row.fused[clips] for row in rows])
            np.save(content := io.BytesIO(), scores)
            replace_bytes(path, content.getvalue())
        yield Block(places, clips, scores)
        progress("score queries", number + 1, count)


def _kept(path: Path, shape: tuple[int, int]) -> Float32 | None:
    """Scores that were kept; a damaged file counts as none and is made again."""
    try:
        scores: Float32 = np.load(path)
    except (OSError, EOFError, ValueError):
        return None
    return scores if scores.shape == shape else None


@torch.inference_mode()
def prepared(retriever: Retriever, queries: Sequence[Query], encoded: EncodedGallery) -> Pupil:
    """What the coarse vectors of the queries and the gallery are made of."""
    coarse, asked, shown = retriever.coarse, [], []
    for start in range(0, len(queries), BLOCK):
        text = retriever.encode_text([query.text for query in queries[start : start + BLOCK]])
        asked.append((coarse.plain_queries(text), told(text)))
    for start in range(0, len(encoded.clips), CLIP_BATCH):
        clips = retriever.collate(encoded.clips[start : start + CLIP_BATCH])
        shown.append((coarse.plain_clips(clips), coarse.halves(clips)))
    return Pupil(*(torch.cat(part).cpu() for found in (asked, shown) for part in zip(*found, strict=True)))


def teach(pupil: Pupil, listing: Listing, lessons: Sequence[Block], steps: int, seed: int, progress: Progress) -> None:
    """Draw the softmax of the shortlist's scores to that of the whole network's, over clips that a step draws."""
    listing.train()
    sharpness = nn.Parameter(torch.tensor(20.0).log())  # of the shortlist's scores, which are of another scale
    optimizer = torch.optim.AdamW([*listing.parameters(), sharpness], lr=RATE, weight_decay=DECAY)
    rng = np.random.default_rng([seed, 9])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = RATE * factor("cosine", step / steps)
            losses = []
            for place in rng.permutation(len(lessons))[: QUERIES // BLOCK]:
                queries, clips, scores = lessons[place]
                chosen = _columns(scores, rng)
                target = (SHARPNESS * torch.from_numpy(scores[:, chosen])).softmax(dim=1)
                found = pupil.scores(listing, torch.tensor(queries), torch.from_numpy(clips[chosen]))
                losses.append(-(target * (sharpness.exp() * found).log_softmax(dim=1)).sum(dim=1).mean())
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            optimizer.step()
            progress("teach the shortlist", step + 1, steps)
    listing.eval()


def _columns(scores: Float32, rng: np.random.Generator) -> NDArray[np.int64]:
    """Some clips of a block, each query's best among them."""
    best = np.argpartition(-scores, min(FIRST, scores.shape[1]) - 1, axis=1)[:, :FIRST]
    others = rng.permutation(scores.shape[1])[: CLIPS * BLOCK // QUERIES]
    return np.union1d(best, others)


@torch.inference_mode()
def holds_first(pupil: Pupil, listing: Listing, blocks: Sequence[Block]) -> float:
    """Of how many queries, in percent, the best clip is among the first hundredth by the shortlist's scores."""
    held = []
    for queries, clips, scores in blocks:
        found = pupil.scores(listing, torch.tensor(queries), torch.from_numpy(clips))
        best = found.gather(1, torch.from_numpy(scores.argmax(axis=1)).unsqueeze(1))
        held += ((found > best).sum(dim=1) < max(1, round(SHORT * len(clips)))).tolist()
    return round(100.0 * float(np.mean(held)), 1)
