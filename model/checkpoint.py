"""A checkpoint on disk: `config.json` + `model.safetensors` + `tokenizer.json` + `MODEL_CARD.md`.

config.json records the digests of weights and tokenizer. Weights are stored as fp16 and computed in fp32. Nothing here
unpickles anything.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model import hub
from model.config import RetrieverConfig
from model.errors import HtavError
from model.tokens import TOKEN_FORMAT
from model.transforms import TRANSFORM_VERSION

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"
SAMPLER_VERSION = 1  # clip windows and frame times; raise it when model.media changes them
EMBEDDED = Path(__file__).parent / "weights" / "compact"
QUERY_PARTS = ("text.", "fusion.", "coarse.")


class CheckpointError(HtavError):
    """A checkpoint is missing, incomplete or altered."""

    code: ClassVar[str] = "bad_checkpoint"
    exit_code: ClassVar[int] = 3


def resolve(path_or_hub_id: str | Path) -> Path:
    """A checkpoint folder: a local one as it is, anything else fetched from the model hub.

    Raises CheckpointError naming what is missing and the offline choice; it waits seconds for a network, never longer.
    """
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(path_or_hub_id)
    offline = "Give the path of a local checkpoint folder, or leave the model unset to use the embedded one."
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise CheckpointError(f"there is no checkpoint folder at '{name}'.", offline)
    try:
        return hub.fetch(name, [CONFIG, WEIGHTS, TOKENIZER], [CARD])
    except hub.HUB_ERRORS as err:
        raise CheckpointError(
            f"'{name}' is no local folder and could not be fetched from the model hub.", offline
        ) from err


def read_config(folder: Path) -> tuple[RetrieverConfig, dict[str, str]]:
    """The network's config and the recorded SHA-256 of each file."""
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text())
        return RetrieverConfig.from_json(values["config"]), dict(values["sha256"])
    except FileNotFoundError as err:
        raise CheckpointError(f"the checkpoint has no {CONFIG} in {folder}.", _RESTORE) from err
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as err:
        raise CheckpointError(f"{path} is not a checkpoint's config.", _RESTORE) from err


_RESTORE = "Restore the checkpoint from its source; `git checkout` or a new install brings back the embedded one."


def check_digests(folder: Path, digests: dict[str, str]) -> None:
    """Raises CheckpointError when the weights or the tokenizer are missing or are not what was saved."""
    for name in (WEIGHTS, TOKENIZER):
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"the checkpoint in {folder} lacks {name}.", _RESTORE)
        if file_digest(path) != digests.get(name):
            raise CheckpointError(f"{path} was altered: its SHA-256 is not the one in {CONFIG}.", _RESTORE)


def read_weights(folder: Path, query_only: bool) -> dict[str, Tensor]:
    """Weights as fp32; of the query path's parts alone if `query_only`."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names = [name for name in file.keys() if not query_only or name.startswith(QUERY_PARTS)]  # noqa: SIM118
            return {name: _widened(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {err}.", _RESTORE) from err


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def write(folder: Path, config: RetrieverConfig, state: dict[str, Tensor], tokenizer: str, card: str) -> str:
    """Save a checkpoint; config.json, which holds the digests, is written last. Returns the digest of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in half.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / TOKENIZER).write_text(tokenizer)
    (folder / CARD).write_text(card)
    digests = {name: file_digest(folder / name) for name in (WEIGHTS, TOKENIZER)}
    write_config(folder, config, digests)
    return digests[WEIGHTS]


def write_config(folder: Path, config: RetrieverConfig, digests: dict[str, str]) -> None:
    """Replace config.json in one step."""
    values: dict[str, Any] = {"format": "htav-checkpoint-1", "sha256": digests, "config": config.to_json()}
    temporary = folder / f".{CONFIG}.new"
    temporary.write_text(json.dumps(values, indent=1) + "\n")
    temporary.replace(folder / CONFIG)


def fingerprint(config: RetrieverConfig, weights_digest: str) -> str:
    """Digest of everything that changes tokens: weights, transforms, sampler, windows, token format (16 hex digits).

    Calibration is left out: it changes how scores are named, not the tokens.
    """
    values = {key: value for key, value in config.to_json().items() if key != "confidence"}
    versions = [TOKEN_FORMAT, TRANSFORM_VERSION, SAMPLER_VERSION]
    return hashlib.sha256(json.dumps([weights_digest, values, versions], sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(state: dict[str, Tensor]) -> str:
    """The digest of weights that are in memory only, as fp16 as they would be saved."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        stored = (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        digest.update(name.encode())
        digest.update(stored.view(torch.uint8).numpy().tobytes() if stored.dim() else stored.numpy().tobytes())
    return digest.hexdigest()
