"""Which people say which human captions: one sentence a video, pairs that differ in one word, person and sentence."""

import random
from collections import defaultdict
from functools import cache
from itertools import combinations, count

import numpy as np

from model.data.synthesis.people import Person
from model.data.synthesis.speech import Speaker
from model.evaluation.testsets.captions import FEWEST_LETTERS, STOPWORDS, Caption, Captions, TestSetError, one_a_video
from model.evaluation.testsets.spoken import Spoken
from model.evaluation.testsets.voices import (
    ALL_VOICES,
    RATE,
    VOICES,
    drawn_people,
    of_one_length,
    of_one_length_in_all,
    said,
)

EACH = 6  # sentences a person says
UNHEARD_SHARE = 0.30  # of a sentence's content words, at least: other sources of speech may know a third of those
BABBLE_SENTENCES = 80
TRIED = 800  # captions, for those that all voices say in one time
PAIRS = 129
WORD_LENGTHS_APART = 1
PAIR_TOLERANCE = 0.10


@cache
def plan_talkers(captions: Captions) -> list[Spoken]:
    """258 videos: 43 people of ten voices say six captions each, of one length within each voice."""
    pool = [caption.text for caption in talker_captions(captions)]
    used: set[str] = set()
    plan: list[Spoken] = []
    people = drawn_people(seed=1)
    with Speaker(RATE) as speaker:
        for voice in ALL_VOICES:
            speaking = [person for person in people if person.voice == voice]
            free = [sentence for sentence in pool if sentence not in used]
            random.Random(f"talkers {voice.variant}").shuffle(free)
            sentences = of_one_length(speaker, voice, free, EACH * len(speaking))
            used.update(sentences)
            for number, sentence in enumerate(sentences):
                file = f"t{len(plan):03d}.mp4"
                kind = "speech" if voice.engine == "espeak" else f"speech_{voice.engine}"
                plan.append(Spoken(file, speaking[number // EACH], sentence, sentence, kind, voice.variant))
    return plan


def talker_captions(captions: Captions) -> list[Caption]:
    """Captions in which enough of the content words are new to a network trained on our speech."""
    new = [caption for caption in captions.unheard if captions.unheard_share(caption.text) >= UNHEARD_SHARE]
    return one_a_video(new, "talkers")


def babble_sentences(captions: Captions, plan: list[Spoken]) -> list[str]:
    """What the people in the background say: nothing that the test asks for."""
    asked = {clip.sentence for clip in plan}
    rest = [caption.text for caption in one_a_video(captions.unheard, "babble") if caption.text not in asked]
    return rest[:BABBLE_SENTENCES]


def plan_pairs(captions: Captions) -> list[Spoken]:
    """129 pairs of captions that differ in one word, each said twice by one person; the pair is the group."""
    people = drawn_people(seed=2)
    plan: list[Spoken] = []
    used: set[str] = set()
    with Speaker(RATE) as speaker:
        for first, second in minimal_pairs(captions):
            person = people[len(plan) // 2 % len(people)]
            if used & {first, second} or not sound_apart(speaker, person, first, second):
                continue
            used |= {first, second}
            number = len(plan) // 2
            for letter, sentence in (("a", first), ("b", second)):
                plan.append(
                    Spoken(f"p{number:03d}{letter}.mp4", person, sentence, sentence, "speech", f"pair{number:03d}")
                )
            if len(plan) == 2 * PAIRS:
                return sorted(plan, key=lambda clip: (people.index(clip.person), clip.file))
    raise TestSetError(f"the captions hold only {len(plan) // 2} pairs that differ in one word.")


def minimal_pairs(captions: Captions) -> list[tuple[str, str]]:
    """Pairs of captions, alike but for one content word; the two begin otherwise and are of nearly the same length."""
    by_rest: dict[tuple[str, str], set[str]] = defaultdict(set)
    for caption in captions.unheard:
        words = caption.words
        for place, word in enumerate(words):
            if len(word) >= FEWEST_LETTERS and word not in STOPWORDS:
                by_rest[" ".join(words[:place]), " ".join(words[place + 1 :])].add(word)
    pairs = []
    for (before, after), words_found in sorted(by_rest.items()):
        for one, other in combinations(sorted(words_found), 2):
            if one[0] != other[0] and abs(len(one) - len(other)) <= WORD_LENGTHS_APART:
                pairs.append((f"{before} {one} {after}".strip(), f"{before} {other} {after}".strip()))
    random.Random("pairs").shuffle(pairs)
    return pairs


def sound_apart(speaker: Speaker, person: Person, first: str, second: str) -> bool:
    """Whether two sentences of one length do not sound alike, as homophones would."""
    one, other = said(speaker, person.voice, (first, second))
    longest = max(one.duration_s, other.duration_s)
    return abs(one.duration_s - other.duration_s) <= PAIR_TOLERANCE * longest and not np.array_equal(
        one.samples, other.samples
    )


def plan_speaker_and_sentence(captions: Captions) -> list[Spoken]:
    """258 videos: 43 sentences, each said by six people of one sex; a query names the looks and the words.

    Whoever only hears, or only sees, is left with six videos that fit: 17 %.
    """
    pool = [caption.text for caption in one_a_video(captions.unheard, "speaker and sentence")]
    plan: list[Spoken] = []
    people = people_apart()
    with Speaker(RATE) as speaker:
        sentences = iter(of_one_length_in_all(speaker, pool[:TRIED], len(people)))
        for sex in VOICES:
            ring = [person for person in people if person.sex == sex]
            own = [next(sentences) for _ in ring]
            for place, person in enumerate(ring):
                for step in range(EACH):
                    sentence = own[(place + step) % len(ring)]
                    query = f"a {person.sex} in {person.clothes} {person.backdrop} says {sentence}"
                    plan.append(Spoken(f"s{len(plan):03d}.mp4", person, sentence, query, "together", sex))
    return plan


def people_apart() -> list[Person]:
    """People no two of whom of one sex wear the same clothes in the same place."""
    for seed in count(3):
        people = drawn_people(seed)
        looks = {(person.sex, person.clothes, person.backdrop) for person in people}
        if len(looks) == len(people):
            return people
    raise AssertionError("count() never ends")
