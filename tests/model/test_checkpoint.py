"""Checkpoints: what is saved is what is loaded, saving is all or nothing, and nobody waits for a network."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint, hub
from model.checkpoint import CheckpointError
from model.config import RetrieverConfig
from model.retriever import Retriever
from model.storage import narrowed, widened
from tests.model.samples import TEXTS, clip, fresh_tiny, tiny, token_set

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_a_checkpoint_holds_all_that_it_needs(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "MODEL_CARD.md",
    }


def test_the_shipped_checkpoint_stays_small() -> None:
    files = [path.stat().st_size for path in checkpoint.EMBEDDED.iterdir()]
    assert len(files) == 4 and sum(files) <= 64_000_000


def test_all_files_of_a_checkpoint_are_as_open_as_each_other(saved: Path) -> None:
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_what_is_loaded_is_what_was_saved(saved: Path) -> None:
    loaded, clips = Retriever.from_pretrained(saved), [clip(1), clip(2, seconds=0)]
    assert not loaded.training and loaded.config == tiny().config
    stored = widened(narrowed(tiny().state_dict()))
    assert all(torch.equal(value, stored[name]) for name, value in loaded.state_dict().items())
    before, after = (retriever.encode_clips(clips) for retriever in (tiny(), loaded))
    np.testing.assert_allclose(before[0].audio_times, after[0].audio_times)
    scores = [
        retriever.rerank(retriever.encode_text(TEXTS), 1, clips).fused
        for retriever, clips in zip((tiny(), loaded), (before, after), strict=True)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)  # weights are stored as fp16, words as int8
    again = Retriever.from_pretrained(saved).encode_clips(clips)
    assert [item.to_bytes() for item in after] == [item.to_bytes() for item in again]


def test_query_only_equals_the_whole(saved: Path) -> None:
    whole, part = Retriever.from_pretrained(saved), Retriever.from_pretrained(saved, query_only=True)
    items = [token_set(1), token_set(2, 0, 4)]
    texts = whole.encode_text(TEXTS), part.encode_text(TEXTS)
    assert torch.equal(texts[0].tokens, texts[1].tokens)
    np.testing.assert_array_equal(whole.rerank(texts[0], 1, items), part.rerank(texts[1], 1, items))
    np.testing.assert_array_equal(whole.coarse_vectors(items), part.coarse_vectors(items))
    assert whole.fingerprint == part.fingerprint and whole.name == part.name
    assert not any(name.startswith(("video.", "audio.")) for name in part.state_dict())
    with pytest.raises(CheckpointError, match="cannot be saved"):
        part.save_pretrained(saved)


def test_loading_leaves_the_callers_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Retriever.from_pretrained(saved)
    assert torch.equal(torch.rand(2), expected)


def test_the_card_travels_with_the_checkpoint(copy: Path, tmp_path: Path) -> None:
    (copy / "MODEL_CARD.md").write_text("# Card\n")
    loaded = Retriever.from_pretrained(copy)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "MODEL_CARD.md").read_text() == "# Card\n"
    (copy / "MODEL_CARD.md").unlink()
    assert Retriever.from_pretrained(copy).card == ""


# Fingerprints


def test_the_fingerprint_is_the_same_in_memory_and_on_disk(tmp_path: Path) -> None:
    retriever = fresh_tiny()
    retriever.save_pretrained(tmp_path)
    assert retriever.fingerprint == Retriever.from_pretrained(tmp_path).fingerprint
    assert len(retriever.fingerprint) == 16 and int(retriever.fingerprint, 16) >= 0


def test_the_fingerprint_changes_with_weights(tmp_path: Path) -> None:
    retriever = fresh_tiny()
    retriever.save_pretrained(tmp_path / "before")
    before = retriever.fingerprint
    retriever.train()
    with torch.no_grad():
        retriever.audio.project.bias[0] += 0.5
    retriever.eval()
    assert retriever.fingerprint != before
    retriever.save_pretrained(tmp_path / "after")
    assert Retriever.from_pretrained(tmp_path / "after").fingerprint != before


def test_the_fingerprint_changes_with_what_changes_tokens_and_not_with_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny().config
    before = checkpoint.fingerprint(config, "0" * 64)
    calibrated = replace(config, confidence=replace(config.confidence, high=0.99))
    assert checkpoint.fingerprint(calibrated, "0" * 64) == before
    assert checkpoint.fingerprint(replace(config, gate_temperature=2.0), "0" * 64) == before
    shorter = replace(config, audio=replace(config.audio, max_tokens=32))
    assert len({before, checkpoint.fingerprint(shorter, "0" * 64), checkpoint.fingerprint(config, "1" * 64)}) == 3
    for version in ("TOKEN_FORMAT", "TRANSFORM_VERSION", "SAMPLER_VERSION"):
        with monkeypatch.context() as changed:
            changed.setattr(checkpoint, version, 99)
            assert checkpoint.fingerprint(config, "0" * 64) != before


def test_a_checkpoint_without_parts_that_came_later_keeps_its_fingerprint_and_can_be_calibrated(tmp_path: Path) -> None:
    """Its config.json does not name them; one written now does, as switched off."""
    assert [part.name for part in fields(RetrieverConfig) if part.default == 0] == list(checkpoint.LATER_PARTS)
    config = replace(tiny().config, **dict.fromkeys(checkpoint.LATER_PARTS, 0))
    with torch.random.fork_rng():
        retriever = Retriever(config, tiny().text.tokenizer)
    retriever.save_pretrained(tmp_path)
    path = tmp_path / checkpoint.CONFIG
    document = json.loads(path.read_text())
    for name in checkpoint.LATER_PARTS:
        del document["config"][name]
    document["sha256"][checkpoint.CONFIG] = checkpoint._digest(document["config"])
    path.write_text(json.dumps(document))
    older = Retriever.from_pretrained(tmp_path)
    assert older.fingerprint == retriever.fingerprint
    digests = {name: value for name, value in document["sha256"].items() if name != checkpoint.CONFIG}
    checkpoint.write_config(tmp_path, replace(config, confidence=replace(config.confidence, high=0.9)), digests)
    assert "wide" in json.loads(path.read_text())["config"]
    assert Retriever.from_pretrained(tmp_path).fingerprint == retriever.fingerprint


def test_weights_that_nothing_uses_any_more_are_left_out(tmp_path: Path) -> None:
    former = {f"{part}weight": torch.zeros(2) for part in checkpoint.FORMER_PARTS}
    tokenizer = tiny().text.tokenizer.to_str()
    checkpoint.write(tmp_path, tiny().config, tiny().state_dict() | former, tokenizer, "")
    assert Retriever.from_pretrained(tmp_path).state_dict().keys() == tiny().state_dict().keys()


# Overwriting


class Killed(BaseException):
    """The process ends here."""


def linked(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A run's folder, which stands for the checkpoint in it."""
    run = tmp_path / "run"
    run.mkdir()
    for path in checkpoint_folder.iterdir():
        (run / path.name).symlink_to(path)
    return run


