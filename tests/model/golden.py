"""Golden tensors: what every encoder and head gave when it was last changed on purpose.

    python -m tests.model.golden        writes tests/model/golden/*.safetensors anew

Run it, from the repository's root, only when the mathematics is meant to change, and say in the commit what changed.
Weights and inputs come from tests/model/samples.py, so the files hold outputs alone.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.alignment import expected_alignment
from model.clips import collate
from model.tokens import TokenSet
from tests.model.samples import CELLS, TEXTS, WIDTH, query, scramble, tiny, token_set, wave
from tests.model.test_audio import ast_encoder
from tests.model.test_video import frames, small

FOLDER = Path(__file__).parent / "golden"
Tensors = dict[str, Tensor]


def text() -> Tensors:
    found = tiny().encode_text(TEXTS)
    return {"tokens": found.tokens * found.mask.unsqueeze(-1), "pooled": found.pooled}


def video(backbone: str) -> Tensors:
    from model.video import VideoEncoder

    encoder = VideoEncoder(small(backbone), WIDTH).eval()
    scramble(encoder)
    shown = frames(1, count=encoder.config.frames, size=encoder.config.image_size)
    maps = encoder.trunk_features(shown)
    return {"tokens": encoder(maps).tokens} | {f"map{level}": x.mean(dim=(3, 4)) for level, x in enumerate(maps)}


def audio(kind: str) -> Tensors:
    found = (tiny().audio if kind == "own" else ast_encoder())([wave(1.0, 1), wave(0.3, 2)])
    valid = torch.arange(found.tokens.shape[1]) < found.lengths.unsqueeze(1)
    return {"tokens": found.tokens * valid.unsqueeze(-1)}


def items() -> list[TokenSet]:
    """With both, with little, without sound, without pictures."""
    return [token_set(1), token_set(2, 1, 3), token_set(3, 2, 0), token_set(4, 0, 5)]


def fusion() -> Tensors:
    clips = collate(items(), CELLS, WIDTH)
    pairs = tiny().fusion(query([4, 2]), clips)
    assert pairs.audio_block is not None
    return {
        "fused": pairs.fused,
        "video": pairs.video,
        "audio": pairs.audio,
        "video_weights": pairs.video_block.weights(),
        "audio_kept": pairs.audio_block.kept,
        "audio_aligned": pairs.audio_block.aligned,
    }


def coarse() -> Tensors:
    return {
        "clips": torch.from_numpy(tiny().coarse_vectors(items())),
        "queries": torch.from_numpy(tiny().coarse_query(query([4, 2]))),
    }


def pairs() -> Tensors:
    clips = collate(items(), CELLS, WIDTH)
    found = tiny().pair_scores(query([4, 2]), clips)
    return {"fused": found.fused, "video": found.video, "audio": found.audio, "mean": found.mean}


def glance() -> Tensors:
    shown = tiny().video
    maps = shown.trunk_features(frames(1, count=shown.config.frames, size=shown.config.image_size))
    assert shown.glance is not None and tiny().coarse.glance is not None
    return {"clip": shown.glance(maps), "query": tiny().coarse.glance(query([4, 2]).gist)}


def alignment() -> Tensors:
    cost = 2.0 * torch.from_numpy(token_set(1).audio[:6].astype("float64")).abs().unsqueeze(0) / 127
    return {"E": expected_alignment(cost, torch.tensor([6]), torch.tensor([32]), 0.1)}


def spelling() -> Tensors:
    clips = collate([token_set(1), token_set(2, 1, 3), token_set(4, 0, 20)], CELLS, WIDTH)
    part = tiny().spelling
    assert part is not None
    heard, share = part(tiny().encode_text(["a red dog", "woman"]), clips)
    return {"letters": part.letters(clips.audio), "heard": torch.logit(heard), "share": share}


MAKERS: dict[str, Callable[[], Tensors]] = {
    "text": text,
    "video": lambda: video("test_efficientnet"),
    "swin3d": lambda: video("swin3d_t"),
    "audio": lambda: audio("own"),
    "ast": lambda: audio("ast"),
    "fusion": fusion,
    "coarse": coarse,
    "spelling": spelling,
    "pairs": pairs,
    "glance": glance,
    "alignment": alignment,
}


def made(name: str) -> Tensors:
    tiny()  # outside inference mode, since it is shared
    with torch.inference_mode():
        return {key: value.detach().clone().contiguous() for key, value in MAKERS[name]().items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in MAKERS:
        save_file(made(name), FOLDER / f"{name}.safetensors")
