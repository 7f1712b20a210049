"""Sentences to be said: a seeded grammar whose train, val and test sentences can never coincide.

The split of a sentence is a digest of its words, so that two runs with any seeds agree on it and no list is kept.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from model.data.manifest import load_manifest
from model.data.synthesis import vocabulary as words
from model.errors import HtavError

Split = Literal["train", "val", "test"]
TRAIN_SHARE, VAL_SHARE = 80, 10  # percent; the rest is test


class SentencesError(HtavError):
    """A file of sentences cannot be used."""

    code: ClassVar[str] = "sentences_unusable"


ODD_PLURALS = dict(
    entry.split(":")
    for entry in """
    sheep:sheep deer:deer fish:fish salmon:salmon moose:moose mouse:mice goose:geese wolf:wolves calf:calves leaf:leaves
    knife:knives shelf:shelves scarf:scarves buffalo:buffaloes ox:oxen scissors:scissors cash:coins
    """.split()
)


def past(verb: str) -> str:
    """The past tense of a vocabulary entry (`buy:bought`, `drop*`, `carry`)."""
    if ":" in verb:
        return verb.split(":")[1]
    if verb.endswith("*"):
        return verb[:-1] + verb[-2] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def base(verb: str) -> str:
    return verb.split(":")[0].rstrip("*")


def present(verb: str) -> str:
    """The third person: carries, watches, holds."""
    stem = base(verb)
    if stem.endswith("y") and stem[-2] not in "aeiou":
        return stem[:-1] + "ies"
    return stem + ("es" if stem.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def progressive(verb: str) -> str:
    """The -ing form: carrying, dropping, sitting, making."""
    stem = base(verb)
    if stem in {"lie", "tie"}:
        return stem[:-2] + "ying"
    if verb.endswith("*") or stem in {"cut", "put", "forget", "run", "sit", "swim", "begin", "win"}:
        return stem + stem[-1] + "ing"
    if stem.endswith("e") and not stem.endswith("ee"):
        return stem[:-1] + "ing"
    return stem + "ing"


def plural(noun: str) -> str:
    """More than one of them: dishes, cherries, leaves, sheep."""
    if noun in ODD_PLURALS:
        return ODD_PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x", "to")) else "s")


def spaced(entries: list[str]) -> list[str]:
    return [entry.replace("_", " ") for entry in entries]


SLOTS: dict[str, list[str]] = {
    "person": words.PEOPLE,
    "name": words.NAMES,
    "noun": words.THINGS,
    "animal": words.ANIMALS,
    "adjective": words.ADJECTIVES,
    "nouns": [plural(noun) for noun in words.THINGS],
    "animals": [plural(animal) for animal in words.ANIMALS],
    "colour": words.COLOURS,
    "material": words.MATERIALS,
    "food": words.FOODS,
    "topic": words.TOPICS,
    "location": words.PLACES,
    "preposition": spaced(words.PREPOSITIONS),
    "time": spaced(words.TIMES),
    "day": words.DAYS,
    "month": words.MONTHS,
    "number": words.NUMBERS,
    "digit": words.DIGITS,
    "letter": words.LETTERS,
    "adverb": words.ADVERBS,
    "did": [past(verb) for verb in words.VERBS_ON_THINGS],
    "do": [base(verb) for verb in words.VERBS_ON_THINGS],
    "does": [present(verb) for verb in words.VERBS_ON_THINGS],
    "doing": [progressive(verb) for verb in words.VERBS_ON_THINGS],
    "acted": [past(verb) for verb in words.VERBS_ALONE],
    "act": [base(verb) for verb in words.VERBS_ALONE],
    "acts": [present(verb) for verb in words.VERBS_ALONE],
    "acting": [progressive(verb) for verb in words.VERBS_ALONE],
    "determiner": "the the a a my your his her our their this that another every".split(),
    "pronoun": "i you we they".split(),
    "somebody": [
        "{name}",
        "{name}",
        "the {person}",
        "the {adjective} {person}",
        "my {person}",
        "he",
        "she",
        "a {person}",
    ],
    "something": [
        "{determiner} {noun}",
        "{determiner} {adjective} {noun}",
        "{determiner} {colour} {noun}",
        "{determiner} {material} {noun}",
        "{determiner} {noun} and the {noun}",
        "some {food}",
        "the {animal}",
    ],
    "where": [
        "{preposition} the {location}",
        "at the {location}",
        "in the {location}",
        "near the {adjective} {location}",
    ],
    "when": ["{time}", "on {day}", "in {month}", "{number} {span} ago", "at {digit} o'clock"],
    "span": "days weeks months years minutes hours".split(),
    "command": "bin lay place set put move".split(),
    "shade": "blue green red white".split(),
    "side": "at by in with".split(),
    "ending": "again now please soon".split(),
}
PATTERNS = """
{somebody} {did} {something} {where}
{somebody} {did} {something} {when}
{somebody} {adverb} {did} {something}
{somebody} {acted} {where} {when}
{somebody} {acted} {adverb} {where}
{somebody} is {doing} {something} {where}
{somebody} was {acting} {where}
{somebody} {does} {something} {when}
{somebody} {acts} {when}
{somebody} wants to {do} {something}
{somebody} had to {do} {something} before {somebody} {acted}
{somebody} did not {do} {something}
{somebody} will {do} {something} {when}
{somebody} told {name} about the {noun} {where}
{somebody} and {name} {did} {something}
{pronoun} should {do} {something} {when}
{pronoun} could never {do} {something} without {something}
{pronoun} {adverb} {did} {something} {where}
do you want to {do} {something}
did {somebody} {do} {something} {when}
why did {somebody} {act} {where}
where is {something}
who {did} {something} {where}
how many {nouns} did {name} {do} {when}
please {do} {something} {when}
don't {do} {something} {where}
the {adjective} {animal} {acted} {where}
the {animal} {did} the {adjective} {noun}
{number} {adjective} {animals} {acted} {where}
there is a {adjective} {noun} {where}
there were {number} {colour} {nouns} {where}
a {colour} {animal} and a {colour} {animal} {acted} {where}
the {noun} {where} is made of {material}
the {noun} is {adjective} but the {noun} is {adjective}
the {person} with the {colour} {noun} {acted} {when}
{name} ordered {food} and {food} {when}
{food} with {food} tastes {adjective}
the {location} was {adjective} and {adjective} {when}
the {topic} of {topic} is a {adjective} {topic}
i think {topic} is really about {topic}
and that is why {topic} matters to {name}
so what we need is more {topic} and less {topic}
{topic} and {topic} can change the {location}
we talked about {topic} {when}
it turns out that {topic} is {adjective}
this is a story about {topic} and {name}
you have to understand the {topic} of the {person}
the {person} has a {adjective} {topic}
in {month} the {topic} became {adverb} {adjective}
if {somebody} {does} {something} then {somebody} will {act}
when {somebody} {acted} {somebody} {did} {something}
{somebody} said that {something} was {adjective}
the meeting moved to {day} because {somebody} {did} {something}
flight {letter} {number} {digit} leaves on {day}
the number is {digit} {digit} {digit} {digit}
room {letter} {digit} is {where}
{command} {shade} {side} {letter} {digit} {ending}
""".strip().splitlines()


def compose(random_source: random.Random) -> str:
    """One sentence of the grammar."""
    sentence = random_source.choice(PATTERNS)
    while "{" in sentence:
        sentence = re.sub(r"\{(\w+)\}", lambda match: random_source.choice(SLOTS[match[1]]), sentence)
    sentence = re.sub(r"\ba (?=(?!on|uni|use|usual|europ)[aeiou]\w)", "an ", sentence)
    sentence = re.sub(r"\bi\b", "I", sentence)
    return sentence


def split_of(sentence: str) -> Split:
    """Which split owns a sentence, whatever its case and punctuation."""
    plain = " ".join(re.findall(r"[a-z0-9']+", sentence.lower()))
    share = int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=4).digest()) % 100
    if share < TRAIN_SHARE:
        return "train"
    return "val" if share < TRAIN_SHARE + VAL_SHARE else "test"


def grammar_sentences(split: Split, seed: int) -> Iterator[str]:
    """Endless distinct sentences of one split."""
    random_source = random.Random(f"sentences {split} {seed}")
    seen: set[str] = set()
    while True:
        sentence = compose(random_source)
        if sentence not in seen and split_of(sentence) == split:
            seen.add(sentence)
            yield sentence


def speakable(text: str) -> str | None:
    """A human text as one sentence to say, or None: 3 to 14 words of plain letters, without its stop."""
    plain = re.sub(r"\s+(?=[.,;!?])", "", " ".join(text.split())).rstrip(".,;!? ")
    fit = re.fullmatch(r"[A-Za-z][A-Za-z' ,-]*", plain) and 3 <= len(plain.split()) <= 14
    return plain if fit else None


def path_sentences(path: Path, split: Split, seed: int) -> Iterator[str]:
    """The lines of a text file, or what can be said of the texts of a data folder's split; in seeded order, again
    and again. The split of a file's lines is the user's business."""
    if path.is_dir():
        texts = (speakable(text) for item in load_manifest(path, split) for text in item.texts)
        yield from shuffled(path, [text for text in texts if text], seed)
    else:
        yield from file_sentences(path, seed)


def file_sentences(path: Path, seed: int) -> Iterator[str]:
    """The lines of a text file in seeded order, again and again."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SentencesError(f"Cannot read the sentences in {path}: {error}.", "Give a UTF-8 text file.") from error
    yield from shuffled(path, [line for line in lines if re.search(r"\w", line)], seed)


def shuffled(path: Path, lines: list[str], seed: int) -> Iterator[str]:
    """Each line once in seeded order, then all of them again in another."""
    lines = list(dict.fromkeys(lines))
    if not lines:
        raise SentencesError(f"{path} holds no sentence.", "Write one sentence a line.")
    random_source = random.Random(f"file {seed}")
    while True:
        random_source.shuffle(lines)
        yield from lines
