"""Who and what appears in scenes: drawing, colours, verbs, fitting places, and the sound it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image

from model.data.synthesis import creatures, objects, vehicles
from model.data.synthesis.drawing import COLOURS, Canvas, Colour

Motion = Literal["right", "left", "still", "jump", "closer", "away"]
Level = Literal["ground", "air", "water", "table"]
OUTSIDE = (
    "on a beach", "in a forest", "on a city street", "in a city at night", "in front of snowy mountains", "in a desert",
    "in a green meadow",
)  # fmt: skip
INSIDE = (
    "in a living room", "in a kitchen", "in front of a bookshelf", "in front of a brick wall",
    "on a stage with red curtains", "in front of a blue wall", "in front of a yellow wall", "in front of a green wall",
    "in front of a pink wall", "in front of a grey wall",
)  # fmt: skip
SEA = ("on the sea",)
PLACES_OF: dict[Level, tuple[str, ...]] = {"ground": OUTSIDE, "air": (*OUTSIDE, *SEA), "water": SEA, "table": INSIDE}
BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "turquoise")


@dataclass(frozen=True)
class Actor:
    """One kind of thing; `moves` and `stays` are its verbs, `size` its height as a share of the frame."""

    noun: str
    draw: Callable[[Canvas, Colour, int], None]
    moves: str
    stays: str
    level: Level
    sound: str
    colours: tuple[str, ...] = BRIGHT
    size: float = 0.42


FUR = ("brown", "black", "white", "grey", "orange")
ACTORS: tuple[Actor, ...] = (
    Actor("dog", creatures.dog, "runs", "stands", "ground", "dog", FUR),
    Actor("cat", creatures.cat, "walks", "stands", "ground", "cat", FUR),
    Actor("cow", creatures.cow, "walks", "stands", "ground", "cow", ("brown", "black", "white"), 0.5),
    Actor("sheep", creatures.sheep, "walks", "stands", "ground", "sheep", ("white", "grey", "black")),
    Actor(
        "rooster", creatures.rooster, "walks", "stands", "ground", "rooster", ("red", "brown", "orange", "white"), 0.36
    ),
    Actor("frog", creatures.frog, "hops", "sits", "ground", "frog", ("green", "brown", "yellow"), 0.32),
    Actor("man", creatures.man, "walks", "stands", "ground", "footsteps", BRIGHT, 0.6),
    Actor("woman", creatures.woman, "walks", "stands", "ground", "footsteps", BRIGHT, 0.58),
    Actor("bird", creatures.bird, "flies", "flutters", "air", "bird", BRIGHT, 0.32),
    Actor("butterfly", creatures.butterfly, "flies", "flutters", "air", "", BRIGHT, 0.28),
    Actor("duck", creatures.duck, "swims", "floats", "water", "waves", ("yellow", "white", "brown", "green"), 0.34),
    Actor("whale", creatures.whale, "swims", "floats", "water", "waves", ("blue", "grey", "black"), 0.5),
    Actor("car", vehicles.car, "drives", "stands", "ground", "engine"),
    Actor("bus", vehicles.bus, "drives", "stands", "ground", "engine", BRIGHT, 0.52),
    Actor("truck", vehicles.truck, "drives", "stands", "ground", "horn", BRIGHT, 0.5),
    Actor("fire engine", vehicles.fire_engine, "drives", "stands", "ground", "siren", ("red",), 0.48),
    Actor("police car", vehicles.police_car, "drives", "stands", "ground", "siren", ("blue", "black", "green")),
    Actor(
        "tractor", vehicles.tractor, "drives", "stands", "ground", "engine", ("red", "green", "blue", "orange"), 0.48
    ),
    Actor("train", vehicles.train, "rolls", "stands", "ground", "train", ("red", "green", "blue", "black"), 0.52),
    Actor("sailboat", vehicles.sailboat, "sails", "floats", "water", "waves", BRIGHT, 0.52),
    Actor("aeroplane", vehicles.aeroplane, "flies", "hangs", "air", "wind", BRIGHT, 0.44),
    Actor("helicopter", vehicles.helicopter, "flies", "hovers", "air", "helicopter", BRIGHT, 0.42),
    Actor("balloon", vehicles.balloon, "floats", "hangs", "air", "wind", BRIGHT, 0.42),
    Actor("bell", objects.bell, "swings", "hangs", "table", "bell", ("yellow", "grey", "orange")),
    Actor("clock", objects.clock, "moves", "hangs", "table", "clock", BRIGHT),
    Actor("alarm clock", objects.alarm_clock, "moves", "stands", "table", "alarm", BRIGHT),
    Actor("telephone", objects.telephone, "moves", "stands", "table", "phone", (*BRIGHT, "black")),
    Actor("drum", objects.drum, "rolls", "stands", "table", "drum", BRIGHT),
    Actor(
        "guitar",
        objects.guitar,
        "moves",
        "stands",
        "table",
        "guitar",
        ("orange", "brown", "red", "blue", "black"),
        0.55,
    ),
    Actor("piano", objects.piano, "moves", "stands", "table", "piano", ("brown", "black", "white", "red"), 0.5),
    Actor("trumpet", objects.trumpet, "moves", "lies", "table", "trumpet", ("yellow", "grey", "orange"), 0.4),
    Actor("ball", objects.ball, "rolls", "lies", "table", "", BRIGHT, 0.3),
    Actor("door", objects.door, "moves", "stands", "table", "knock", ("brown", "green", "blue", "red", "white"), 0.62),
    Actor("campfire", objects.campfire, "burns", "burns", "ground", "fire", ("orange",), 0.4),
    Actor("umbrella", objects.umbrella, "moves", "stands", "ground", "rain", BRIGHT, 0.44),
)
FIXED = (
    "campfire",
    "umbrella",
    "bell",
    "clock",
    "telephone",
    "alarm clock",
    "piano",
    "guitar",
    "trumpet",
    "door",
    "drum",
)
NAMED = {actor.noun: actor for actor in ACTORS}


def motions_of(actor: Actor) -> tuple[Motion, ...]:
    """What an actor can be seen doing."""
    if actor.noun in FIXED:
        return ("still", "closer", "away")
    if actor.level in {"air", "water"}:
        return ("right", "left", "still", "closer", "away")
    return ("right", "left", "still", "jump", "closer", "away")


@lru_cache(maxsize=256)
def sprite(noun: str, colour: str, phase: int, height: int) -> Image.Image:
    """An actor's picture on a transparent square of `height` lines."""
    canvas = Canvas(height, height)
    NAMED[noun].draw(canvas, COLOURS[colour], phase)
    return canvas.image()
