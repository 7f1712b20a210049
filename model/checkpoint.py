"""A checkpoint on disk: `config.json` + `model.safetensors` + `tokenizer.json` + `MODEL_CARD.md`.

config.json records the digests of weights, tokenizer and of its own content; the weights' metadata holds the digest of
the config that they were saved with. Weights are stored as fp16 (`model.storage`) and computed in fp32. Nothing here
unpickles anything.

A checkpoint is replaced as one: its files are written into a folder of their own, and renaming that folder to `.saved`
is the moment of change. Only then do they move to their places, and a reader prefers what still waits there, so that a
death at any moment leaves the old checkpoint or the new one.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model import hub, storage
from model.config import RetrieverConfig
from model.durable import replace_text, sync
from model.errors import HtavError
from model.tokens import TOKEN_FORMAT
from model.transforms import TRANSFORM_VERSION

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"
SAMPLER_VERSION = 1  # clip windows and frame times; raise it when model.media changes them
EMBEDDED = Path(__file__).parent / "weights" / "compact"
SAVING, SAVED = ".saving", ".saved"
CONFIG_DIGEST = "config_sha256"  # in the weights' metadata; what is calibrated is left out
CALIBRATED = ("confidence", "gate_temperature")  # set by `htav calibrate`; they change no token
# Settings that came after checkpoints were published; 0: not there.
LATER_PARTS = ("wide", "gist", "listing", "spelling", "glance", "sound_gate")
# Weights of earlier versions, which nothing uses any more.
FORMER_PARTS = ("audio.ctc.", "spelling.usual.", "spelling.slope", "spelling.offset")
QUERY_PARTS = ("text.", "fusion.", "coarse.", "late.", "spelling.")


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


def part(folder: Path, name: str) -> Path:
    """Where a file of the checkpoint is: in its place, or waiting for it since a save was killed."""
    real = (folder / name).resolve()  # the links of a training run point into its checkpoint
    waiting = real.parent / SAVED / real.name
    return waiting if waiting.is_file() else folder / name


def read_config(folder: Path) -> tuple[RetrieverConfig, dict[str, str]]:
    """The network's config and the recorded SHA-256 of each file. Raises CheckpointError when it was altered."""
    path = part(folder, CONFIG)
    try:
        values = json.loads(path.read_text())
        _check_config(folder, values)
        return RetrieverConfig.from_json(values["config"]), dict(values["sha256"])
    except FileNotFoundError as err:
        raise CheckpointError(f"the checkpoint has no {CONFIG} in {folder}.", _RESTORE) from err
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror}.", _PERMIT) from err
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as err:
        raise CheckpointError(f"{path} is not a checkpoint's config.", _RESTORE) from err


def _check_config(folder: Path, values: dict[str, Any]) -> None:
    """Hold config.json against its own digest and against the one in the weights' metadata.

    A checkpoint saved before there were such digests has neither and is taken as it is. Weights that carry theirs
    demand the other, so that striking it out of config.json helps nobody.
    """
    own, bound = values["sha256"].get(CONFIG), _metadata(folder).get(CONFIG_DIGEST)
    if own is None and bound is None:
        return
    if own != _digest(values["config"]) or bound not in (None, _digest(_shape(values["config"]))):
        raise CheckpointError(
            f"{part(folder, CONFIG)} was altered: it is not what the checkpoint was saved with.",
            f"{_RESTORE} Confidence and gate temperature are set by `htav calibrate`.",
        )


