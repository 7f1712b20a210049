"""Every test set by name: how it is made, or where it lies in the data, and the check of its digest."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from model.data.manifest import MANIFEST, load_manifest, write_manifest
from model.evaluation.testsets.absent import absent_queries
from model.evaluation.testsets.captions import Captions, TestSetError
from model.evaluation.testsets.digests import check, digests_of, digests_of_texts, record
from model.evaluation.testsets.large import make_large
from model.evaluation.testsets.ordered import film_ordered, plan_ordered, plan_ordered_long
from model.evaluation.testsets.spoken import dub, film
from model.evaluation.testsets.talkers import babble_sentences, plan_pairs, plan_speaker_and_sentence, plan_talkers
from model.progress import Count, Progress, silent

QUERIES = "queries.txt"
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Making:
    """What a recipe may need: the folder of its own files, the folder of all sets, the captions, whom to tell."""

    own: Path
    out: Path
    captions: Captions
    progress: Count


@dataclass(frozen=True)
class Made:
    """A set that is made: `make` writes its files and returns its manifest's lines. `after` must be there first.

    A `large` set is made only when it is named.
    """

    make: Callable[[Making], Lines]
    after: str | None = None
    large: bool = False


@dataclass(frozen=True)
class Given:
    """A part of the data as it is."""

    folder: str
    split: str


@dataclass(frozen=True)
class Asked:
    """A set of queries without items."""

    ask: Callable[[Captions], list[str]]


def _talkers(making: Making) -> Lines:
    return film(making.own, plan_talkers(making.captions), making.progress)


def _talkers_in_babble(snr_db: float, making: Making) -> Lines:
    plan = plan_talkers(making.captions)
    chatter = babble_sentences(making.captions, plan)
    return dub(making.own, making.out / "talkers", plan, chatter, snr_db, making.progress)


def _pairs(making: Making) -> Lines:
    return film(making.own, plan_pairs(making.captions), making.progress)


def _speaker_and_sentence(making: Making) -> Lines:
    return film(making.own, plan_speaker_and_sentence(making.captions), making.progress)


def _ordered(making: Making) -> Lines:
    return film_ordered(making.own, plan_ordered(), making.progress)


def _large(making: Making) -> Lines:
    return make_large(making.own, making.captions, making.progress)


def _ordered_long(making: Making) -> Lines:
    return film_ordered(making.own, plan_ordered_long(), making.progress)


SETS: dict[str, Made | Given | Asked] = {
    "flickr8k-test": Given("flickr8k", "test"),
    "clips": Given("clips", "val"),
    "sounds-val": Given("sounds", "val"),
    "speech-val": Given("speech", "val"),
    "talkers": Made(_talkers),
    "talkers-babble-5db": Made(partial(_talkers_in_babble, 5.0), after="talkers"),
    "talkers-babble-0db": Made(partial(_talkers_in_babble, 0.0), after="talkers"),
    "pairs": Made(_pairs),
    "speaker-and-sentence": Made(_speaker_and_sentence),
    "ordered": Made(_ordered),
    "ordered-long": Made(_ordered_long),
    "absent": Asked(absent_queries),
    "shortlist": Made(_large, large=True),
}
USUAL = tuple(name for name, recipe in SETS.items() if not isinstance(recipe, Made) or not recipe.large)


@dataclass(frozen=True)
class Built:
    """One set, where it lies, and how it compares with its record: same, same queries, or recorded just now."""

    name: str
    folder: Path
    state: str
    digests: dict[str, Any]


def build_sets(
    out: Path,
    data: Path,
    names: Iterable[str],
    *,
    keep_record: bool = False,
    progress: Progress = silent,
) -> list[Built]:
    """Make what is missing of the named sets below `out` and check every one against its record.

    Raises TestSetError for an unknown name, for data that lack what a set is made of, and for a set that differs.
    """
    names, captions = list(names) or list(USUAL), Captions(data)
    unknown = [name for name in names if name not in SETS]
    if unknown:
        raise TestSetError(f"there is no test set '{unknown[0]}'.", f"Choose of: {', '.join(SETS)}.")
    built = []
    for name in names:
        folder, digests = build_one(name, out, captions, partial(progress, name))
        if keep_record:
            record({name: digests})
        built.append(Built(name, folder, "recorded" if keep_record else check(name, digests), digests))
    return built


def build_one(name: str, out: Path, captions: Captions, progress: Count) -> tuple[Path, dict[str, Any]]:
    """The folder of one set, made unless it is there, and its digests."""
    recipe = SETS[name]
    if isinstance(recipe, Given):
        folder = captions.data / recipe.folder
        return folder, digests_of(load_manifest(folder, recipe.split))
    folder = out / name
    if isinstance(recipe, Asked):
        queries = recipe.ask(captions)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / QUERIES).write_text("".join(f"{query}\n" for query in queries), encoding="utf-8")
        return folder, digests_of_texts(queries)
    if not (folder / MANIFEST).is_file():
        if recipe.after is not None:
            build_one(recipe.after, out, captions, progress)
        _make(recipe, folder, out, captions, progress)
    return folder, digests_of(load_manifest(folder, "test"))


def _make(recipe: Made, folder: Path, out: Path, captions: Captions, progress: Count) -> None:
    """Into a folder beside, which takes its place when complete: an interrupted run leaves no half set."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        write_manifest(beside, recipe.make(Making(beside, out, captions, progress)))
        beside.replace(folder)
    except OSError as err:
        raise TestSetError(f"the test set cannot be written to {folder}: {err}.", "Give another folder.") from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
