"""Small training runs, and what they leave."""

import csv
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from model.retriever import Retriever
from model.training import state
from model.training.options import Options


def options(root: Path, out: Path, **more: Any) -> Options:
    given = {
        "data": (str(root / "p"), f"{root / 't'}:2", str(root / "f")), "out": out, "preset": "tiny", "steps": 6,
        "batch_size": "4", "threads": 1, "views": 2, "validate_every": 100, "log_every": 2, "lr": 3e-3,
    }  # fmt: skip
    return Options(**(given | more))


def weights(run: Path) -> dict[str, torch.Tensor]:
    (newest, *_) = sorted((run / state.STATES).glob("step-*"), reverse=True)
    return load_file(newest / "model.safetensors")


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "start"
    if not folder.exists():
        Retriever.from_preset("tiny", seed=5).save_pretrained(folder)
    return folder