def _metadata(folder: Path) -> dict[str, str]:
    """The metadata of the weights; nothing when they cannot be read, which `check_digests` tells."""
    try:
        with safe_open(part(folder, WEIGHTS), framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


_PERMIT = "Give the user that HTAV runs as permission to read the checkpoint's files."
_RESTORE = "Restore the checkpoint from its source; `git checkout` or a new install brings back the embedded one."


def check_digests(folder: Path, digests: dict[str, str]) -> None:
    """Raises CheckpointError when the weights or the tokenizer are missing or are not what was saved."""
    for name in (WEIGHTS, TOKENIZER):
        path = part(folder, name)
        if not path.is_file():
            raise CheckpointError(f"the checkpoint in {folder} lacks {name}.", _RESTORE)
        try:
            found = file_digest(path)
        except OSError as err:
            raise CheckpointError(f"{path} cannot be read: {err.strerror}.", _PERMIT) from err
        if found != digests.get(name):
            raise CheckpointError(f"{path} was altered: its SHA-256 is not the one in {CONFIG}.", _RESTORE)


def read_weights(folder: Path, query_only: bool) -> dict[str, Tensor]:
    """Weights as fp32; of the query path's parts alone if `query_only`."""
    try:
        with safe_open(part(folder, WEIGHTS), framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(FORMER_PARTS)]  # noqa: SIM118
            names = [name for name in names if not query_only or name.startswith(QUERY_PARTS)]
            return storage.widened({name: file.get_tensor(name) for name in names})
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {err}.", _RESTORE) from err


def write(folder: Path, config: RetrieverConfig, state: dict[str, Tensor], tokenizer: str, card: str) -> str:
    """Save a checkpoint, replacing an older one as a whole, where links to one lead. Returns the weights' digest."""
    folder = _home(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder)
    beside = folder / SAVING
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    # One entry alone: safetensors writes several in any order, and the same weights must give the same file.
    metadata = {CONFIG_DIGEST: _digest(_shape(config.to_json()))}
    save_file(storage.narrowed(state), beside / WEIGHTS, metadata=metadata)
    (beside / TOKENIZER).write_text(tokenizer)
    (beside / WEIGHTS).chmod((beside / TOKENIZER).stat().st_mode)  # safetensors leaves it to this user alone
    (beside / CARD).write_text(card)
    digests = {name: file_digest(beside / name) for name in (WEIGHTS, TOKENIZER)}
    (beside / CONFIG).write_text(_config_text(config, digests))
    for path in (*beside.iterdir(), beside):
        sync(path)
    beside.replace(folder / SAVED)
    sync(folder)
    _settle(folder)
    return digests[WEIGHTS]


def _settle(folder: Path) -> None:
    """Move a saved checkpoint's files to their places."""
    saved = folder / SAVED
    if saved.is_dir():
        for path in saved.iterdir():
            path.replace(folder / path.name)
        sync(folder)
        saved.rmdir()


def write_config(folder: Path, config: RetrieverConfig, digests: dict[str, str]) -> None:
    """Replace config.json in one step, with its digest. The network may not change: its weights say what it is."""
    home = _home(folder)
    _settle(home)
    replace_text(home / CONFIG, _config_text(config, digests))


def _home(folder: Path) -> Path:
    """The folder that holds the files themselves: a training run's has links into its checkpoint."""
    return (folder / CONFIG).resolve().parent


def _config_text(config: RetrieverConfig, digests: dict[str, str]) -> str:
    values = config.to_json()
    document = {"format": "htav-checkpoint-1", "sha256": digests | {CONFIG: _digest(values)}, "config": values}
    return json.dumps(document, indent=1) + "\n"


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    """The network's shape: without calibration, and without parts that it lacks, as if there were no such setting."""
    return {key: value for key, value in config.items() if key not in CALIBRATED and (value or key not in LATER_PARTS)}


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def fingerprint(config: RetrieverConfig, weights_digest: str) -> str:
    """Digest of everything that changes tokens: weights, transforms, sampler, windows, token format (16 hex digits).

    Calibration is left out: it changes scores and how they are named, not the tokens. So is a part that a checkpoint
    lacks: an index made before there was such a part stays good.
    """
    versions = [TOKEN_FORMAT, TRANSFORM_VERSION, SAMPLER_VERSION]
    return _digest([weights_digest, _shape(config.to_json()), versions])[:16]


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(state: dict[str, Tensor]) -> str:
    """The digest of weights that are in memory only, as they would be stored."""
    digest = hashlib.sha256()
    for name, value in sorted(storage.narrowed(state).items()):
        stored = value.detach().cpu()
        digest.update(name.encode())
        digest.update(stored.view(torch.uint8).numpy().tobytes() if stored.dim() else stored.numpy().tobytes())
    return digest.hexdigest()
