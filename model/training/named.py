"""Photographs moved to where the frame trunk sees a class of ImageNet, asked for by the class's name.

A few thousand captioned photographs teach few words. The frame trunk can tell a thousand things apart, and its
publisher's classifier says what they are called; so what its maps look like where it sees one is taught with the name.
No picture of the thing is needed: over the photographs at hand, each channel changes with what the classifier says of
a class (a linear regression), and along that line a photograph's maps are moved until the classifier is sure.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.config import VideoConfig
from model.data.batches import Draw
from model.data.examples import Example, Source, views_of, weight_of
from model.data.features import FeatureStore, MapShape
from model.data.manifest import normalised
from model.training import trunks
from model.training.batch import Sense, TrainBatch
from model.training.options import TrainingError

Classifier = tuple[Tensor, Tensor]  # weight [classes, channels of the trunk's last map] and bias [classes]

NAMED: Final = "named"  # the form of a source of such photographs
MADE: Final = "generated"  # who wrote the texts of what `htav synth` draws: a trunk that saw photographs knows it badly
BACKBONE: Final = "tf_efficientnet_lite2"
LEAST, MOST = 7.0, 17.0  # how far a class's logit is moved, before what is below zero is cut off: "perhaps" to "surely"
SYNONYMS: Final = 3  # of a class's names; what comes after them is rarely said
BLOCK: Final = 512
TEMPLATES: Final = (
    "{a} {name}",
    "the {name}",
    "a photo of {a} {name}",
    "a video of {a} {name}",
    "there is {a} {name}",
    "{a} {name} in the picture",
    "a close up of {a} {name}",
    "someone with {a} {name}",
)


class Namer:
    """Makes batches of moved photographs and names out of photographs' kept maps."""

    def __init__(self, source: Source, store: FeatureStore, classifier: Classifier, *, seed: int, views: int) -> None:
        """`store` keeps the trunk's maps of the photographs of `source`; for `classifier` see `directions`."""
        keys = [photograph.feature_key(0, 0) for photograph in source.examples]
        self.store, self.seed, self.views = store, seed, views
        self.names = class_names()[: len(classifier[1])]
        self.directions = directions(store, keys, *classifier)

    def batch(self, draw: Draw, source: Source) -> TrainBatch:
        """One photograph for each row of the draw, each moved to a class of its own as long as there are classes."""
        rng = np.random.default_rng([self.seed, 6, draw.step, draw.rows[0]])
        photographs = [source.examples[row] for row in draw.rows[: len(self.names)]]
        classes = rng.permutation(len(self.names))[: len(photographs)].tolist()
        names = [self._name(self.names[number], rng) for number in classes]
        keys = [self._key(photograph, rng) for photograph in photographs]
        logits = torch.from_numpy(rng.uniform(LEAST, MOST, len(classes)).astype(np.float32))
        maps = moved(self.store.get(keys), [level[classes] for level in self.directions], logits)
        truth = torch.tensor([[own == other for other in names] for own in names])  # cranes are birds and machines
        return TrainBatch(
            texts=[text_of(name, rng) for name in names],
            positives=truth,
            video_features=maps,
            seen=Sense(truth, torch.ones(len(names), dtype=torch.bool)),
            heard=Sense(truth, torch.zeros(len(names), dtype=torch.bool)),
        )

    def _key(self, photograph: Example, rng: np.random.Generator) -> str:
        return photograph.feature_key(0, int(rng.integers(views_of(photograph, self.views))))

    @staticmethod
    def _name(names: Sequence[str], rng: np.random.Generator) -> str:
        return normalised(names[int(rng.integers(min(len(names), SYNONYMS)))])


def text_of(name: str, rng: np.random.Generator) -> str:
    """A query that asks for what is called so."""
    article = "an" if name[0] in "aeiou" else "a"
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(a=article, name=name)


def published_classifier(config: VideoConfig, kept: Sequence[MapShape] | None) -> Classifier:
    """What the frame trunk's publisher tells ImageNet's classes apart by.

    Raises TrainingError where that is not at hand for the trunk of `config`, or what is `kept` of frames is not its
    last maps, TrunkUnavailableError where it cannot be fetched.
    """
    if config.backbone != BACKBONE or kept is None or [shape[0] for shape in kept] != list(config.channels):
        raise TrainingError(
            f"--names needs the frame trunk {BACKBONE} and its last maps.",
            "Leave it out, or train with the preset compact and without frames-last.",
        )
    published = trunks.lite2_state()
    return published["classifier.weight"], published["classifier.bias"]


def class_names() -> list[list[str]]:
    """The names of ImageNet's classes, the most usual of each first, in the order of the classifier's outputs."""
    from timm.data import ImageNetInfo

    known = ImageNetInfo()
    return [known.index_to_description(number).split(", ") for number in range(known.num_classes())]


def directions(store: FeatureStore, keys: Sequence[str], weight: Tensor, bias: Tensor) -> list[Tensor]:
    """How far each channel's mean over places moves with one more of a class's logit: [classes, channels] a level.

    The least squares of the channels on the logit, over the photographs of `keys`. The logits are what the classifier
    `weight` [classes, channels of the last level] says of them, less their mean, which its softmax does not see.
    """
    blocks = (store.get(keys[start : start + BLOCK]) for start in range(0, len(keys), BLOCK))  # one held at a time
    means = torch.cat([torch.cat([level.mean(dim=(1, 3, 4)) for level in block], dim=1) for block in blocks])
    logits = means[:, -weight.shape[1] :] @ weight.T + bias
    logits = logits - logits.mean(dim=1, keepdim=True)
    logits, means = logits - logits.mean(dim=0), means - means.mean(dim=0)
    slopes = logits.T @ means / logits.square().sum(dim=0).clamp(min=1e-6).unsqueeze(1)
    return list(torch.split(slopes, [shape[0] for shape in store.shapes], dim=1))


def moved(maps: Sequence[Tensor], slopes: Sequence[Tensor], logits: Tensor) -> list[Tensor]:
    """Maps [C, T, channels, rows, columns] with the same added everywhere; what the head gives is not below zero."""
    added = [slope * logits.unsqueeze(1) for slope in slopes]  # [C, channels]
    levels = [level + more[:, None, :, None, None] for level, more in zip(maps, added, strict=True)]
    return [*levels[:-1], levels[-1].clamp(min=0.0)]


def named(sources: Sequence[Source], share: float, world: int = 1) -> Source:
    """The source of moved photographs, drawn for this share of the steps beside `sources`, which may be composed films.

    Raises TrainingError without photographs.
    """
    stills = [example for source in sources if source.form == "still" for example in source.examples]
    photographs = [still for still in stills if still.item.extra.get("text_source") != MADE]
    if len(photographs) < world:
        raise TrainingError("names are taught with photographs, and --data has none.", "Leave out --names.")
    return Source(NAMED, NAMED, weight_of(share, sources), photographs)
