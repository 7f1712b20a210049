"""The items of several data folders as sources of training batches, each decodable and decoded once beforehand.

A source is homogeneous: photographs, sounds, or films. A step draws from one source, so that no batch mixes clips that
can be told apart by what they lack.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from model.containers import MediaError
from model.data import augment
from model.data.features import FeatureStore
from model.data.items import ClipCache, Span, content_key
from model.data.manifest import Item, ManifestError, load_manifest, normalised
from model.progress import Progress

if TYPE_CHECKING:
    from model.video import VideoEncoder

FORMS = ("still", "sound", "film")


class NothingToTrainOnError(ManifestError):
    """No item of the data can be used."""

    code: ClassVar[str] = "no_training_data"


@dataclass(frozen=True)
class Folder:
    """A data folder and how often it is drawn from, as `--data DIR` or `--data DIR:WEIGHT` says."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, given: str) -> "Folder":
        """A folder whose name itself ends in `:2` wins over the weight."""
        path, colon, weight = given.rpartition(":")
        if not colon or Path(given).exists():
            return cls(Path(given))
        try:
            number = float(weight)
        except ValueError:
            return cls(Path(given))
        if not 0 < number < float("inf"):
            raise ManifestError(
                f"the weight in '{given}' is not above zero.", "Write DIR:WEIGHT, such as data/photos:2."
            )
        return cls(Path(path), number)


@dataclass(frozen=True, eq=False)
class Example:
    """One usable item: its clips and what is known of its texts."""

    item: Item
    spans: tuple[Span, ...]
    form: str  # still, sound or film
    key: str
    texts: tuple[str, ...]
    known: frozenset[str]  # every text of the item, normalised
    mirror: bool

    def feature_key(self, clip: int, view: int) -> str:
        """Runs share a store, and of one photograph some texts may bear a mirrored view that others do not."""
        unmirrored = ":unmirrored" if view and not self.mirror else ""
        return f"{self.key}:{clip}:{view}{unmirrored}"


@dataclass
class Source:
    """Examples of one form out of one folder."""

    name: str
    form: str
    weight: float
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """An item that cannot be used, and why."""

    file: str
    code: str
    message: str


def gather(
    folders: Sequence[Folder], split: str, cache: ClipCache, progress: Progress, most: int | None = None
) -> tuple[list[Source], list[Failure]]:
    """The sources of a split; items without texts are left out, items that cannot be opened are reported.

    `most` items of each folder are taken when given, evenly spread over it.
    """
    sources: list[Source] = []
    failures: list[Failure] = []
    for folder, title in zip(folders, _titles(folders), strict=True):
        items = [item for item in load_manifest(folder.path) if item.split == split and item.all_texts()]
        items = _spread(items, most)
        by_form = {form: Source(f"{title}/{form}", form, 0.0) for form in FORMS}
        for number, item in enumerate(items, 1):
            try:
                example = _example(item, cache)
                by_form[example.form].examples.append(example)
            except MediaError as err:  # one bad file never stops a run
                failures.append(Failure(item.name, err.code, err.message))
            progress(f"read {title} ({split})", number, len(items))
        usable = sum(len(source.examples) for source in by_form.values())
        for source in by_form.values():
            if source.examples:
                source.weight = folder.weight * len(source.examples) / usable
                sources.append(source)
    return sources, failures


