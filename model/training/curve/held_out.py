"""What the heads are asked: held-out galleries, their queries, and the goals."""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from model.data.manifest import load_manifest
from model.evaluation.evaluate import item_scores
from model.evaluation.metrics import rank, summary
from model.evaluation.queries import gather_queries
from model.training.curve.heads import Heads
from model.training.curve.kept import Kept, joined
from model.training.options import TrainingError

Recalls = dict[str, dict[str, float]]  # percent, by measure and cut

CUTS: Final = {"r1": "R@1", "r10": "R@10"}
FLICKR8K: Final = {"r1": 28.0, "r10": 70.0}  # percent
GOALS: Final = {"Flickr8k val": FLICKR8K, "Flickr8k test": FLICKR8K, "seen in clips": {"r1": 36.0, "r10": 80.0}}
CHOSEN_BY: Final = "Flickr8k val"  # which of a run's steps counts


class Asked:
    """A held-out gallery and its queries."""

    def __init__(self, kept: Kept, folder: Path, split: str, kind: str | None = None) -> None:
        """All queries of the split, or those of a kind; the gallery is the whole split."""
        items, what = load_manifest(folder, split), f"{folder.name} {split}"
        queries = [query for query in gather_queries(items) if kind is None or kind in query.kinds]
        if not queries:
            raise TrainingError(
                f"the split {what} has no text to ask for.", "Its texts need the kind 'visual', if clips."
            )
        clips = kept.see(items, what)
        self.item_of = np.repeat(np.arange(len(items)), [len(keys) for keys in clips])
        self.pictures = joined(kept.pictures.get([key for keys in clips for key in keys]))  # [C, channels]
        self.texts = kept.read([query.text for query in queries], what)  # [Q, hidden]
        self.relevant = [np.isin(np.arange(len(items)), list(query.relevant)) for query in queries]

    @torch.inference_mode()
    def recalls(self, heads: Heads) -> dict[str, float]:
        """Percent of the queries that find an item which answers them."""
        scores = (heads.text(self.texts) @ heads.picture(self.pictures).T).numpy()
        by_query = zip(scores, self.relevant, strict=True)
        ranks = [rank(item_scores(clips, self.item_of, len(right)), right) for clips, right in by_query]
        found = summary(np.asarray(ranks))
        return {cut: found[cut] for cut in CUTS}
