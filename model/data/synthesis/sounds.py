"""The sound events that scenes may hold, each with its words.

Every recipe takes (count, rate, generator) and returns `count` float samples of any loudness.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.data.synthesis import animal_sounds, machine_sounds, music_sounds, nature_sounds
from model.data.synthesis.noise import level
from model.data.synthesis.tones import swell

Recipe = Callable[[int, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Sound:
    """A sound event in words: what makes it, what it does (third person), what it is doing."""

    recipe: Recipe
    subject: str
    does: str
    doing: str

    @property
    def clause(self) -> str:
        return f"{self.subject} {self.does}"

    @property
    def texts(self) -> list[str]:
        return [f"{self.subject} {self.doing}", f"the sound of {self.subject} {self.doing}", self.clause]


SOUNDS: dict[str, Sound] = {
    "dog": Sound(animal_sounds.dog, "a dog", "barks", "barking"),
    "cat": Sound(animal_sounds.cat, "a cat", "meows", "meowing"),
    "cow": Sound(animal_sounds.cow, "a cow", "moos", "mooing"),
    "sheep": Sound(animal_sounds.sheep, "a sheep", "bleats", "bleating"),
    "rooster": Sound(animal_sounds.rooster, "a rooster", "crows", "crowing"),
    "frog": Sound(animal_sounds.frog, "a frog", "croaks", "croaking"),
    "bird": Sound(animal_sounds.bird, "a bird", "sings", "chirping"),
    "baby": Sound(animal_sounds.baby, "a baby", "cries", "crying"),
    "engine": Sound(machine_sounds.engine, "an engine", "hums", "running"),
    "chainsaw": Sound(machine_sounds.chainsaw, "a chainsaw", "roars", "roaring"),
    "helicopter": Sound(machine_sounds.helicopter, "a helicopter", "flies over", "flying over"),
    "siren": Sound(machine_sounds.siren, "a siren", "wails", "wailing"),
    "horn": Sound(machine_sounds.car_horn, "a car horn", "honks", "honking"),
    "train": Sound(machine_sounds.train_whistle, "a train", "whistles", "whistling"),
    "phone": Sound(machine_sounds.phone, "a telephone", "rings", "ringing"),
    "alarm": Sound(machine_sounds.alarm, "an alarm clock", "beeps", "beeping"),
    "whistle": Sound(machine_sounds.whistle, "a referee", "blows a whistle", "blowing a whistle"),
    "knock": Sound(machine_sounds.knock, "someone", "knocks on a door", "knocking on a door"),
    "footsteps": Sound(machine_sounds.footsteps, "someone", "walks with loud footsteps", "walking"),
    "clock": Sound(machine_sounds.clock, "a clock", "ticks", "ticking"),
    "applause": Sound(machine_sounds.clap, "an audience", "applauds", "clapping"),
    "bell": Sound(music_sounds.bell, "a bell", "rings", "ringing"),
    "drum": Sound(music_sounds.drum, "a drum", "beats", "beating"),
    "guitar": Sound(music_sounds.guitar, "a guitar", "plays", "playing"),
    "piano": Sound(music_sounds.piano, "a piano", "plays", "playing"),
    "trumpet": Sound(music_sounds.trumpet, "a trumpet", "plays", "playing"),
    "rain": Sound(nature_sounds.rain, "rain", "falls", "falling"),
    "thunder": Sound(nature_sounds.thunder, "thunder", "rumbles", "rumbling"),
    "waves": Sound(nature_sounds.waves, "the sea", "roars", "roaring"),
    "wind": Sound(nature_sounds.wind, "the wind", "howls", "howling"),
    "fire": Sound(nature_sounds.fire, "a fire", "crackles", "crackling"),
}


def make_sound(name: str, count: int, rate: int, generator: np.random.Generator) -> np.ndarray:
    """int16 samples of one event, at an even loudness, without clicks at its ends; N, = result.shape."""
    samples = SOUNDS[name].recipe(count, rate, generator)[:count].astype(np.float32) * swell(count, 0.02, 0.04)
    scale = 20000 / (float(np.abs(samples).max()) + 1e-9)
    return level((samples * scale).astype(np.int16), float(generator.uniform(-25, -19)))