def _titles(folders: Sequence[Folder]) -> list[str]:
    """What each folder is called: its name, with its parent's before it where another has the same."""
    paths = [folder.path.absolute() for folder in folders]
    counts = Counter(path.name for path in paths)
    return [path.name if counts[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]


def _spread(items: list[Item], most: int | None) -> list[Item]:
    if most is None or len(items) <= most:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _example(item: Item, cache: ClipCache) -> Example:
    texts = item.all_texts()
    known = frozenset(normalised(text) for text in texts)
    found = cache.look(item)
    form = "still" if item.form == "still" else "film" if found.has_video else "sound"
    return Example(item, found.spans, form, content_key(item), texts, known, augment.may_mirror(texts))


def decode_all(sources: Sequence[Source], cache: ClipCache, progress: Progress, begin_at: float = 0.0) -> list[Failure]:
    """Decode every clip into the cache; examples of which one clip cannot be decoded are taken out.

    Photographs are not kept, but tried: what cannot be read would end a run in the middle, at the same step each time.
    Processes that fill one cache share the work where each begins at another part (0 to 1) of every source.
    """

    def touch(example: Example) -> None:
        kept = cache.sound if example.form == "sound" else cache.clip
        for index, span in enumerate(example.spans):
            kept(example.item, index, span)

    return _each(sources, touch, "decode", progress, begin_at)


def compute_features(
    sources: Sequence[Source],
    cache: ClipCache,
    encoder: "VideoEncoder",
    store: FeatureStore,
    views: int,
    progress: Progress,
    busy: Callable[[], None] = lambda: None,
) -> list[Failure]:
    """The frozen trunk's maps of every clip into the store: as it is, and `views` - 1 times changed for photographs.

    `busy` is called where another process fills the store: this one waits for it.
    """

    def fill(example: Example) -> None:
        for index, span in enumerate(example.spans):
            wanted = [(view, example.feature_key(index, view)) for view in range(views_of(example, views))]
            missing = [(view, key) for view, key in wanted if key not in store]
            if not missing:
                continue
            frames = cache.clip(example.item, index, span).frames
            if frames is None:
                return
            changed = [frames if view == 0 else _view(frames, example, view) for view, _ in missing]
            for (_, key), maps in zip(missing, _maps(encoder, changed), strict=True):
                store.add(key, maps)

    with store.writing(busy):
        return _each([source for source in sources if source.form != "sound"], fill, "run the frozen trunk", progress)


def weight_of(share: float, sources: Sequence[Source]) -> float:
    """The weight with which something is drawn for this share of the steps beside these sources."""
    return share / (1.0 - share) * sum(source.weight for source in sources)


def views_of(example: Example, views: int) -> int:
    """Films come with changes of their own; photographs alone are seen in several crops."""
    return views if example.form == "still" else 1


def _view(frames: NDArray[np.uint8], example: Example, view: int) -> NDArray[np.uint8]:
    """The same for every run, so that runs share a store."""
    rng = np.random.default_rng([view, int(example.key[:12], 16)])
    return augment.pictures(frames, rng, mirror=example.mirror)


@torch.inference_mode()
def _maps(encoder: "VideoEncoder", clips: list[NDArray[np.uint8]]) -> list[list[torch.Tensor]]:
    """For each clip [T, S, S, 3] its maps, one [T, channels, rows, columns] a level."""
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(clips).transpose(0, 1, 4, 2, 3)))
    levels = encoder.keep(stacked)
    return [[level[row] for level in levels] for row in range(len(clips))]


def _each(
    sources: Sequence[Source], work: Callable[[Example], None], what: str, progress: Progress, begin_at: float = 0.0
) -> list[Failure]:
    failures: list[Failure] = []
    for source in sources:
        total = len(source.examples)
        first, unusable = int(begin_at * total), set()
        for number, row in enumerate([*range(first, total), *range(first)], 1):
            example = source.examples[row]
            try:
                work(example)
            except MediaError as err:
                failures.append(Failure(example.item.name, err.code, err.message))
                unusable.add(row)
            progress(f"{what}: {source.name}", number, total)
        source.examples = [example for row, example in enumerate(source.examples) if row not in unusable]
    return failures


def usable(sources: Sequence[Source], split: str = "train") -> list[Source]:
    """Sources that still hold something. Raises NothingToTrainOnError when none does."""
    found = [source for source in sources if source.examples]
    if not found:
        raise NothingToTrainOnError(
            f"none of the data folders has a usable item of the split '{split}'.",
            f"Each needs lines with `texts`, `split` {split}, and files that can be decoded.",
        )
    return found
