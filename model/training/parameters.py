"""Which weights move, and how fast: what is new learns at one rate, what comes from a publisher at a slower one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from model.retriever import Retriever
from model.training.options import Options, TrainingError

TEXT_TRUNK = ("text.embeddings.", "text.layers.")
FRAME_TRUNK = ("video.trunk.",)
AUDIO_TRUNK = ("audio.pretrained.",)
TRUNKS = {"text": TEXT_TRUNK, "frames": FRAME_TRUNK, "audio": AUDIO_TRUNK}
STAGE = re.compile(r"\.(?:blocks|features|layers|layer)\.(\d+)\.")


@dataclass(frozen=True)
class Trained:
    """The moving weights by name, and the optimiser that moves them."""

    parameters: dict[str, nn.Parameter]
    optimizer: AdamW
    frozen_frames: bool
    frozen_text_layers: int  # RoBERTa's first layers that do not move; 0 when its embeddings do


def parse(spec: str) -> dict[str, int | None]:
    """`text-last=2,frames-last=all` to the number of last stages of each trunk that move; None for all of them."""
    chosen: dict[str, int | None] = dict.fromkeys(TRUNKS, 0)
    if spec.strip() == "all":
        return dict.fromkeys(TRUNKS, None)
    for part in filter(None, spec.replace(" ", "").split(",")):
        name, _, number = part.partition("=")
        trunk = name.removesuffix("-last")
        if trunk not in TRUNKS or not name.endswith("-last") or not (number == "all" or number.isdigit()):
            raise TrainingError(
                f"--train {spec} cannot be read.", "Write all, or text-last=2,frames-last=1 (a number or all)."
            )
        chosen[trunk] = None if number == "all" else int(number)
    return chosen


def select(retriever: Retriever, loss: nn.Module, options: Options) -> Trained:
    """Freeze what `--train` leaves out and group the rest: trunk or new, with or without weight decay."""
    chosen = parse(options.train)
    moving: dict[str, nn.Parameter] = {}
    for trunk, prefixes in TRUNKS.items():
        named = [(name, value) for name, value in retriever.named_parameters() if name.startswith(prefixes)]
        kept = _last_stages([name for name, _ in named], chosen[trunk])
        for name, value in named:
            value.requires_grad_(name in kept)
    everything = [*retriever.named_parameters(), *((f"loss.{name}", value) for name, value in loss.named_parameters())]
    moving = {name: value for name, value in everything if value.requires_grad}
    groups = [
        {"params": values, "lr": lr, "peak_lr": lr, "weight_decay": decay}
        for lr, decay, values in _groups(moving, options)
        if values
    ]
    optimizer = AdamW(groups, betas=(0.9, 0.98), eps=1e-8)
    frozen_frames = not any(name.startswith(FRAME_TRUNK) for name in moving)
    return Trained(moving, optimizer, frozen_frames, _frozen_text_layers(moving, len(retriever.text.layers)))


def _frozen_text_layers(moving: dict[str, nn.Parameter], layers: int) -> int:
    """How many of RoBERTa's first layers stand still, and everything below them."""
    if any(name.startswith(TEXT_TRUNK[0]) for name in moving):
        return 0
    found = [int(match[1]) for name in moving if name.startswith(TEXT_TRUNK[1]) and (match := STAGE.search(name))]
    return min(found, default=layers)


def _last_stages(names: list[str], count: int | None) -> set[str]:
    """The names in the last `count` stages; what stands behind the last numbered stage belongs to it."""
    if count is None:
        return set(names)
    found = [STAGE.search(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    last = max(numbers, default=-1)
    first_numbered = next((index for index, match in enumerate(found) if match), len(names))
    stages = [int(match[1]) if match else (-1 if index < first_numbered else last) for index, match in enumerate(found)]
    return {name for name, stage in zip(names, stages, strict=True) if count > 0 and stage > last - count}


def _groups(moving: dict[str, nn.Parameter], options: Options) -> Iterator[tuple[float, float, list[nn.Parameter]]]:
    trunk = tuple(prefix for prefixes in TRUNKS.values() for prefix in prefixes)
    for lr, of_trunk in ((options.lr, False), (options.trunk_lr, True)):
        for decay, matrices in ((options.weight_decay, True), (0.0, False)):
            yield (
                lr,
                decay,
                [
                    value
                    for name, value in moving.items()
                    if name.startswith(trunk) is of_trunk and (value.dim() > 1) is matrices
                ],
            )
