"""Pictures of drawn people and of drawn shots, with everything that is true of them in short phrases.

A still costs a hundredth of a film. Training puts them under sentences and sounds of its own (`htav train --compose`);
since every phrase of the kinds below is listed, it also knows which of two pictures one tells apart, and which not.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path

from PIL import Image

from model.data.synthesis.faces import MOUTHS, Portrait
from model.data.synthesis.people import Person, article, cast
from model.data.synthesis.record import Description, Item
from model.data.synthesis.request import Request
from model.data.synthesis.scenes import even
from model.data.synthesis.shots import Shot, draw_shot, shot_frames
from model.data.synthesis.talkers import head_place

FPS = 8.0
QUALITY = 92  # of the JPEG
ASPECT = 4 / 3


def make_portraits(request: Request) -> Iterator[Item]:
    """Drawn people, each once."""
    for index, person in enumerate(cast(request.count, request.split, request.seed)):
        dice = random.Random(f"portrait still {request.split} {request.seed} {index}")
        portrait = Portrait(person, request.size, dice)
        place = head_place(person.gesture, dice.uniform(0, 4), request.size, dice.uniform(0, 6))
        picture = Image.fromarray(portrait.frame(dice.randrange(MOUTHS), dice.random() < 0.06, *place))
        portrait.forget()
        yield _still(request, "portraits", index, picture, true_of_person(person))


def make_shots(request: Request) -> Iterator[Item]:
    """One frame each of drawn shots."""
    width = even(request.size * ASPECT)
    for index in range(request.count):
        dice = random.Random(f"shot still {request.split} {request.seed} {index}")
        shot = draw_shot(dice, request.split)
        frames = shot_frames(shot, width, request.size, FPS, dice)
        middle = int(shot.seconds * FPS * dice.uniform(0.3, 0.7))
        picture = Image.fromarray(next(islice(frames, middle, None)))
        yield _still(request, "shots", index, picture, true_of_shot(shot))


def true_of_person(person: Person) -> list[str]:
    """What may be said of a drawn person: each feature, the clothes, the place, and two of these together."""
    a, where = f"a {person.sex}", person.backdrop
    plain = replace(person, pattern="")  # a striped red shirt is a red shirt
    having = [f"with {feature}" for feature in person.features]
    phrases = [f"{a} {where}"]
    phrases += [f"{one} {feature}" for feature in having for one in (a, f"the {person.sex}")]
    phrases += [f"{a} {feature} {where}" for feature in having]
    for within in dict.fromkeys(f"in {worn.clothes}" for worn in (person, plain)):
        phrases += [f"{a} {within}", f"{a} {within} {where}", *(f"{a} {feature} {within}" for feature in having)]
    phrases += [f"{a} with {one} and {other}" for one, other in combinations(person.features, 2)]
    whole = person.seen(random.Random(0))[0]  # the other of the two tells how the head moves, which no still shows
    return list(dict.fromkeys([*phrases, whole]))


def true_of_shot(shot: Shot) -> list[str]:
    """What may be said of one frame of a shot: the thing, its colour, its place; how it moves no frame tells."""
    weather = {"": [], "rain": [f"{shot.brief} in the rain"], "snow": [f"{shot.brief} while it snows"]}[shot.weather]
    coloured, bare = f"{article(shot.colour)} {shot.colour} {shot.noun}", f"{article(shot.noun)} {shot.noun}"
    return [shot.brief, coloured, f"{bare} {shot.where}", *weather]


def _still(request: Request, group: str, index: int, picture: Image.Image, phrases: list[str]) -> Item:
    file = f"{group}-{request.split}/{group[0]}{index:05d}.jpg"
    picture.save(Path(request.out) / file, quality=QUALITY)
    return Item(file, Description(seen=phrases), request.split, group, 0.0, has_audio=False)