def test_setting_the_bands_through_the_links_of_a_run_keeps_them_links(copy: Path, tmp_path: Path) -> None:
    run = linked(copy, tmp_path)
    config, digests = checkpoint.read_config(run)
    checkpoint.write_config(run, replace(config, confidence=replace(config.confidence, high=0.9)), digests)
    assert (run / "config.json").is_symlink()
    assert Retriever.from_pretrained(copy).config.confidence.high == 0.9


STEPS = 13  # weights written, four files and their folder synced, it renamed, the files moved one by one, synced


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    retriever = Retriever.from_preset("tiny", seed=99)
    retriever.save_pretrained(tmp_path_factory.mktemp("newer"))
    return retriever


def held(folder: Path) -> str:
    """Which weights the folder holds, all its files checked."""
    config, digests = checkpoint.read_config(folder)
    checkpoint.check_digests(folder, digests)
    return checkpoint.fingerprint(config, digests["model.safetensors"])


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_death_at_any_step_of_overwriting_leaves_the_old_or_the_new(
    copy: Path, tmp_path: Path, newer: Retriever, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = held(copy), newer.fingerprint
    run, steps = linked(copy, tmp_path), itertools.count()

    def dying(act: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object, **more: object) -> object:
            if next(steps) == step:
                raise Killed
            return act(*given, **more)

        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", dying(checkpoint.save_file))
        patched.setattr(checkpoint, "sync", dying(checkpoint.sync))
        patched.setattr(Path, "replace", dying(Path.replace))
        with pytest.raises(Killed) if step < STEPS else nullcontext():
            newer.save_pretrained(copy)
    assert new != old
    expected = old if step <= 6 else new  # the rename is the moment of change
    assert {held(copy), held(run)} == {expected}
    tiny().save_pretrained(copy)
    assert {path.name for path in copy.iterdir()} == {path.name for path in run.iterdir()}
    assert held(copy) == old


def test_what_else_lies_in_the_folder_stays(copy: Path, newer: Retriever) -> None:
    (copy / "notes.txt").write_text("mine")
    newer.save_pretrained(copy)
    assert (copy / "notes.txt").read_text() == "mine"
    assert held(copy) == newer.fingerprint


def test_a_checkpoint_whose_last_files_wait_for_their_places_loads_whole(
    copy: Path, newer: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_settle", lambda _: None)
        newer.save_pretrained(copy)
    assert (copy / ".saved").is_dir()
    assert Retriever.from_pretrained(copy).fingerprint == newer.fingerprint


def test_what_is_no_safetensors_file_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read_weights(copy, query_only=False)


# The model hub


@pytest.mark.parametrize("name", ["no-such-folder", "./no/such", "/no/such/folder", "~/none", "a/b/c"])
def test_a_folder_that_is_not_there_is_not_sought_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "fetch", asked)
    with pytest.raises(CheckpointError, match="there is no checkpoint folder"):
        Retriever.from_pretrained(name)


def test_offline_a_hub_id_fails_at_once_and_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "import time\nfrom model.checkpoint import CheckpointError, resolve\nstart = time.perf_counter()\n"
        "try:\n    resolve('someone/something')\nexcept CheckpointError as err:\n"
        "    assert 'embedded' in err.hint and 'someone/something' in err.message\n"
        "    assert time.perf_counter() - start < 5\nelse:\n    raise SystemExit('found')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_unreachable_hub_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="could not be fetched"):
        checkpoint.resolve("someone/something")
    assert time.perf_counter() - start < 5


def unreachable(*_: object, timeout: float, **__: object) -> None:
    assert timeout <= 10
    raise ConnectionError("no route to host")


def test_a_hub_checkpoint_is_loaded_from_one_commit(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Info:
        sha = "c0ffee"

    def download(name: str, file: str, *, revision: str, local_files_only: bool, etag_timeout: float) -> str:
        assert (name, revision, local_files_only) == ("someone/something", "c0ffee", False) and etag_timeout <= 10
        return str(shutil.copy(saved / file, tmp_path / file))

    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: Info)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert Retriever.from_pretrained("someone/something").fingerprint == Retriever.from_pretrained(saved).fingerprint


# What serving needs


def test_the_query_path_imports_no_encoder_library(saved: Path) -> None:
    code = (
        "import sys\nfrom model import Retriever, TokenSet\nimport numpy as np\n"
        f"retriever = Retriever.from_pretrained({str(saved)!r}, query_only=True)\n"
        "text = retriever.encode_text(['a red dog'])\n"
        "none = np.zeros((0, 32), np.int8), np.zeros(0, np.float32), np.zeros(0, np.float32)\n"
        "item = TokenSet(*none, np.zeros(0, np.uint8), np.ones((3, 32), np.int8), *[np.ones(3, np.float32)] * 2)\n"
        "retriever.rerank(text, 0, [item]); retriever.relevance(text, 0, item); retriever.explain(text, 0, item)\n"
        "retriever.coarse_query(text); retriever.coarse_vectors([item])\n"
        "heavy = {'transformers', 'timm', 'torchvision', 'torchaudio', 'accelerate'} & set(sys.modules)\n"
        "raise SystemExit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
