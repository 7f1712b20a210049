"""Order accuracy: does a query score higher on its own item than the same query with its parts exchanged?

An item may name, in the manifest's field `reversed_text`, the reverse of each of its texts. Whatever a network thinks
of a text without looking is the same for a scene and its reverse, so a set that holds both is fair: chance is 50 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.data.manifest import Item, ManifestError
from model.evaluation.gallery import EncodedGallery
from model.evaluation.metrics import share
from model.progress import Progress
from model.retriever import BOTH, Retriever
from model.tokens import TokenSet

FIELD = "reversed_text"


@dataclass(frozen=True)
class Twins:
    """A text of an item and its reverse."""

    item: int
    text: str
    reverse: str
    kind: str


def gather_twins(items: Sequence[Item]) -> list[Twins]:
    """Every text that has a reverse. Raises ManifestError when an item's reverses do not pair with its texts."""
    found = []
    for number, item in enumerate(items):
        value = item.extra.get(FIELD)
        if value is None:
            continue
        reverses = [value] if isinstance(value, str) else value
        if not isinstance(reverses, list) or len(reverses) != len(item.texts):
            raise ManifestError(
                f"{item.name}: `{FIELD}` must hold one text for each of `texts`.", "Leave it out where there is none."
            )
        pairs = zip(item.texts, reverses, strict=True)
        found += [Twins(number, text, str(reverse), item.kind) for text, reverse in pairs]
    return found


def twin_figures(
    items: Sequence[Item],
    encoded: EncodedGallery,
    retriever: Retriever,
    seed: int,
    modalities: tuple[str, ...] = BOTH,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Accuracy in percent, over all twins and by the kind of their items; a tie is half right. None without twins."""
    twins = gather_twins(items)
    if not twins:
        return None
    right = []
    for done, twin in enumerate(twins, 1):
        clips = [encoded.clips[row] for row in encoded.clips_of([twin.item])]
        right.append(_right(retriever, twin, clips, modalities))
        if progress is not None:
            progress("ask the reversed twins", done, len(twins))
    return {
        **_accuracy(twins, right, len(items), seed),
        "kinds": {
            kind: _accuracy(twins, right, len(items), seed, kind) for kind in sorted({twin.kind for twin in twins})
        },
    }


def _right(retriever: Retriever, twin: Twins, clips: Sequence[TokenSet], modalities: tuple[str, ...]) -> float:
    """1 where the text beats its reverse on the item's best clip, 0.5 where neither does."""
    text = retriever.encode_text([twin.text, twin.reverse])
    scores = [retriever.rerank(text, row, list(clips), modalities).fused for row in (0, 1)]
    ours, theirs = (float(found.max(initial=-1.0)) for found in scores)
    return 1.0 if ours > theirs else 0.5 if ours == theirs else 0.0


def _accuracy(
    twins: Sequence[Twins], right: Sequence[float], items: int, seed: int, kind: str | None = None
) -> dict[str, Any]:
    chosen = [number for number, twin in enumerate(twins) if kind is None or twin.kind == kind]
    owners = [(twins[number].item,) for number in chosen]
    return {"queries": len(chosen), "accuracy": share([right[number] for number in chosen], owners, items, seed)}
