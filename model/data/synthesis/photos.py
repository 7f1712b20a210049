"""Spoken photos: a camera moves over a real photograph while a sentence is said.

The photographs and their captions come from a folder with a manifest.jsonl; only those of the asked split are used, and
their licence goes with them.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from model.data.synthesis.record import Event, Item, SynthesisError, read_lines
from model.data.synthesis.request import Request
from model.data.synthesis.scenes import even
from model.data.synthesis.speech import Speaker, Speech
from model.data.synthesis.talk import NoiseMixer, lay, request_sentences
from model.data.synthesis.utterances import spoken_description
from model.data.synthesis.voices import draw_voice
from model.data.synthesis.writer import choose_format, write_video

RATE = 24000
SHORTEST_S = 3.0
IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def tidy(caption: str) -> str:
    """A caption without the stray blanks and stop at its end."""
    return " ".join(caption.split()).rstrip(" .")


def captioned(request: Request) -> list[dict[str, Any]]:
    """The manifest lines of the photographs to use, in seeded order."""
    if request.photos is None:
        raise SynthesisError("Spoken photos need photographs.", "Give --photos FOLDER with a manifest.jsonl.")
    lines = [
        line
        for line in read_lines(request.photos)
        if isinstance(line.get("texts"), list)
        and Path(str(line["file"])).suffix.lower() in IMAGES
        and (line.get("split") or "train") == request.split  # as load_manifest reads a line without
    ]
    needed = 2 if request.spoken == "caption" else 1
    lines = [line for line in lines if len(set(map(tidy, line["texts"]))) >= needed]
    if not lines:
        raise SynthesisError(
            f"{request.photos} lists no captioned photograph of the {request.split} split.",
            "Its manifest.jsonl needs lines with file, texts and split.",
        )
    random.Random(f"photos {request.split} {request.seed}").shuffle(lines)
    return lines[: request.count]


def moving_frames(photo: Image.Image, size: int, count: int, dice: random.Random) -> Iterator[np.ndarray]:
    """Pan and zoom: a window glides from one place of the photograph to another."""
    width, height = photo.size
    shape = (even(size * width / height), size)
    windows = []
    for _ in range(2):
        share = dice.uniform(0.72, 0.98)
        windows.append((dice.uniform(0, 1 - share) * width, dice.uniform(0, 1 - share) * height, share))
    for index in range(count):
        part = 0.5 - 0.5 * math.cos(math.pi * index / max(1, count - 1))
        left, top, share = (a + (b - a) * part for a, b in zip(*windows, strict=True))
        box = (left, top, left + share * width, top + share * height)
        yield np.asarray(photo.resize(shape, Image.Resampling.BILINEAR, box))


def open_photo(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise SynthesisError(f"Cannot read the photograph {path}: {error}.", "Remove it from the manifest.") from error


def make_photos(request: Request) -> Iterator[Item]:
    """Write the files one by one; there are at most as many as photographs."""
    lines = captioned(request)
    seed = f"photos {request.split} {request.seed}"
    random_source, mixer = random.Random(seed), NoiseMixer(request.noise, request.snr_db, seed)
    if request.spoken == "caption":
        sentences = [random_source.choice([tidy(text) for text in line["texts"]]) for line in lines]
    else:
        sentences = list(islice(request_sentences(request), len(lines)))
    voices = [draw_voice(random_source, request.split, engine=request.engine) for _ in lines]
    with Speaker(RATE) as speaker:
        said = speaker.say_many(voice.says(sentence) for voice, sentence in zip(voices, sentences, strict=True))
        for index, (line, bare) in enumerate(zip(lines, said, strict=True)):
            speech = pad(lay(bare, random_source))
            speech = replace(speech, samples=mixer.add(speech.samples, RATE))
            yield make_photo(request, index, line, sentences[index], speech, voices[index].heard)


def pad(speech: Speech) -> Speech:
    """At least SHORTEST_S of sound, so that a short sentence leaves time to look."""
    missing = max(0, int(SHORTEST_S * speech.rate) - len(speech.samples))
    return replace(speech, samples=np.pad(speech.samples, (0, missing)))


def make_photo(
    request: Request, index: int, line: dict[str, Any], sentence: str, speech: Speech, heard: list[str]
) -> Item:
    """One file and its texts; the spoken caption is not among what is seen."""
    assert request.photos is not None
    fps, form = Fraction(request.fps).limit_denominator(1001), choose_format(request.container_name, request.codec)
    dice = random.Random(f"photo {request.split} {request.seed} {index}")
    photo = open_photo(request.photos / str(line["file"]))
    file = f"photos-{request.split}/p{index:05d}.{form.suffix}"
    frames = moving_frames(photo, request.size, math.ceil(speech.duration_s * fps), dice)
    write_video(request.out / file, form, frames, fps, speech.samples, speech.rate)
    description = spoken_description(sentence, speech, heard)
    description.seen = [text for text in map(tidy, line["texts"]) if text != sentence]
    description.together = [f"{text}, while a voice says: {sentence}" for text in description.seen[:1]]
    description.events.append(Event(description.seen[0], "seen", 0.0, speech.duration_s))
    source, terms = str(line.get("text_source", "human")), str(line.get("license", "as the photographs"))
    return Item(file, description, request.split, "photos", speech.duration_s, True, source, terms)
