"""Who speaks in the test sets: ten fixed voices that training never hears, each at one pace and pitch.

Nine are eSpeak's, without those that whisper: their noise is another each time. The tenth is Festival's, of which
training hears nothing at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from model.data.synthesis.people import Person, cast
from model.data.synthesis.speech import Speaker, Speech
from model.data.synthesis.voices import Sex, Voice
from model.evaluation.testsets.captions import TestSetError

RATE = 24000
PEOPLE = 43
TOLERANCE = 0.06  # in the synthesiser's own time, so that what is heard and the whole file stay within 10 %
TOLERANCE_IN_ALL = 0.08
AT_ONCE = 60  # sentences tried; the middle of the first is the usual length
VOICES: dict[Sex, tuple[Voice, ...]] = {
    "woman": (
        Voice("woman", "gmw/en", "f4", 160, 55, 50),
        Voice("woman", "gmw/en-US", "steph", 150, 48, 60),
        Voice("woman", "gmw/en-GB-scotland", "steph3", 172, 60, 40),
        Voice("woman", "gmw/en-GB-x-rp", "steph2", 166, 44, 45),
    ),
    "man": (
        Voice("man", "gmw/en", "m4", 165, 45, 50),
        Voice("man", "gmw/en-US", "m7", 155, 52, 40),
        Voice("man", "gmw/en-GB-scotland", "david", 175, 40, 60),
        Voice("man", "gmw/en-GB-x-rp", "norbert", 160, 50, 45),
        Voice("man", "gmw/en-US", "john", 170, 56, 50),
        Voice("man", "gmw/en-US", "kal_diphone", 165, 50, 50, "festival"),
    ),
}
ALL_VOICES = (*VOICES["woman"], *VOICES["man"])


def said(speaker: Speaker, voice: Voice, sentences: Iterable[str]) -> Iterator[Speech]:
    """The sentences in one voice, in order. Raises SpeechError where its synthesiser is not installed."""
    return speaker.say_many([voice.says(sentence) for sentence in sentences])


def of_one_length(speaker: Speaker, voice: Voice, sentences: Sequence[str], count: int) -> list[str]:
    """The first `count` sentences that the voice says in nearly the same time: within 6 % of the usual one."""
    chosen: list[str] = []
    usual = 0.0
    for start in range(0, len(sentences), AT_ONCE):
        some = sentences[start : start + AT_ONCE]
        durations = [speech.duration_s for speech in said(speaker, voice, some)]
        usual = usual or sorted(durations)[len(durations) // 2]
        both = zip(some, durations, strict=True)
        chosen += [sentence for sentence, duration in both if abs(duration - usual) <= TOLERANCE * usual]
        if len(chosen) >= count:
            return chosen[:count]
    raise TestSetError(f"the voice {voice.variant} finds only {len(chosen)} of {count} sentences of one length.")


def of_one_length_in_all(speaker: Speaker, sentences: Sequence[str], count: int) -> list[str]:
    """`count` sentences that every one of the ten voices says in nearly the same time: within 8 % of its middle one."""
    chosen = list(sentences)
    for voice in ALL_VOICES:
        durations = [speech.duration_s for speech in said(speaker, voice, chosen)]
        middle = sorted(durations)[len(durations) // 2]
        both = zip(chosen, durations, strict=True)
        chosen = [sentence for sentence, duration in both if abs(duration - middle) <= TOLERANCE_IN_ALL * middle]
    if len(chosen) < count:
        raise TestSetError(f"the voices find only {len(chosen)} of {count} sentences of one length.")
    return chosen[:count]


def drawn_people(seed: int) -> list[Person]:
    """The 43 people, women first, who share the ten voices."""
    people = cast(PEOPLE, "test", seed)
    chosen: list[Person] = []
    for sex, voices in VOICES.items():
        of_sex = [person for person in people if person.sex == sex]
        chosen += [replace(person, voice=voices[index % len(voices)]) for index, person in enumerate(of_sex)]
    return chosen
