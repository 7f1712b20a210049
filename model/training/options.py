"""What a training run is told, as data, and what it may be told wrongly."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from model.errors import HtavError

DEFAULT_EPOCHS = 20.0
FORM_BATCHES = {"still": 128, "sound": 48, "film": 32, "composed": 32, "named": 128}

SQUARE = (2, 2)  # pictures times sounds: the fewest composed films that tell apart what is seen and what is heard
GRID = SQUARE[0] * SQUARE[1]

SHARES = "average compose names".split()
POSITIVE = (
    "steps epochs hours lr clip_norm accumulate views captions threads log_every validate_every validate_items "
    "save_every"
).split()
NOT_NEGATIVE = "trunk_lr weight_decay save_minutes".split()
SEEDS = 1 << 63


class TrainingError(HtavError):
    """A training run cannot start or go on."""

    code: ClassVar[str] = "cannot_train"


@dataclass(frozen=True)
class Options:
    """One run. Of `steps`, `epochs` and `hours` the first that is reached ends it; the schedule is stretched to it."""

    data: tuple[str, ...]
    out: Path
    split: str = "train"
    preset: str = "compact"
    init: Path | None = None
    audio_from: Path | None = None
    steps: int | None = None
    epochs: float | None = None
    hours: float | None = None
    batch_size: str = ""
    lr: float = 1e-3
    trunk_lr: float = 3e-5
    schedule: str = "one-cycle"
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    accumulate: int = 1
    average: float = 0.0
    bf16: bool = False
    train: str = "text-last=0,frames-last=0"
    only: str = ""
    views: int = 4
    captions: int = 1
    augment: bool = True
    compose: float = 0.0
    names: float = 0.0
    seed: int = 0
    threads: int = 2
    validate_every: int = 200
    validate_items: int = 128
    save_minutes: float = 5.0
    save_every: int | None = None
    log_every: int = 10
    resume: bool = False
    loss: str = ""

    def most_epochs(self) -> float | None:
        """Passes over the data that end the run, twenty where nothing else says when."""
        return self.epochs if self.epochs or self.steps or self.hours else DEFAULT_EPOCHS

    def views_kept(self) -> int:
        """How many views of a photograph there are; one where nothing is changed."""
        return self.views if self.augment else 1

    def check(self) -> None:
        """Raises TrainingError for what no run can be made of."""
        if not self.data:
            raise TrainingError("no data folder is given.", "Add --data DIR, as often as you like.")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TrainingError(f"--{name.replace('_', '-')} is {value}.", "It must be above zero, and finite.")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise TrainingError(f"--{name.replace('_', '-')} is {value}.", "It must be zero or more, and finite.")
        if not 0 <= self.seed < SEEDS:
            raise TrainingError(f"--seed is {self.seed}.", f"It must be zero or more, and below {SEEDS}.")
        for name in SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise TrainingError(f"--{name} is {getattr(self, name)}.", "It must be at least 0 and below 1.")
        if self.schedule not in ("one-cycle", "cosine"):
            raise TrainingError(f"there is no schedule '{self.schedule}'.", "Choose one-cycle or cosine.")
        sizes = self.batch_sizes()
        if self.compose and sizes["composed"] < GRID:
            raise TrainingError(
                "a batch of composed films is a grid of two pictures and two sounds at least.",
                f"Give --batch-size composed={GRID} or more, or leave out --compose.",
            )

    def batch_sizes(self) -> dict[str, int]:
        """Examples a step by form: `--batch-size 64` for all, or `still=128,film=32` for some."""
        sizes = dict(FORM_BATCHES)
        for part in filter(None, self.batch_size.replace(" ", "").split(",")):
            form, equals, number = part.rpartition("=")
            if not number.isdigit() or int(number) < 1 or (equals and form not in sizes):
                raise TrainingError(
                    f"--batch-size {self.batch_size} cannot be read.", "Write 64, or still=128,film=32."
                )
            sizes.update({form: int(number)} if equals else dict.fromkeys(sizes, int(number)))
        return sizes
