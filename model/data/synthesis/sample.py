"""The little library that `htav demo` indexes: every kind of file once, and a query of each kind that it answers."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from model.data.manifest import write_manifest
from model.data.synthesis.faces import Portrait
from model.data.synthesis.people import cast
from model.data.synthesis.record import Item, SynthesisError, TextKind, read_lines
from model.data.synthesis.scenes import RATE, Scene, even
from model.data.synthesis.sentences import Split
from model.data.synthesis.shots import Shot, draw_shot
from model.data.synthesis.speech import Speaker
from model.data.synthesis.talk import lay
from model.data.synthesis.talkers import write_talker
from model.data.synthesis.utterances import spoken_description
from model.data.synthesis.writer import choose_format, write_audio

SAMPLE_FILES = 30
FPS = Fraction(25, 2)
LINES = 256
SAMPLE_SPLIT: Split = "test"  # sentences, voices and scenes that no training has seen
SENTENCES = (
    "the meeting moved to Tuesday",
    "please bring the yellow umbrella to the station",
    "my grandmother painted the old lighthouse last summer",
    "the train to the mountains leaves at seven o'clock",
    "nobody remembered to water the plants",
    "she found a silver key under the carpet",
    "the doctor opened a small clinic near the harbour",
    "we talked about music and history at dinner",
    "three tired sailors repaired the broken engine",
    "honey and lemon taste wonderful in warm tea",
)
SOUND_ONLY = "your parcel is waiting at the front desk"
LONG = (
    Shot("cow", "white", "in a green meadow", "still", 4.48, "cow"),
    Shot("sailboat", "orange", "on the sea", "right", 4.48, "waves"),
    Shot("guitar", "red", "in a living room", "still", 4.48, "guitar"),
    Shot("cat", "black", "on a beach", "right", 4.48, ""),
    Shot("fire engine", "red", "in front of snowy mountains", "right", 4.48, "siren"),
    Shot("butterfly", "yellow", "in a forest", "left", 4.48, "bird"),
    Shot("bus", "green", "in a city at night", "left", 4.48, "engine"),
    Shot("drum", "blue", "on a stage with red curtains", "still", 4.48, "drum"),
    Shot("umbrella", "pink", "in a green meadow", "still", 4.48, "rain", "", "rain"),
)
ORDERED = (
    Shot("dog", "brown", "on a city street", "still", 4.0, "dog"),
    Shot("bell", "yellow", "in front of a brick wall", "still", 4.0, "bell"),
)
SILENT = (Shot("balloon", "purple", "in a desert", "closer", 5.04),)
FORMS = (("mp4", None),) * 8 + (("mkv", None), ("webm", None), ("avi", None), ("mkv", "hevc"), ("mp4", "mpeg4"))


@dataclass(frozen=True)
class DemoQuery:
    """A sentence to search for, and where its answer is."""

    text: str
    kind: TextKind
    file: str
    start_s: float
    end_s: float


DEMO_QUERIES = (
    DemoQuery("a blue drum stands on a stage with red curtains", "seen", "v30.mp4", 31.36, 35.84),
    DemoQuery("the meeting moved to Tuesday", "said", "v01.mp4", 0.0, 2.2),
    DemoQuery("the sound of a guitar playing", "heard", "v30.mp4", 8.96, 13.44),
    DemoQuery(f"the man with short blond hair says: {SENTENCES[4]}", "together", "v05.mp4", 0.0, 2.88),
    DemoQuery("first a drum beats, then rain falls", "order", "v30.mp4", 31.36, 40.32),
)


def sample_items(out: Path, seed: int) -> Iterator[Item]:
    """Write the files one by one: talkers, sound alone, scenes in many formats, one silent, two with known answers."""
    with Speaker(RATE) as speaker:
        people = cast(len(SENTENCES), SAMPLE_SPLIT, 5)
        for index, (person, sentence) in enumerate(zip(people, SENTENCES, strict=True)):
            dice = random.Random(f"sample talker {index}")
            file, form = f"v{index + 1:02d}.mp4", choose_format("mp4")
            speech = lay(speaker.say(person.voice.says(sentence)), dice)
            description = write_talker(out / file, form, Portrait(person, LINES, dice), sentence, speech, FPS, dice)
            yield Item(file, description, SAMPLE_SPLIT, "sample", speech.duration_s, has_audio=True)
        dice = random.Random("sample sound")
        speech = lay(speaker.say(people[0].voice.says(SOUND_ONLY)), dice)
        write_audio(out / "v11.ogg", choose_format("ogg"), speech.samples, RATE)
        description = spoken_description(SOUND_ONLY, speech, people[0].voice.heard)
        yield Item("v11.ogg", description, SAMPLE_SPLIT, "sample", speech.duration_s, has_audio=True)
        yield from sample_scenes(out, seed, speaker)


def sample_scenes(out: Path, seed: int, speaker: Speaker) -> Iterator[Item]:
    """The scenes v12 to v30; those before v28 differ by seed."""
    dice = random.Random(f"sample scenes {seed}")
    planned = [
        [
            replace(draw_shot(dice, SAMPLE_SPLIT), seconds=dice.uniform(2.2, 3.2))
            for _ in range(dice.choice((1, 1, 2, 3)))
        ]
        for _ in range(16)
    ]
    for index, shots in enumerate([*planned, list(SILENT), list(ORDERED), list(LONG)]):
        container, codec = FORMS[index % len(FORMS)] if index < len(planned) else ("mp4", None)
        form, shape = choose_format(container, codec), dice.choice((4 / 3, 16 / 9))
        scene = Scene(shots, SAMPLE_SPLIT, f"sample scene {seed if index < len(planned) else 'known'} {index}")
        scene.compose(speaker, float(FPS))
        file = f"v{index + 12:02d}.{form.suffix}"
        has_audio = scene.write(out / file, form, (even(LINES * shape), LINES), FPS)
        yield Item(file, scene.description, SAMPLE_SPLIT, "sample", scene.duration_s, has_audio)


def sample_library(out: Path, seed: int = 0, progress: Callable[[int], None] = lambda _: None) -> list[Item]:
    """Write the library into a folder, its manifest last, and tell what is in it; other lines there are kept."""
    others = [line for line in read_lines(out) if line.get("group") != "sample"]
    items: list[Item] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for item in sample_items(out, seed):
            items.append(item)
            progress(len(items))
        write_manifest(out, [*others, *(item.line("all") for item in items)])
    except OSError as error:
        raise SynthesisError(f"Cannot write to {out}: {error}.", "Choose a folder with room.") from error
    return items
