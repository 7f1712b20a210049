"""Queries about nothing in a library: human captions that share no content word with the texts of its items."""

import random

from model.data.manifest import load_manifest
from model.evaluation.testsets.captions import Captions, content_words, one_a_video

QUERIES = 500
FEWEST_WORDS = 2  # content words: less would be about anything
# What stands for somebody or something whose own word a library may have, and what is said of a video as such.
GENERAL = frozenset(
    """
    adult anybody anyone audience baby boy cartoon character characters child children clip couple crowd fellow female
    film footage friend friends gentleman girl group guy guys human individual kid kids lady male man men movie music
    object others pair people person persons player players scene screen show somebody someone something song sound
    speak stuff talk teen teenager thing things toddler video voice woman women young
    """.split()
)
ENDINGS = ("ing", "ers", "er", "ed", "es", "s", "e", "y")


def stem(word: str) -> str:
    """A word without its ending, so that `runs`, `running` and `runner` are one."""
    word = word.replace("'", "")
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def stems(text: str) -> set[str]:
    return {stem(word) for word in content_words(text)}


def absent_queries(captions: Captions, library: str = "clips") -> list[str]:
    """500 captions, each of another video, whose content words are in no text of the library and not general."""
    items = load_manifest(captions.data / library)
    taken = {word for item in items for text in item.all_texts() for word in stems(text)}
    taken |= {stem(word) for word in GENERAL}
    strange = [
        caption
        for caption in captions.sentences
        if len(found := stems(caption.text)) >= FEWEST_WORDS and not found & taken
    ]
    chosen = [caption.text for caption in one_a_video(strange, "absent")]
    random.Random("absent queries").shuffle(chosen)
    return sorted(chosen[:QUERIES])
