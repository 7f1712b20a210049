"""What a run needs to go on exactly where it was, in safetensors and JSON, and safe against a stop at any second.

A state is a folder made beside and renamed when it is whole and on disk. The newest whole one is read; what a killed
run left half made is removed. Weights are kept in full precision here: the checkpoint for use rounds them to fp16.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from model.durable import sync
from model.training.options import TrainingError

STATES = "states"  # the folder of a run's states, in its own
KEEP = 2
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class State:
    """One saved moment: weights, optimiser moments, weight averages, and everything else as JSON."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    meta: dict[str, Any]
    average: dict[str, Tensor]  # empty without --average


def save(folder: Path, step: int, state: State) -> Path:
    """Write a state and drop the oldest; a kill at any time leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    beside, target = folder / f"{UNFINISHED}{step:09}", state_folder(folder, step)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    save_file({name: value.contiguous() for name, value in state.model.items()}, beside / "model.safetensors")
    save_file({name: value.contiguous() for name, value in state.optimizer.items()}, beside / "optimizer.safetensors")
    save_file({name: value.contiguous() for name, value in state.average.items()}, beside / "average.safetensors")
    (beside / "state.json").write_text(json.dumps(state.meta, indent=1))
    for path in (*beside.iterdir(), beside):
        sync(path)
    if target.exists():
        shutil.rmtree(target)
    beside.replace(target)
    sync(folder)
    for old in _complete(folder)[KEEP:]:
        shutil.rmtree(old)
    return target


def state_folder(folder: Path, step: int) -> Path:
    """Where the state after `step` steps is kept; a run that has ended has that of its last step."""
    return folder / f"step-{step:09}"


def newest(folder: Path) -> State | None:
    """The newest state that can be read whole; None when there is none. Raises TrainingError when none can be read."""
    for left in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for path in _complete(folder):
        try:
            optimizer = load_file(path / "optimizer.safetensors")
            optimizer.pop("rng", None)  # an older state holds the generator's; a step now seeds its own
            meta = json.loads((path / "state.json").read_text())
            average = load_file(path / "average.safetensors")
            return State(load_file(path / "model.safetensors"), optimizer, meta, average)
        except (OSError, SafetensorError, json.JSONDecodeError, KeyError):
            continue  # damaged after it was written: the one before it is whole
    if _complete(folder):
        raise TrainingError(
            f"no saved state in {folder} can be read: they are damaged, or of another version.",
            "Choose another --out.",
        )
    return None


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def optimizer_state(optimizer: Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter name."""
    return {
        f"{name}|{key}": value.detach().cpu()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, parameters: dict[str, nn.Parameter], saved: dict[str, Tensor]) -> None:
    """Put the tensors back. Raises TrainingError when other weights move than when they were saved."""
    unknown = {name.partition("|")[0] for name in saved} - set(parameters)
    if unknown:
        raise TrainingError(
            f"the saved run moved other weights than this one ({sorted(unknown)[0]}...).",
            "Resume it with the same --train.",
        )
    for full_name, value in saved.items():
        name, _, key = full_name.partition("|")
        parameter = parameters[name]
        # AdamW's step counter stays on the CPU, its moments go where the weights are.
        optimizer.state[parameter][key] = value if value.dim() == 0 else value.to(parameter.device)
