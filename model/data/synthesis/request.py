"""What to make: the options of `htav synth` as one value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from model.data.synthesis.noise import Noise
from model.data.synthesis.record import SynthesisError, TextKind
from model.data.synthesis.sentences import Split
from model.data.synthesis.speech import Engine
from model.data.synthesis.voices import sexes
from model.data.synthesis.writer import VIDEO_CODECS, choose_format

Kind = Literal["utterances", "talkers", "scenes", "photos", "portraits", "shots"]
Voices = Literal["named", "drawn"]
DEFAULT_TEXTS: dict[Kind, TextKind] = {"utterances": "said", "talkers": "together", "scenes": "all"}  # others: seen


@dataclass(frozen=True)
class Request:
    """One call of `htav synth`; equal requests make equal files."""

    out: Path
    kind: Kind
    count: int
    split: Split = "train"
    seed: int = 0
    texts: TextKind | None = None
    container: str | None = None
    codec: str | None = None
    size: int = 256
    fps: float = 12.5
    people: int = 43
    sayers: int = 1
    engine: Engine = "espeak"
    voices: Voices = "named"
    sentences: tuple[str, ...] = ()  # paths, or GRAMMAR; they take turns
    photos: Path | None = None
    spoken: Literal["sentence", "caption"] = "sentence"
    noise: Noise = "none"
    snr_db: float = 10.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("kind", self.kind, get_args(Kind)),
            ("split", self.split, get_args(Split)),
            ("texts", self.texts or "all", get_args(TextKind)),
            ("noise", self.noise, get_args(Noise)),
            ("engine", self.engine, get_args(Engine)),
            ("voices", self.voices, get_args(Voices)),
            ("spoken", self.spoken, ("sentence", "caption")),
        ):
            if value not in allowed:
                raise SynthesisError(f"There is no {name} {value!r}.", f"Choose one of: {', '.join(allowed)}.")
        if not sexes(self.engine, self.split):
            raise SynthesisError(
                f"The voices of {self.engine} are kept out of the {self.split} split.",
                "Choose another engine: training and test never share a voice.",
            )
        if self.voices == "drawn" and (self.engine, self.kind) != ("espeak", "utterances"):
            raise SynthesisError("Only eSpeak's voices of utterances are drawn.", "Leave out --voices, or --engine.")
        if self.count < 1 or self.people < 1 or self.sayers < 1:
            raise SynthesisError("count, people and sayers must be at least 1.", "Give a positive number.")
        if not 64 <= self.size <= 1080 or self.size % 2:
            raise SynthesisError(f"Frames of {self.size} lines cannot be made.", "Give an even size from 64 to 1080.")
        if not 1 <= self.fps <= 60:
            raise SynthesisError(f"{self.fps} frames a second cannot be made.", "Give a rate from 1 to 60.")
        form = choose_format(self.container_name, self.codec)
        if self.kind != "utterances" and not form.video:
            raise SynthesisError(
                f".{form.suffix} files hold no pictures.", f"Choose one of: {', '.join(VIDEO_CODECS)}."
            )

    @property
    def container_name(self) -> str:
        return self.container or ("flac" if self.kind == "utterances" else "mp4")

    @property
    def chosen_texts(self) -> TextKind:
        return self.texts or DEFAULT_TEXTS.get(self.kind, "seen")
