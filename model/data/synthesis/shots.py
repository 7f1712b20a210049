"""One shot of a scene: an actor in a place, moving, with weather; its words and its frames."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from model.data.synthesis.actors import ACTORS, NAMED, PLACES_OF, Actor, Motion, motions_of, sprite
from model.data.synthesis.drawing import grain
from model.data.synthesis.places import paint
from model.data.synthesis.sentences import Split, split_of
from model.data.synthesis.sounds import SOUNDS

Weather = Literal["", "rain", "snow"]
PAN = 1.15  # places are painted this much wider than the frame, for the camera to move over
ABOVE = ("on a beach", "on a city street", "in a desert", "in a green meadow", "on the sea")
HARD_TO_SEE = {
    "in a city at night": ("black", "blue", "purple", "grey"),
    "in front of snowy mountains": ("white", "grey"),
    "in a green meadow": ("green",),
    "in a forest": ("green", "brown"),
    "in a desert": ("orange", "brown"),
    "in a kitchen": ("white", "grey", "orange", "turquoise", "green", "blue"),
    "on the sea": ("blue",),
    "on a stage with red curtains": ("red",),
    "in front of a brick wall": ("red", "brown"),
    "in front of a bookshelf": ("brown",),
}
WOOD = (150, 104, 66)


@dataclass(frozen=True)
class Shot:
    """What is seen and heard between two cuts. `sound` is a name of SOUNDS or empty; `sentence` is spoken over it."""

    noun: str
    colour: str
    place: str
    motion: Motion
    seconds: float
    sound: str = ""
    sentence: str = ""
    weather: Weather = ""

    @property
    def actor(self) -> Actor:
        return NAMED[self.noun]

    @property
    def brief(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.noun} {self.where}"

    @property
    def where(self) -> str:
        """The place in words: what flies is over a beach, not on it."""
        if self.actor.level == "air" and self.place in ABOVE:
            return f"over {self.place.split(maxsplit=1)[1]}"
        return self.place

    @property
    def full(self) -> str:
        """The whole picture in words."""
        actor = self.actor
        does = {
            "right": f"{actor.moves} to the right",
            "left": f"{actor.moves} to the left",
            "still": actor.stays,
            "jump": "jumps up and down",
            "closer": "comes closer",
            "away": "moves away",
        }[self.motion]
        weather = {"": "", "rain": " in the rain", "snow": " while it snows"}[self.weather]
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.noun} {does} {self.where}{weather}"

    @property
    def together(self) -> str:
        """The picture and the sound in one sentence; empty when the shot is quiet."""
        return f"{self.brief} while {SOUNDS[self.sound].clause}" if self.sound else ""


def draw_shot(random_source: random.Random, split: Split) -> Shot:
    """A random shot whose (colour, thing, place) belongs to the split."""
    while True:
        actor = random_source.choice(ACTORS)
        colour, place = random_source.choice(actor.colours), random_source.choice(PLACES_OF[actor.level])
        hidden = f" {colour} wall" in place or colour in HARD_TO_SEE.get(place, ())
        if not hidden and split_of(f"{colour} {actor.noun} {place}") == split:
            break
    outside = actor.level != "table"
    weather: Weather = random_source.choice(("rain", "snow")) if outside and random_source.random() < 0.15 else ""
    sound, dice = "", random_source.random()
    if dice < 0.55:
        sound = "rain" if weather == "rain" else actor.sound
    elif dice < 0.85:
        sound = random_source.choice(list(SOUNDS))
    motion = random_source.choice(motions_of(actor))
    return Shot(actor.noun, colour, place, motion, random_source.uniform(2.4, 4.8), sound, "", weather)


def actor_box(shot: Shot, time_s: float, width: int, height: int) -> tuple[int, int, int]:
    """Left, top and size of the actor's square at a time of the shot."""
    actor, part = shot.actor, time_s / shot.seconds
    scale = {"closer": 0.45 + 0.95 * part, "away": 1.4 - 0.95 * part}.get(shot.motion, 1.0)
    size = int(actor.size * height * scale)
    middle = {"right": -0.05 + 1.1 * part, "left": 1.05 - 1.1 * part}.get(shot.motion, 0.5) * width
    if actor.level == "air":
        centre = (0.34 + 0.03 * math.sin(3 * time_s)) * height
        return int(middle - size / 2), int(centre - size / 2), size
    if actor.stays == "hangs":
        return int(middle - size / 2), int(0.44 * height - size / 2), size
    foot = 0.93 * height
    if actor.level == "water":
        foot = (0.84 + 0.012 * math.sin(2.5 * time_s)) * height
    if shot.motion == "jump":
        foot -= abs(math.sin(4.2 * time_s)) * 0.2 * height
    return int(middle - size / 2), int(foot - size * 0.94), size


def backdrop(shot: Shot, width: int, height: int, random_source: random.Random) -> Image.Image:
    """The painted place, wider than the frame; things indoors stand on a table where there is no floor."""
    canvas = paint(shot.place, int(width * PAN), height, random_source)
    if shot.actor.level == "table" and ("wall" in shot.place or "bookshelf" in shot.place):
        canvas.box(0, 0.86, canvas.aspect, 1, WOOD)
        canvas.box(0, 0.86, canvas.aspect, 0.88, (186, 136, 90))
    return Image.fromarray(grain(canvas.image(), random_source))


def fall(picture: Image.Image, weather: Weather, time_s: float, drops: np.ndarray) -> None:
    """Rain or snow over a frame; K, 2 = drops.shape, places in the unit square at time 0."""
    width, height = picture.size
    pen = ImageDraw.Draw(picture, "RGBA")
    speed = 1.9 if weather == "rain" else 0.35
    for x, y in drops:
        down = (y + speed * time_s) % 1.0 * height
        if weather == "rain":
            pen.line([x * width, down, x * width - 0.012 * width, down + 0.06 * height], fill=(214, 226, 240, 150))
        else:
            across, size = (x + 0.02 * math.sin(2 * time_s + 9 * y)) * width, 0.009 * height
            pen.ellipse([across - size, down - size, across + size, down + size], fill=(255, 255, 255, 235))


def shot_frames(shot: Shot, width: int, height: int, fps: float, random_source: random.Random) -> Iterator[np.ndarray]:
    """The frames of a shot; height, width, 3 = frame.shape."""
    ground = backdrop(shot, width, height, random_source)
    largest = int(shot.actor.size * height * (1.45 if shot.motion in {"closer", "away"} else 1.0))
    sprites = [sprite(shot.noun, shot.colour, phase, largest) for phase in (0, 1)]
    if shot.motion == "left":
        sprites = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in sprites]
    drops = np.random.default_rng(random_source.getrandbits(32)).random((90, 2))
    lively = shot.motion != "still" or shot.actor.level in {"air", "table", "water"} or shot.noun == "campfire"
    count, spare = max(1, round(shot.seconds * fps)), ground.width - width
    pan = random_source.choice([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
    for index in range(count):
        time_s = index / fps
        offset = int(spare * (pan[0] + (pan[1] - pan[0]) * index / count))
        picture = ground.crop((offset, 0, offset + width, height))
        left, top, size = actor_box(shot, time_s, width, height)
        figure = sprites[int(time_s * 5) % 2 if lively else 0]
        if figure.height != size:
            figure = figure.resize((size, size), Image.Resampling.BILINEAR)
        picture.paste(figure, (left, top), figure)
        if shot.weather:
            fall(picture, shot.weather, time_s, drops)
        yield np.asarray(picture)
