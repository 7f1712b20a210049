"""Where a step is computed: this process alone, or several processes through `accelerate` when it launched them."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from model.retriever import Retriever
from model.training.batch import Sense, TrainBatch
from model.training.options import TrainingError


class StepModule(nn.Module):
    """Retriever and loss as one module: what several processes keep equal."""

    def __init__(self, retriever: Retriever, loss: nn.Module) -> None:
        super().__init__()
        self.retriever, self.loss = retriever, loss

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = self.loss(self.retriever, batch)
        return parts


class Devices:
    """One process on the CPU or a GPU."""

    rank, world = 0, 1

    def __init__(self, bf16: bool) -> None:
        self.bf16 = bf16
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def prepare(self, module: StepModule) -> nn.Module:
        return module.to(self.device)  # the optimiser's tensors follow the weights

    def losses(self, module: nn.Module, batch: TrainBatch) -> dict[str, Tensor]:
        """Forward, in bf16 where that is exact enough if asked to."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            parts: dict[str, Tensor] = module(moved(batch, self.device))
        return parts

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def agree(self, value: float) -> float:
        """The largest value among the processes: they stop together."""
        return value


class AccelerateDevices(Devices):
    """Several processes started with `accelerate launch`: each takes its part of every batch."""

    def __init__(self, bf16: bool) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as err:
            raise TrainingError("several processes need `accelerate`.", "pip install 'htav[train]'.") from err
        # Each source uses its own part of the network, so no step has a gradient for everything.
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
        self.accelerator: Any = Accelerator(kwargs_handlers=handlers)
        self.bf16 = bf16
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes

    def prepare(self, module: StepModule) -> nn.Module:
        prepared: nn.Module = self.accelerator.prepare_model(module)
        return prepared

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def agree(self, value: float) -> float:
        gathered: Tensor = self.accelerator.gather(torch.tensor([value], device=self.device))
        return float(gathered.max())


def threads_each(threads: int) -> int:
    """What each of this machine's processes may take of so many threads: with more than cores they wait for each other.

    Two processes of two threads on two cores took 36 s a step instead of 5.
    """
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def computing_on(threads: int) -> Iterator[None]:
    """So many threads for a while."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def find_devices(bf16: bool) -> Devices:
    """`accelerate` when it launched more than one process."""
    return AccelerateDevices(bf16) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Devices(bf16)


def moved(batch: TrainBatch, device: torch.device) -> TrainBatch:
    """The batch with every tensor on the device."""
    if device.type == "cpu":
        return batch
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return TrainBatch(**{name: _moved(value, device) for name, value in values.items()})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Sense):
        return Sense(_moved(value.positives, device), _moved(value.asks, device))
    if isinstance(value, list):
        return [_moved(entry, device) for entry in value]
    return value
