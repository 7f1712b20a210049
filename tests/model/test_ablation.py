"""Ablations: what is taken out is out and nothing else; runs are comparable, resumable, and end in a table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.clip_tokens import ClipTokens
from model.config import RetrieverConfig
from model.fusion import PairScores
from model.retriever import Retriever
from model.text import TextEncoding
from model.training.ablation import benchmarks, run
from model.training.ablation.benchmarks import BENCHMARKS, Material, examine
from model.training.ablation.kept import Photograph, Sentence, with_kept_trunks
from model.training.ablation.mechanisms import MECHANISMS
from model.training.ablation.report import gains, write_report
from model.training.ablation.run import Request, Variant, ablate, credits, variants
from model.training.batch import TrainBatch
from model.training.options import TrainingError
from tests.model.samples import CELLS, fresh_tiny, token_set
from tests.model.small_data import COLOURS, SAID, photographs, picture, quiet, tones


def without(name: str) -> Retriever:
    retriever = fresh_tiny()
    MECHANISMS[name].remove(retriever)
    return retriever


def scored(retriever: Retriever) -> tuple[torch.Tensor, ...]:
    clips = retriever.collate([token_set(1, 4, 9), token_set(2, 4, 7)])
    with torch.no_grad():
        pairs = retriever.pair_scores(retriever.text(["a red dog", "the cat in the car"]), clips)
    assert pairs.audio_block is not None
    return pairs.video_block.key_weights, pairs.audio_block.kept, pairs.audio_block.weights, pairs.fused


def test_every_removal_changes_the_network_and_still_scores() -> None:
    torch.manual_seed(0)
    states = [torch.randn(9, RetrieverConfig.from_preset("tiny").audio.width)]
    maps = [
        torch.randn(1, 2, channels, size, size)
        for channels, size in zip(fresh_tiny().config.video.channels, fresh_tiny().config.video.map_sizes, strict=True)
    ]
    for name in MECHANISMS:
        whole, less = fresh_tiny(), without(name)
        with torch.no_grad():
            for network in (whole, less):
                network.text.graph.requires_grad_(False)
                for layer in getattr(network.text.graph, "layers", []):
                    layer.gate.fill_(0.5)
            results = [
                (
                    *scored(network),
                    network.video(maps).tokens,
                    network.audio.finish(torch.stack(states), torch.tensor([9])).tokens,
                )
                for network in (whole, less)
            ]
        assert all(bool(value.isfinite().all()) for value in results[1])
        assert any(not torch.allclose(a, b, atol=1e-6) for a, b in zip(*results, strict=True)), name


def test_one_scale_looks_at_frames_alone_and_an_even_gate_at_all_groups_alike() -> None:
    single, _, _, _ = scored(without("multi-scale attention"))
    frames = 4 * CELLS
    assert bool((single[..., frames:] == 0).all()) and torch.allclose(single.sum(dim=-1), torch.ones(()), atol=1e-5)
    even, _, _, _ = scored(without("level gate"))
    levels = fresh_tiny().fusion.video_text.levels
    whole_clip = even[..., -levels:]  # one key a group: its whole share
    assert torch.allclose(whole_clip, torch.full_like(whole_clip, 1 / (3 * levels)), atol=1e-5)


def test_softmax_keeps_everything_and_attention_without_alignment_is_attention_alone() -> None:
    _, kept, _, _ = scored(without("threshold"))
    assert bool((kept[0, 0, 0, :9] > 0).all()) and float(kept[0, 0, 0].sum()) == pytest.approx(1.0, abs=1e-5)
    _, kept, weights, _ = scored(without("dynamic time warping"))
    assert torch.equal(kept, weights)


def material(count: int = 12) -> Material:
    config, rng = RetrieverConfig.from_preset("tiny"), np.random.default_rng(0)
    shapes = zip(config.video.channels, config.video.map_sizes, strict=True)
    sizes = [(channels, size, size) for channels, size in shapes]

    def drawn(*size: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(size)).half()

    shown = [Photograph([drawn(*size) for size in sizes], (f"a {name} car",)) for name in list(COLOURS) * 2][:count]
    said = [Sentence(drawn(20, config.audio.width), drawn(20, config.audio.width), text) for text in SAID * 2][:count]
    return Material(shown, said)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_batches_own_their_texts_and_pairs_are_reversed(name: str) -> None:
    benchmark, given = BENCHMARKS[name], material()
    batch = benchmark.batch(given, range(6), np.random.default_rng(0))
    assert batch.positives.shape == (6, 6) and len(batch.texts) == 6
    if benchmark.pairs:
        assert batch.video_features is not None
        first, last = batch.video_features[0][0], batch.video_features[0][1]
        assert torch.equal(first[:2], last[2:]) and torch.equal(first[2:], last[:2])
    retriever = with_kept_trunks(fresh_tiny(), fresh_tiny())
    assert set(examine(benchmark, retriever.eval(), given, 0)) <= {0.0, 0.5, 1.0}


def test_every_clip_that_shows_what_is_asked_for_is_right() -> None:
    benchmark, given = BENCHMARKS["scenes"], material()
    batch = benchmark.batch(given, range(6), np.random.default_rng(0))
    assert batch.video_features is not None
    films, wanted = batch.video_features[0], [photograph.maps[0].float() for photograph in given.photographs]
    for row, right in enumerate(batch.positives.tolist()):
        shown = [any(torch.equal(frame, wanted[row]) for frame in film) for film in films]
        assert right == shown and right[row]
    assert bool((batch.positives.sum(dim=1) > 1).any())  # of twelve photographs some are in several clips


class Indifferent(Retriever):
    """Scores all clips alike."""

    def pair_scores(self, text: TextEncoding, clips: ClipTokens, *, letters: bool = True) -> PairScores:
        pairs = super().pair_scores(text, clips, letters=letters)
        return pairs._replace(fused=torch.zeros_like(pairs.fused))


def test_who_cannot_tell_clips_apart_finds_none_and_half_of_the_pairs() -> None:
    config = RetrieverConfig.from_preset("tiny")
    retriever = with_kept_trunks(Indifferent(config, fresh_tiny().text.tokenizer), fresh_tiny()).eval()
    found = {name: set(examine(benchmark, retriever, material(), 0)) for name, benchmark in BENCHMARKS.items()}
    assert found == {"photographs": {0.0}, "scenes": {0.0}, "order": {0.5}, "speech": {0.0}, "noise": {0.0}}


def test_more_items_make_more_galleries_not_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "GALLERY", 5)
    galleries: list[list[str]] = []
    whole = benchmarks._scores

    def noted(retriever: Retriever, batch: TrainBatch) -> torch.Tensor:
        galleries.append(batch.texts)
        return whole(retriever, batch)

    monkeypatch.setattr(benchmarks, "_scores", noted)
    retriever = with_kept_trunks(fresh_tiny(), fresh_tiny()).eval()
    given = material(11)
    numbered = [replace(shown, captions=(f"car {number}",)) for number, shown in enumerate(given.photographs)]
    assert len(examine(BENCHMARKS["photographs"], retriever, Material(numbered, []), 0)) == len(numbered)
    assert [len(texts) for texts in galleries] == [4, 3, 4]
    assert [text for texts in galleries for text in texts] == [f"car {number}" for number in range(len(numbered))]


def test_trunks_are_kept_and_do_not_learn() -> None:
    trained = Retriever.from_preset("tiny", seed=5)
    fresh = with_kept_trunks(Retriever.from_preset("tiny", seed=1), trained)
    theirs, ours = trained.state_dict(), dict(fresh.named_parameters())
    assert torch.equal(ours["audio.blocks.0.qkv.weight"], theirs["audio.blocks.0.qkv.weight"])
    assert not ours["text.layers.0.query.weight"].requires_grad and not ours["audio.stem.project.weight"].requires_grad
    assert ours["audio.lstm.weight_ih_l0"].requires_grad and ours["text.graph.layers.0.gate"].requires_grad
    assert not torch.equal(ours["audio.lstm.weight_ih_l0"], theirs["audio.lstm.weight_ih_l0"])


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    photographs(tmp_path / "p", 1)
    tones(tmp_path / "t", 6)
    return Request(
        tmp_path / "p", tmp_path / "t", tmp_path / "out", steps=2, seeds=1, train_items=8, held_out=6, threads=1
    )


@pytest.mark.timeout(300)
def test_an_ablation_ends_in_a_table_and_does_nothing_twice(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ablate(request_, fresh_tiny(), quiet)
    assert [Variant(row["benchmark"], row["without"], row["seed"]) for row in rows] == list(variants(1))
    assert len(rows) == len(BENCHMARKS) + len(MECHANISMS)
    table = write_report(rows, request_.out)
    assert all(name in table for name in MECHANISMS)
    assert {path.name for path in request_.out.iterdir()} == {"ablation.json", "ablation.md", "ablation.png"}
    done = json.loads((request_.out / "ablation.json").read_text())
    done["runs"] = done["runs"][:-1]
    (request_.out / "ablation.json").write_text(json.dumps(done))
    ran: list[Variant] = []
    whole_run = run._run
    monkeypatch.setattr(run, "_run", lambda variant, *rest: (ran.append(variant), whole_run(variant, *rest))[1])
    assert ablate(request_, fresh_tiny(), quiet) == rows  # the same seed gives the same figure
    assert len(ran) == 1


@pytest.mark.parametrize("changed", ["photos", "speech", "older form"])
def test_figures_of_other_data_are_not_kept(request_: Request, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    ran: list[Variant] = []
    monkeypatch.setattr(run, "variants", lambda _seeds: [Variant("photographs", None, 0)])
    monkeypatch.setattr(run, "_material", lambda *_: material())
    monkeypatch.setattr(run, "_run", lambda variant, *_: ran.append(variant) or [0.5])
    for _ in range(2):
        ablate(request_, fresh_tiny(), quiet)
    assert len(ran) == 1
    if changed == "photos":
        picture(request_.photos / "train-red-0.jpg", COLOURS["blue"])
    elif changed == "speech":
        tones(request_.speech, 5)
    else:
        path = request_.out / run.RESULTS
        kept = json.loads(path.read_text())
        for name in ("photos", "speech"):
            del kept["setting"][name]
        path.write_text(json.dumps(kept))
    assert len(ablate(request_, fresh_tiny(), quiet)) == 1 and len(ran) == 2


def test_gains_are_taken_seed_by_seed_and_their_interval_over_queries_and_seeds() -> None:
    pairs = [([1, 1, 0, 0, 0.5], [1, 0, 0, 0, 0]), ([1, 1, 1, 0, 0], [1, 1, 0, 0, 0])]
    rows = [
        {"benchmark": "noise", "without": name, "seed": seed} | credits(found)
        for seed, (with_it, lacking) in enumerate(pairs)
        for name, found in ((None, with_it), ("threshold", lacking))
    ]
    ((name, gained),) = gains(rows).items()
    assert name == "threshold"
    assert (gained["with"], gained["without"]) == ([50.0, 60.0], [20.0, 40.0]) and gained["gain"] == [30.0, 20.0]
    low, high = gained["ci95"]
    assert low < 25.0 < high


def interval_of(*gained: list[float]) -> tuple[float, float]:
    """Of the gains of some queries, a list a seed, where nothing is found without the mechanism."""
    rows = [
        {"benchmark": "noise", "without": name, "seed": seed} | credits([0.0] * len(found) if name else found)
        for seed, found in enumerate(gained)
        for name in (None, "threshold")
    ]
    low, high = gains(rows)["threshold"]["ci95"]
    return low, high


def test_an_interval_knows_how_far_seeds_and_how_far_queries_lie_apart() -> None:
    assert interval_of([1.0] * 8, [1.0] * 8) == (100.0, 100.0)
    low, high = interval_of([1.0] * 8, [0.0] * 8)  # queries alike, seeds not: wider than the two seeds themselves
    assert low < 0.0 and high > 100.0
    low, high = interval_of([1.0, 0.0] * 50, [1.0, 0.0] * 50)  # seeds alike, queries not
    assert 35.0 < low < 45.0 and 55.0 < high < 65.0
    assert interval_of([1.0, 0.0] * 50) == pytest.approx((low, high), abs=2.0)


def test_more_seeds_keep_the_runs_of_fewer(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_run", lambda variant, *_: [1.0] * variant.seed + [0.0])
    few = ablate(request_, fresh_tiny(), quiet)
    trained: list[int] = []
    monkeypatch.setattr(run, "_run", lambda variant, *_: trained.append(variant.seed) or [0.0])
    more = replace(request_, seeds=request_.seeds + 1)
    assert [row for row in ablate(more, fresh_tiny(), quiet) if row["seed"] < request_.seeds] == few
    assert set(trained) == {request_.seeds}
    assert ablate(request_, fresh_tiny(), quiet) == few


def test_data_without_speech_are_named_before_the_first_training(request_: Request) -> None:
    with pytest.raises(TrainingError, match="has no said sentence"):
        ablate(replace(request_, speech=request_.photos), fresh_tiny(), quiet)
