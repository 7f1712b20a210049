"""Which queries a gallery is asked, and which of its items answer each: the protocol of docs/evaluation.md."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model.data.manifest import PART_KINDS, Item, normalised

Gallery = Literal["split", "group"]


@dataclass(frozen=True)
class Query:
    """One distinct text. `owners` have it; `relevant` also has those that share a video or a relevance key with one."""

    text: str
    owners: tuple[int, ...]
    relevant: frozenset[int]
    kinds: frozenset[str]
    group: str | None = None


def gather_queries(items: Sequence[Item], gallery: Gallery = "split") -> list[Query]:
    """Each distinct text (lower-cased, punctuation stripped) once; in the gallery `group`, once a group that has it.

    A line that has texts of kinds alone (seen, said...) is asked for by all of them.
    """
    having: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    wording: dict[str, str] = {}
    for number, item in enumerate(items):
        for text in item.texts or item.all_texts():
            key = normalised(text)
            wording.setdefault(key, text)
            owners = having[key, item.group if gallery == "group" else None]
            if number not in owners:
                owners.append(number)
    alike: dict[Any, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        for key in _likeness(item):
            alike[key].append(number)
    return [
        Query(
            text=wording[key],
            owners=tuple(owners),
            relevant=frozenset(_relevant(items, owners, alike, group)),
            kinds=frozenset(kind for number in owners for kind in _kinds(items[number], key)),
            group=group,
        )
        for (key, group), owners in having.items()
    ]


def _likeness(item: Item) -> list[Any]:
    """What makes other items answer this one's texts: the same video on another line, or a relevance key."""
    return [item.content, *([] if item.relevance_key is None else [item.relevance_key])]


def _relevant(items: Sequence[Item], owners: Sequence[int], alike: dict[Any, list[int]], group: str | None) -> set[int]:
    related = {number for owner in owners for key in _likeness(items[owner]) for number in alike[key]}
    return {*owners, *(number for number in related if group is None or items[number].group == group)}


def _kinds(item: Item, key: str) -> set[str]:
    """The item's kind, and the kinds of the parts (said, seen, heard...) in which it lists the text."""
    of_parts = {PART_KINDS[name] for name, texts in item.parts.items() if key in map(normalised, texts)}
    return of_parts | ({item.kind} if item.kind else set())


def candidates(items: Sequence[Item], query: Query) -> list[int]:
    """The items a query is ranked among."""
    if query.group is None:
        return list(range(len(items)))
    return [number for number, item in enumerate(items) if item.group == query.group]
