"""The network's shape as data: one frozen dataclass a part, one JSON file a preset (model/presets)."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from model.errors import HtavError

PRESETS = Path(__file__).parent / "presets"


class ConfigError(HtavError):
    """A checkpoint's config.json cannot be understood."""

    code: ClassVar[str] = "bad_config"
    exit_code: ClassVar[int] = 3


class UnknownPreset(ConfigError):
    """There is no preset of that name."""

    exit_code = 2


@dataclass(frozen=True)
class TextConfig:
    """RoBERTa layers, the character branch and the temporal graph network (Eqs 2, 9, 10)."""

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    max_positions: int
    max_tokens: int
    layer_norm_eps: float = 1e-12
    char_width: int = 128
    graph_layers: int = 1
    graph_heads: int = 4
    graph_window: int = 3
    graph_neighbours: int = 4
    tokenizer: str = "wordpiece"


@dataclass(frozen=True)
class VideoConfig:
    """Frame trunk, Video Swin blocks and feature pyramid (Eq. 1). Lists run from the finest level to the coarsest."""

    backbone: str
    channels: tuple[int, ...]
    taps: tuple[int, ...]
    frames: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    map_sizes: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    swin_blocks: int = 2
    swin_heads: int = 8
    swin_window: tuple[int, int, int] = (4, 3, 3)

    @property
    def max_tokens(self) -> int:
        """V: tokens of a full clip."""
        return self.time_steps * sum(rows * columns for rows, columns in self.grids)

    @property
    def time_steps(self) -> int:
        return self.frames // 2 if self.backbone.startswith("swin3d") else self.frames


@dataclass(frozen=True)
class AudioConfig:
    """Spectrogram transformer, layers over time alone, and bidirectional LSTM (Eqs 6-8)."""

    width: int
    layers: int
    heads: int
    mel_bins: int = 80
    frequency_rows: int = 2
    stem_channels: int = 32
    lstm_hidden: int = 96
    max_tokens: int = 64
    temporal_layers: int = 0
    pretrained: str | None = None


@dataclass(frozen=True)
class ConfidenceConfig:
    """Calibrated lower bounds of the evidence for each band.

    Evidence is `bias + score * s + above * (s - c)` of a mean s of cosines, where c is what the query t has by chance:
    the median of what the search scored, and usual[0] + usual[1:] . t / |t| where that is little (`model.confidence`).
    Uncalibrated it is the mean itself.
    """

    high: float = 0.6
    medium: float = 0.45
    low: float = 0.3
    bias: float = 0.0
    score: float = 1.0
    above: float = 0.0
    usual: tuple[float, ...] = ()


@dataclass(frozen=True)
class RetrieverConfig:
    """The whole. `wide` is the hidden width of the frame summary and of the coarse query for pictures; 0: neither.

    `gist` is 1 where RoBERTa's mean state adds to that query, too, `spelling` where words are found by their letters;
    `listing` is the hidden width of what is added for the shortlist alone, `glance` that of what compares a clip and a
    query as a whole (both need `gist`, this `wide`, too). `sound_gate` is 1 where RoBERTa's mean state says how far a
    query names a sound. `gate_temperature` divides what the gates say of the two modalities: 1 leaves them as they were
    taught, with more a query trusts neither alone. Like confidence it is set on held-out pairs, by `htav calibrate`.
    """

    preset: str
    width: int
    text: TextConfig
    video: VideoConfig
    audio: AudioConfig
    dtw_gamma: float = 0.1
    wide: int = 0
    gist: int = 0
    listing: int = 0
    spelling: int = 0
    glance: int = 0
    sound_gate: int = 0
    gate_temperature: float = 1.0
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)

    @property
    def gist_width(self) -> int:
        """How wide the mean state is that adds to the coarse query for pictures; 0: nothing is added."""
        return self.text.hidden if self.gist else 0

    @classmethod
    def from_preset(cls, preset: str) -> "RetrieverConfig":
        """Read model/presets/<preset>.json. Raises ConfigError for an unknown name."""
        path = PRESETS / f"{preset}.json"
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in PRESETS.glob("*.json")))
            raise UnknownPreset(f"there is no preset '{preset}'.", f"Choose one of: {known}.")
        return cls.from_json(json.loads(path.read_text()))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RetrieverConfig":
        config: RetrieverConfig = _build(cls, values, "config")
        needs = (("listing", "gist"), ("glance", "gist"), ("glance", "wide"), ("sound_gate", "gist"))
        for part, needed in needs:
            if getattr(config, part) and not getattr(config, needed):
                raise ConfigError(f"config.{part} needs config.{needed}.", _RESTORE)
        check_temperature(config.gate_temperature)
        return config

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check_temperature(gate_temperature: float) -> None:
    """Raises ConfigError where nothing can be divided by it."""
    if not 0.0 < gate_temperature < math.inf:
        raise ConfigError(f"a gate temperature of {gate_temperature} divides nothing.", "Give 1, 2 or the like.")


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turn JSON into the dataclass, tuple or number that the annotation `kind` asks for."""
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise ConfigError(f"{where} has unknown entries: {', '.join(sorted(unknown))}.", "Is it of a newer HTAV?")
        parts = {name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()}
        try:
            return kind(**parts)  # type: ignore[operator]
        except TypeError as err:
            raise ConfigError(f"{where} is incomplete: {err}.", _RESTORE) from err
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_build(get_args(kind)[0], item, where) for item in value)
    if kind is float and isinstance(value, int):
        value = float(value)
    optional = get_origin(kind) in (Union, UnionType)
    accepted: tuple[type, ...] = get_args(kind) if optional else (get_origin(kind) or kind,)
    if not isinstance(value, accepted) or isinstance(value, bool):
        expected = " or ".join(accept.__name__ for accept in accepted)
        raise ConfigError(f"{where} should be {expected}, not {value!r}.", _RESTORE)
    return value


_RESTORE = "Restore config.json from its source."
