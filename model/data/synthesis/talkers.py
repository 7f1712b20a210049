"""Videos of drawn people who say sentences; the mouth follows the loudness of the speech."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from model.data.synthesis.faces import MOUTHS, Portrait
from model.data.synthesis.people import Gesture, Person, cast
from model.data.synthesis.record import Description, Event, Item
from model.data.synthesis.request import Request
from model.data.synthesis.speech import Speaker, Speech
from model.data.synthesis.talk import NoiseMixer, lay, request_sentences
from model.data.synthesis.utterances import spoken_description
from model.data.synthesis.writer import Format, choose_format, write_video

RATE = 24000


def mouth_openings(samples: np.ndarray, rate: int, fps: Fraction, frames: int) -> np.ndarray:
    """How far the mouth is open in each frame, from the loudness around it; N, = samples.shape."""
    step = rate / float(fps)
    padded = np.pad(samples.astype(np.float32), (0, math.ceil(step)))
    pieces = [padded[int(index * step) : int((index + 1) * step)] for index in range(frames)]
    loudness = np.array([np.sqrt(np.mean(piece**2)) for piece in pieces])
    loudest = float(np.percentile(loudness, 95)) + 1.0
    openings: np.ndarray = np.clip(np.round(loudness / loudest * (MOUTHS - 1)), 0, MOUTHS - 1).astype(int)
    return openings


def head_place(gesture: Gesture, time_s: float, size: int, phase: float) -> tuple[int, int]:
    """Where the head is: nodding moves it up and down, swaying left and right, breathing a little always."""
    right = {"swaying": 0.028}.get(gesture, 0.004) * math.sin(2 * math.pi * 0.55 * time_s + phase)
    down = {"nodding": 0.02}.get(gesture, 0.003) * math.sin(2 * math.pi * 0.9 * time_s + phase)
    return round(right * size), round(down * size)


def talking_frames(
    portrait: Portrait, speech: Speech, fps: Fraction, random_source: random.Random
) -> Iterator[np.ndarray]:
    """The frames of one said sentence."""
    count = math.ceil(speech.duration_s * fps)
    openings = mouth_openings(speech.samples, speech.rate, fps, count)
    phase, blink = random_source.uniform(0, 6), random_source.uniform(0.3, 2.0)
    for index, opening in enumerate(openings):
        time_s = float(index / fps)
        closed = blink <= time_s < blink + 0.16
        if time_s > blink + 0.2:
            blink = time_s + random_source.uniform(1.2, 3.5)
        right, down = head_place(portrait.person.gesture, time_s, portrait.size, phase)
        yield portrait.frame(int(opening), closed, right, down)


def make_talkers(request: Request) -> Iterator[Item]:
    """Write the files, person by person; file i is of person i modulo their number."""
    people = cast(request.people, request.split, request.seed, request.engine)
    sentences = list(islice(request_sentences(request), request.count))
    mixer = NoiseMixer(request.noise, request.snr_db, f"talkers {request.split} {request.seed}")
    with Speaker(RATE) as speaker:
        for number, person in enumerate(people[: request.count]):
            indices = range(number, request.count, request.people)
            yield from make_one_person(request, speaker, mixer, person, {index: sentences[index] for index in indices})


def make_one_person(
    request: Request, speaker: Speaker, mixer: NoiseMixer, person: Person, sentences: dict[int, str]
) -> Iterator[Item]:
    """The files of one person, by index."""
    fps, form = Fraction(request.fps).limit_denominator(1001), choose_format(request.container_name, request.codec)
    portrait = Portrait(person, request.size, random.Random(f"portrait {request.seed} {person}"))
    said = speaker.say_many(person.voice.says(sentence) for sentence in sentences.values())
    for (index, sentence), bare in zip(sentences.items(), said, strict=True):
        random_source = random.Random(f"talker {request.split} {request.seed} {index}")
        speech = lay(bare, random_source)
        speech = replace(speech, samples=mixer.add(speech.samples, RATE))
        file = f"talkers-{request.split}/t{index:05d}.{form.suffix}"
        description = write_talker(request.out / file, form, portrait, sentence, speech, fps, random_source)
        extra = dict(person.voice.fields)
        yield Item(file, description, request.split, "talkers", speech.duration_s, has_audio=True, extra=extra)
    portrait.forget()


def write_talker(
    path: Path, form: Format, portrait: Portrait, sentence: str, speech: Speech, fps: Fraction, dice: random.Random
) -> Description:
    """One file: a person says one sentence."""
    person = portrait.person
    write_video(path, form, talking_frames(portrait, speech, fps, dice), fps, speech.samples, speech.rate)
    description = spoken_description(sentence, speech, person.voice.heard)
    description.seen = person.seen(random.Random(f"seen {person}"))
    description.together = person.says(sentence, dice)
    description.events.append(Event(description.seen[0], "seen", 0.0, speech.duration_s))
    return description
