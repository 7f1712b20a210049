"""Test videos of drawn people who talk, filmed from a plan that says who says what."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream

from model.data.synthesis.faces import Portrait
from model.data.synthesis.noise import level
from model.data.synthesis.people import Person
from model.data.synthesis.record import LICENSE
from model.data.synthesis.speech import Speaker, Speech
from model.data.synthesis.talkers import talking_frames
from model.data.synthesis.writer import AUDIO_BIT_RATES, ENCODERS, choose_format, write_video
from model.evaluation.testsets.babble import Babble
from model.evaluation.testsets.voices import RATE, said
from model.progress import Count

LINES = 224
FPS = Fraction(25, 2)
SILENCE_S = 0.2  # before and after; the same in all videos, so that it tells none from another
LOUDNESS_DB = (-25.0, -19.0)


@dataclass(frozen=True)
class Spoken:
    """One video to be made: a person, a sentence, and the queries that it answers."""

    file: str
    person: Person
    sentence: str
    query: str
    kind: str
    group: str
    extra: dict[str, Any] = field(default_factory=dict)

    def line(self, duration_s: float) -> dict[str, Any]:
        part = "said" if self.query == self.sentence else "together"
        return {
            "file": self.file,
            "texts": [self.query],
            "split": "test",
            "kind": self.kind,
            "group": self.group,
            "has_audio": True,
            "license": LICENSE,
            "text_source": "human" if part == "said" else "generated",
            part: [self.query],
            "transcript": self.sentence,
            "voice": self.person.voice.variant,
            "engine": self.person.voice.engine,
            "duration_s": round(duration_s, 3),
            **self.extra,
        }


def film(out: Path, plan: Sequence[Spoken], progress: Count) -> list[dict[str, Any]]:
    """Write the videos of a plan into `out`."""
    form, lines = choose_format("mp4"), []
    with Speaker(RATE) as speaker:
        for person, clips in groupby(plan, key=lambda clip: clip.person):
            own = list(clips)
            portrait = Portrait(person, LINES, random.Random(f"test portrait {own[0].file}"))
            for clip, speech in zip(own, speeches(speaker, own), strict=True):
                frames = talking_frames(portrait, speech, FPS, random.Random(f"test face {clip.file}"))
                write_video(out / clip.file, form, frames, FPS, speech.samples, RATE)
                lines.append(clip.line(speech.duration_s))
                progress(len(lines), len(plan))
            portrait.forget()
    return lines


def dub(
    out: Path, films: Path, plan: Sequence[Spoken], chatter: Sequence[str], snr_db: float, progress: Count
) -> list[dict[str, Any]]:
    """The videos of `films`, made from the same plan, with babble of the sentences `chatter` in their sound."""
    lines = []
    with (
        Speaker(RATE) as speaker,
        Speaker(RATE) as others,
    ):  # a synthesiser says nothing twice alike: what it said goes on
        babble = Babble(others, chatter)
        for clip, speech in zip(plan, speeches(speaker, plan), strict=True):
            behind = random.Random(f"test babble {clip.file}")
            noisy = babble.over(speech.samples, clip.person.voice, snr_db, behind)
            replace_sound(films / clip.file, out / clip.file, noisy, RATE)
            lines.append(clip.line(speech.duration_s))
            progress(len(lines), len(plan))
    return lines


def speeches(speaker: Speaker, plan: Sequence[Spoken]) -> Iterator[Speech]:
    """What is said in each video, with the silence around it."""
    for person, clips in groupby(plan, key=lambda clip: clip.person):
        own = list(clips)
        for clip, bare in zip(own, said(speaker, person.voice, [clip.sentence for clip in own]), strict=True):
            dice = random.Random(f"test talker {clip.file}")
            silence = np.zeros(int(SILENCE_S * RATE), np.int16)
            samples = np.concatenate([silence, level(bare.samples, dice.uniform(*LOUDNESS_DB)), silence])
            yield replace(bare, samples=samples)


def replace_sound(source: Path, target: Path, samples: np.ndarray, rate: int) -> None:
    """The pictures of one MP4 file, packet by packet, with another sound; N, = samples.shape, int16."""
    codec, options = ENCODERS["aac"]
    with av.open(str(source)) as given, av.open(str(target), "w", options={"fflags": "+bitexact"}) as made:
        pictures = made.add_stream_from_template(given.streams.video[0])
        sound = cast(AudioStream, made.add_stream(codec, rate=rate, options=dict(options)))
        sound.layout, sound.bit_rate = "mono", AUDIO_BIT_RATES["aac"]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        made.mux([*sound.encode(frame), *sound.encode(None)])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                made.mux(packet)
