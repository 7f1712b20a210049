"""Videos of several shots with sound events and, now and then, a voice over them; each with texts and true times."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from model.data.synthesis.noise import level
from model.data.synthesis.record import Description, Event, Item
from model.data.synthesis.request import Request
from model.data.synthesis.sentences import Split
from model.data.synthesis.shots import Shot, draw_shot, shot_frames
from model.data.synthesis.sounds import SOUNDS, make_sound
from model.data.synthesis.speech import Speaker
from model.data.synthesis.talk import request_sentences
from model.data.synthesis.voices import draw_voice
from model.data.synthesis.writer import Format, choose_format, write_video

RATE = 24000
SHAPES = (4 / 3, 4 / 3, 16 / 9, 1.0, 9 / 16)
SPOKEN_SHARE = 0.2


class Scene:
    """Shots in a row, laid out in time, on their way to a file."""

    def __init__(self, shots: list[Shot], split: Split, seed: str) -> None:
        self.shots, self.split, self.seed = shots, split, seed
        self.description = Description()
        self.pieces: list[np.ndarray] = []
        self.duration_s = 0.0

    def compose(self, speaker: Speaker, fps: float) -> None:
        """Make the sound track and write down what happens when."""
        generator = np.random.default_rng(np.frombuffer(self.seed.encode(), np.uint8))
        random_source = random.Random(self.seed)
        for index, shot in enumerate(self.shots):
            start = self.duration_s
            shot = replace(shot, seconds=max(1, round(shot.seconds * fps)) / fps)
            piece, event = self.sound_of(shot, start, speaker, random_source, generator)
            seconds = max(shot.seconds, math.ceil(len(piece) / RATE * fps - 0.01) / fps)
            self.shots[index] = replace(shot, seconds=seconds)
            self.pieces.append(np.pad(piece, (0, max(0, round(seconds * RATE) - len(piece))))[: round(seconds * RATE)])
            self.duration_s += seconds
            self.description.events.append(Event(shot.full, "seen", start, self.duration_s))
            if event is not None:
                self.description.events.append(event)
        self.describe()

    def sound_of(
        self, shot: Shot, start: float, speaker: Speaker, random_source: random.Random, generator: np.random.Generator
    ) -> tuple[np.ndarray, Event | None]:
        """The samples of one shot from its beginning on, and the event they are."""
        if shot.sentence:
            speech = speaker.say(draw_voice(random_source, self.split).says(shot.sentence))
            quiet = np.zeros(int(0.2 * RATE), np.int16)
            samples = np.concatenate([quiet, level(speech.samples), quiet])
            first, last = start + 0.2, start + 0.2 + speech.duration_s
            self.description.words += [(word, first + begin, first + end) for word, begin, end in speech.words]
            return samples, Event(shot.sentence, "said", first, last)
        if not shot.sound:
            return np.zeros(0, np.int16), None
        late = random_source.choice([0.0, 0.0, random_source.uniform(0.1, 0.4)]) * shot.seconds
        sound = make_sound(shot.sound, int((shot.seconds - late) * RATE), RATE, generator)
        event = Event(SOUNDS[shot.sound].clause, "heard", start + late, start + shot.seconds)
        return np.concatenate([np.zeros(int(late * RATE), np.int16), sound]), event

    def describe(self) -> None:
        """The texts by kind."""
        described = self.description
        for shot in self.shots:
            described.seen += [shot.full, shot.brief]
            if shot.sentence:
                described.said.append(shot.sentence)
                described.together.append(f"{shot.brief} while a voice says: {shot.sentence}")
            elif shot.sound:
                described.heard += SOUNDS[shot.sound].texts
                described.together.append(shot.together)
        described.order = [f"{first.full}, then {second.full}" for first, second in pairwise(self.shots)]
        heard = [shot.sound for shot in self.shots if shot.sound and not shot.sentence]
        for one, other in pairwise(heard):
            if one != other:
                described.order.append(f"first {SOUNDS[one].clause}, then {SOUNDS[other].clause}")

    def write(self, path: Path, form: Format, size: tuple[int, int], fps: Fraction) -> bool:
        """Write the file; says whether it has sound (a scene in which nothing sounds has no audio stream)."""
        random_source = random.Random(f"frames {self.seed}")
        width, height = size
        frames = (image for shot in self.shots for image in shot_frames(shot, width, height, float(fps), random_source))
        samples = np.concatenate(self.pieces)
        has_audio = bool(samples.any())
        write_video(path, form, frames, fps, samples if has_audio else None, RATE)
        return has_audio


def even(value: float) -> int:
    return max(2, round(value / 2) * 2)


def make_scenes(request: Request) -> Iterator[Item]:
    """Write the files one by one."""
    fps, form = Fraction(request.fps).limit_denominator(1001), choose_format(request.container_name, request.codec)
    sentences = islice(request_sentences(request), request.count * 4)
    with Speaker(RATE) as speaker:
        for index in range(request.count):
            seed = f"scene {request.split} {request.seed} {index}"
            random_source = random.Random(seed)
            shots = [
                draw_shot(random_source, request.split)
                for _ in range(random_source.choices((1, 2, 3, 4), (3, 4, 3, 2))[0])
            ]
            shots = [
                replace(shot, sentence=next(sentences), sound="") if random_source.random() < SPOKEN_SHARE else shot
                for shot in shots
            ]
            scene = Scene(shots, request.split, seed)
            scene.compose(speaker, float(fps))
            file = f"scenes-{request.split}/s{index:05d}.{form.suffix}"
            shape = random_source.choice(SHAPES)
            has_audio = scene.write(request.out / file, form, (even(request.size * shape), request.size), fps)
            yield Item(file, scene.description, request.split, "scenes", scene.duration_s, has_audio)
