"""Videos in which two things happen one after the other, each in both orders, asked for in both orders."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from model.data.synthesis.record import LICENSE
from model.data.synthesis.scenes import RATE, Scene
from model.data.synthesis.shots import Shot, draw_shot
from model.data.synthesis.sounds import SOUNDS
from model.data.synthesis.speech import Speaker
from model.data.synthesis.writer import choose_format
from model.progress import Count

FPS = Fraction(25, 2)
SIZE = (214, 160)  # width, height
SCENES_EACH = 60  # of those whose order is seen, and of those whose order is heard; twice as many files
LONG_SCENES = 30
LONG_SHOTS, LONG_SHOT_S = 6, 5.0


@dataclass(frozen=True)
class Ordered:
    """One video to be made, and what comes first and what then in it."""

    file: str
    shots: tuple[Shot, ...]
    first: str
    second: str
    kind: str
    group: str

    def line(self, duration_s: float, has_audio: bool) -> dict[str, Any]:
        query, reverse = asked(self.first, self.second), asked(self.second, self.first)
        return {
            "file": self.file,
            "texts": [query],
            "reversed_text": [reverse],
            "split": "test",
            "kind": self.kind,
            "group": self.group,
            "has_audio": has_audio,
            "license": LICENSE,
            "text_source": "generated",
            "order": [query],
            "duration_s": round(duration_s, 3),
        }


def asked(first: str, second: str) -> str:
    return f"first {first}, then {second}"


def plan_ordered() -> list[Ordered]:
    """240 videos of two shots, at most 10 s long: 60 scenes whose order is seen and 60 whose order is heard, twice."""
    plan: list[Ordered] = []
    for number in range(SCENES_EACH):
        dice = random.Random(f"test order seen {number}")
        plan += both_orders(draw_shots(dice, 2), "seen", number)
    for number in range(SCENES_EACH):
        dice = random.Random(f"test order heard {number}")
        sounds = dice.sample(sorted(SOUNDS), 2)
        shots = [replace(shot, sound=sound) for shot, sound in zip(draw_shots(dice, 2), sounds, strict=True)]
        plan += both_orders(shots, "heard", number)
    return plan


def plan_ordered_long() -> list[Ordered]:
    """60 videos of 30 s, asked for their first and last shot, which no clip of 10 s holds together."""
    plan: list[Ordered] = []
    for number in range(LONG_SCENES):
        shots = draw_shots(random.Random(f"test order long {number}"), LONG_SHOTS)
        plan += both_orders([replace(shot, seconds=LONG_SHOT_S) for shot in shots], "seen", number)
    return plan


def draw_shots(dice: random.Random, count: int) -> list[Shot]:
    """Shots of different things in dry weather."""
    shots: list[Shot] = []
    while len(shots) < count:
        shot = draw_shot(dice, "test")
        if not shot.weather and shot.noun not in {one.noun for one in shots}:
            shots.append(shot)
    return shots


def both_orders(shots: Sequence[Shot], sense: str, number: int) -> list[Ordered]:
    """The scene and its reverse: whatever a network thinks of a query alone, it is wrong as often as right."""
    group, found = f"{sense}{number:03d}", []
    for letter, own in (("a", tuple(shots)), ("b", tuple(reversed(shots)))):
        first, last = own[0], own[-1]
        texts = (
            (SOUNDS[first.sound].clause, SOUNDS[last.sound].clause) if sense == "heard" else (first.brief, last.brief)
        )
        found.append(Ordered(f"{group}{letter}.mp4", own, *texts, kind=f"order_{sense}", group=group))
    return found


def film_ordered(out: Path, plan: Sequence[Ordered], progress: Count) -> list[dict[str, Any]]:
    """Write the videos of a plan into `out`."""
    form, lines = choose_format("mp4"), []
    with Speaker(RATE) as speaker:
        for video in plan:
            scene = Scene(list(video.shots), "test", f"test {video.file}")
            scene.compose(speaker, float(FPS))
            has_audio = scene.write(out / video.file, form, SIZE, FPS)
            lines.append(video.line(scene.duration_s, has_audio))
            progress(len(lines), len(plan))
    return lines
