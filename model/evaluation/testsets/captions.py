"""The sentences of the test sets: human captions that no training says or reads, from data that lie outside HTAV.

`DATA` is a folder with `texts/*.json` (MSR-VTT's and MSVD's test captions, [{"video", "caption": [...]}, ...]) and
`flickr8k/` (a manifest whose train part says which words training has met).
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from model.data.manifest import load_manifest, normalised
from model.data.synthesis.sentences import SLOTS, split_of
from model.errors import HtavError

SHORTEST, LONGEST = 4, 12  # words of a sentence
KNOWN_FROM = 5  # a word that fewer captions have may be misspelt
FEWEST_LETTERS = 3
STOPWORDS = frozenset(
    """
    a about above across after all along also am among an and another any are around as at away be because been before
    behind being below beside between both but by can could did do does doing down each either else every few for from
    front get gets getting goes going gone had has have having he her here hers him his how if in inside into is it its
    itself just like made make makes making many may me more most much my near next no nor not now of off on once one
    ones onto or other others our out over own per put puts so some something such than that the their them then there
    these they this those three through to together too toward towards two under until up upon us use uses using very
    was way we well were what when where which while who whom why will with within without would you your
    """.split()
)


class TestSetError(HtavError):
    """A test set cannot be made, or is not the one whose digest is known."""

    __test__: ClassVar[bool] = False  # a test runner takes the name for a test
    code: ClassVar[str] = "test_set"


@dataclass(frozen=True)
class Caption:
    """One human sentence, in plain words, and the video that it was written about."""

    video: str
    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def content_words(text: str) -> list[str]:
    """The words that carry a meaning."""
    return [word for word in words_of(text) if len(word) >= FEWEST_LETTERS and word not in STOPWORDS]


class Captions:
    """All captions of a data folder and the words of training speech."""

    def __init__(self, data: Path) -> None:
        self.data = data

    @cached_property
    def everything(self) -> list[Caption]:
        """The captions that are plain English words, each wording of a video once."""
        files = sorted((self.data / "texts").glob("*.json"))
        if not files:
            raise TestSetError(
                f"{self.data}/texts holds no captions.", "Give --data the folder described in docs/evaluation.md."
            )
        found: list[Caption] = []
        for path in files:
            for entry in json.loads(path.read_text(encoding="utf-8")):
                kept = [text.strip() for text in entry["caption"] if re.fullmatch(r"[A-Za-z' ]+[.]?", text.strip())]
                found += [Caption(entry["video"], " ".join(words_of(text))) for text in kept]
        return list(dict.fromkeys(found))

    @cached_property
    def heard_words(self) -> frozenset[str]:
        """The words of training speech: the grammar's, and those of Flickr8k's train captions, which it also says."""
        grammar = {word for entries in SLOTS.values() for entry in entries for word in words_of(entry)}
        return frozenset(grammar | {word for text in self.read_captions for word in words_of(text)})

    @cached_property
    def read_captions(self) -> frozenset[str]:
        """The captions that training reads and says, normalised."""
        train = load_manifest(self.data / "flickr8k", "train")
        return frozenset(normalised(text) for item in train for text in item.texts)

    @cached_property
    def sentences(self) -> list[Caption]:
        """Captions of 4 to 12 well-known words."""
        counts = Counter(word for caption in self.everything for word in caption.words)
        return [
            caption
            for caption in self.everything
            if SHORTEST <= len(caption.words) <= LONGEST and all(counts[word] >= KNOWN_FROM for word in caption.words)
        ]

    @cached_property
    def unheard(self) -> list[Caption]:
        """Sentences that training never says: neither the grammar's train part nor Flickr8k's train captions."""
        return [
            caption
            for caption in self.sentences
            if split_of(caption.text) != "train" and normalised(caption.text) not in self.read_captions
        ]

    def unheard_share(self, text: str) -> float:
        """Which part of a sentence's content words training speech never has."""
        words = content_words(text)
        return sum(word not in self.heard_words for word in words) / len(words) if words else 0.0


def one_a_video(captions: Iterable[Caption], seed: str) -> list[Caption]:
    """In random order, one caption of each video and each wording once: paraphrases would answer each other."""
    shuffled = sorted(captions, key=lambda caption: (caption.video, caption.text))
    random.Random(seed).shuffle(shuffled)
    videos: set[str] = set()
    texts: set[str] = set()
    chosen = []
    for caption in shuffled:
        if caption.video not in videos and caption.text not in texts:
            videos.add(caption.video)
            texts.add(caption.text)
            chosen.append(caption)
    return chosen
