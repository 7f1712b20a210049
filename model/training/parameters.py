"""Which weights move, and how fast: what is new learns at one rate, what comes from a publisher at a slower one."""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from model.retriever import Retriever
from model.training.options import Options, TrainingError

TEXT_TRUNK = ("text.embeddings.", "text.layers.")
FRAME_TRUNK = ("video.trunk.",)
AUDIO_TRUNK = ("audio.pretrained.",)
TRUNKS = {"text": TEXT_TRUNK, "frames": FRAME_TRUNK, "audio": AUDIO_TRUNK}
DISTILLED = "coarse.listing."  # taught by `htav distil` alone
SCALE_RATE = 10.0
GATE = re.compile(r"\.graph\.layers\.\d+\.gate$|^spelling\.said\.")
STAGE = re.compile(r"\.(?:blocks|features|layers|layer)\.(\d+)\.")


@dataclass(frozen=True)
class Trained:
    """The moving weights by name, and the optimiser that moves them."""

    parameters: dict[str, nn.Parameter]
    optimizer: AdamW
    frozen_frame_stages: int  # first stages of the frame trunk that do not move; 0 when its stem does
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
    for trunk, prefixes in TRUNKS.items():
        named = _named(retriever, prefixes)
        kept = _last_stages(list(named), chosen[trunk])
        for name, value in named.items():
            value.requires_grad_(name in kept)
    only = tuple(filter(None, options.only.replace(" ", "").split(","))) or ("",)  # every name starts so
    everything = [*retriever.named_parameters(), *((f"loss.{name}", value) for name, value in loss.named_parameters())]
    for prefix in only:
        if not any(name.startswith(prefix) for name, _ in everything):
            raise TrainingError(f"--only {prefix}: no weight's name starts so.", "Name weights as in: coarse.,late.")
    for name, value in everything:
        value.requires_grad_(value.requires_grad and name.startswith(only) and not name.startswith(DISTILLED))
    moving = {name: value for name, value in everything if value.requires_grad}
    if not moving:
        raise TrainingError(f"--only {options.only} leaves nothing to learn.", "Name weights as in: coarse.,late.")
    frames, text = (_standing(list(_named(retriever, trunk)), moving.keys()) for trunk in (FRAME_TRUNK, TEXT_TRUNK))
    return Trained(moving, optimizer(moving, options), frames, text)


def optimizer(moving: dict[str, nn.Parameter], options: Options) -> AdamW:
    """AdamW over groups that remember their peak rate."""
    groups = [
        {"params": values, "lr": lr, "peak_lr": lr, "weight_decay": decay}
        for lr, decay, values in _groups(moving, options)
        if values
    ]
    return AdamW(groups, betas=(0.9, 0.98), eps=1e-8)


def _named(retriever: Retriever, prefixes: tuple[str, ...]) -> dict[str, nn.Parameter]:
    return {name: value for name, value in retriever.named_parameters() if name.startswith(prefixes)}


def _stages(names: list[str]) -> dict[str, int]:
    """The stage of each weight of a trunk: -1 before the first numbered one; what stands behind the last is of it."""
    stages, current = {}, -1
    for name in names:
        match = STAGE.search(name)
        current = int(match[1]) if match else current
        stages[name] = current
    return stages


def _last_stages(names: list[str], count: int | None) -> set[str]:
    """The names in the last `count` stages; all for None."""
    stages = _stages(names)
    last = max(stages.values(), default=-1)
    return {name for name, stage in stages.items() if count is None or (count > 0 and stage > last - count)}


def _standing(names: list[str], moving: Set[str]) -> int:
    """How many first stages of a trunk stand still, with all that is below them."""
    stages = _stages(names)
    beyond = max(stages.values(), default=-1) + 1
    return max(min((stage for name, stage in stages.items() if name in moving), default=beyond), 0)


def _groups(moving: dict[str, nn.Parameter], options: Options) -> Iterator[tuple[float, float, list[nn.Parameter]]]:
    """Learning rate, weight decay and weights of each group."""
    trunk = tuple(prefix for prefixes in TRUNKS.values() for prefix in prefixes)
    for matrices, decay in ((True, options.weight_decay), (False, 0.0)):
        of_kind = {name: value for name, value in moving.items() if (value.dim() > 1) is matrices}
        old = {name for name in of_kind if name.startswith(trunk)}
        fast = {name for name in of_kind if is_scale(name, of_kind[name])} - old
        rates = ((options.lr, of_kind.keys() - old - fast), (options.trunk_lr, old), (SCALE_RATE * options.lr, fast))
        for lr, names in rates:
            yield lr, decay, [value for name, value in of_kind.items() if name in names]


def is_scale(name: str, value: nn.Parameter) -> bool:
    """Temperatures, thresholds and gates: single numbers, one a channel of a gate that starts shut, or one that knows
    nothing at first, as that of the words that are said.

    Adam moves every number by about the learning rate a step, however large it is: at the rate of the matrices, a
    temperature of 0.1 or a scale of 10 stays where it started for a whole run, and with it what it steers.
    """
    return value.dim() == 0 or name.endswith(".log_temperature") or bool(GATE.search(name))
