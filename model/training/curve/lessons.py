"""What the heads learn from: a part of the photographs with their captions, and of ImageNet's names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.data.manifest import load_manifest, normalised
from model.training import named
from model.training.curve.kept import Kept, joined
from model.training.named import Classifier
from model.training.options import TrainingError

Batch = tuple[Tensor, Tensor, Tensor]  # pictures [B, channels], texts [B, hidden], which answers which [B, B]

PARTS: Final = (0.125, 0.25, 0.5, 1.0)
WORDINGS: Final = 8  # texts that ask for a class


class Photographs:
    """Photographs to learn from, with their captions."""

    def __init__(self, kept: Kept, folder: Path) -> None:
        items = [item for item in load_manifest(folder, "train") if item.form == "still" and item.texts]
        if len(items) < 1 / PARTS[0]:
            raise TrainingError(f"{folder} has {len(items)} train photographs.", "A part would be empty: give it more.")
        self.store, self.keys = kept.pictures, [keys[0] for keys in kept.see(items, f"{folder.name} train")]
        self.pictures = joined(self.store.get(self.keys))  # [P, channels]
        captions = [caption for item in items for caption in item.texts]
        self.texts = kept.read(captions, f"{folder.name} train")  # [captions, hidden]
        self.same = _numbered([normalised(caption) for caption in captions])  # equal captions answer each other
        ends = np.cumsum([len(item.texts) for item in items]).tolist()
        self.captions = [range(end - len(item.texts), end) for item, end in zip(items, ends, strict=True)]

    def part(self, part: float, seed: int) -> list[int]:
        """The rows of a part of the photographs; a smaller one is within a larger one of the same seed."""
        return _part(len(self.keys), part, seed)

    def batch(self, rows: Sequence[int], size: int, rng: np.random.Generator) -> Batch:
        """Up to `size` of these photographs, with one caption of each."""
        chosen = rng.choice(rows, min(size, len(rows)), replace=False).tolist()
        captions = [int(rng.choice(self.captions[row])) for row in chosen]
        same = self.same[captions]
        return self.pictures[chosen], self.texts[captions], same[:, None] == same


class Names:
    """Photographs moved to ImageNet's classes, and texts that ask for these by name (`model.training.named`)."""

    def __init__(self, kept: Kept, photographs: Photographs, classifier: Classifier) -> None:
        rng = np.random.default_rng(0)
        self.photographs, self.classifier, self.classes = photographs, classifier, len(classifier[1])
        known = [found[: named.SYNONYMS] for found in named.class_names()[: self.classes]]
        names = [normalised(found[number % len(found)]) for found in known for number in range(WORDINGS)]
        self.texts = kept.read([named.text_of(name, rng) for name in names], "ImageNet's names")
        self.same = _numbered(names)

    def slopes(self, rows: Sequence[int]) -> list[Tensor]:
        """Fitted to these photographs alone: [classes, channels] a level."""
        keys = [self.photographs.keys[row] for row in rows]
        return named.directions(self.photographs.store, keys, *self.classifier)

    def part(self, part: float, seed: int) -> list[int]:
        """A part of the classes; a smaller one is within a larger one of the same seed."""
        return _part(self.classes, part, seed)

    def batch(
        self, rows: Sequence[int], classes: Sequence[int], slopes: Sequence[Tensor], size: int, rng: np.random.Generator
    ) -> Batch:
        """Up to `size` of these photographs, each moved to one of these classes of its own."""
        chosen = rng.permutation(rows)[: min(size, len(classes))].tolist()
        shown = rng.permutation(classes)[: len(chosen)]
        logits = torch.from_numpy(rng.uniform(named.LEAST, named.MOST, len(chosen)).astype(np.float32))
        maps = self.photographs.store.get([self.photographs.keys[row] for row in chosen])
        pictures = joined(named.moved(maps, [level[shown] for level in slopes], logits))
        texts = shown * WORDINGS + rng.integers(WORDINGS, size=len(chosen))
        same = self.same[texts]
        return pictures, self.texts[texts], same[:, None] == same


def _part(count: int, part: float, seed: int) -> list[int]:
    order = np.random.default_rng([seed, 9]).permutation(count)
    return [int(number) for number in order[: round(part * count)]]


def _numbered(texts: Sequence[str]) -> Tensor:
    """A number for each text, the same for equal ones."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])
