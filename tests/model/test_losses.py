"""Training losses, each against a slow twin or a property; the whole on a batch with gaps, and on one it can learn."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from model.audio import AudioTokens
from model.clips import collate
from model.data.manifest import TimedWord
from model.letters import SYMBOLS, spelled
from model.losses import (
    LossWeights,
    RetrievalLoss,
    cross_clr,
    ctc_loss,
    drop_modalities,
    drop_tokens,
    hardest_negative,
    info_nce,
    pearson_distillation,
    timed_loss,
)
from model.retriever import Retriever
from model.spelling import Spelling
from model.training.batch import TrainBatch
from tests.model.samples import CELLS, WIDTH, fresh_tiny, pictures, scramble, token_set, wave

POSITIVES = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)


def logits(rows: int = 3, columns: int = 4, seed: int = 0) -> Tensor:
    return 3.0 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_info_nce(S: Tensor, truth: Tensor) -> float:
    """-log of the positives' share, by loops, over rows with a positive and columns with one."""
    losses = []
    for scores, positive in ((S, truth), (S.T, truth.T)):
        rows = [r for r in range(len(scores)) if bool(positive[r].any())]
        total = 0.0
        for r in rows:
            weights = [math.exp(float(score)) for score in scores[r]]
            total -= math.log(sum(w for w, yes in zip(weights, positive[r], strict=True) if yes) / sum(weights))
        losses.append(total / len(rows))
    return sum(losses) / 2


def test_info_nce_counts_every_positive() -> None:
    S = logits()
    assert float(info_nce(S, POSITIVES)) == pytest.approx(slow_info_nce(S, POSITIVES))


def test_info_nce_leaves_out_clips_without_the_modality_and_texts_without_a_clip() -> None:
    S = logits()
    present = torch.tensor([False, True, True, False])  # the first text loses both its clips
    kept_rows = torch.tensor([1, 2])
    expected = slow_info_nce(S[kept_rows][:, present], POSITIVES[kept_rows][:, present])
    assert float(info_nce(S, POSITIVES, present)) == pytest.approx(expected)


def test_a_query_that_nothing_answers_is_a_negative_for_every_clip() -> None:
    S = logits()
    extra = torch.cat([S, S.new_tensor([[2.0, -1.0, 0.5, 1.0]])])
    truth = torch.cat([POSITIVES, torch.zeros(1, 4, dtype=torch.bool)])
    by_query = [torch.logsumexp(S[b], 0) - torch.logsumexp(S[b][POSITIVES[b]], 0) for b in range(len(S))]
    by_clip = [
        torch.logsumexp(extra[:, c], 0) - torch.logsumexp(S[:, c][POSITIVES[:, c]], 0)
        for c in range(4)
        if POSITIVES[:, c].any()
    ]
    expected = 0.5 * (sum(by_query) / len(by_query) + sum(by_clip) / len(by_clip))
    assert float(info_nce(extra, truth)) == pytest.approx(float(expected))
    assert float(info_nce(extra, truth)) > float(info_nce(S, POSITIVES))
    assert float(info_nce(S, torch.zeros_like(POSITIVES))) == 0.0


def test_info_nce_of_nothing_is_zero_with_a_gradient() -> None:
    S = logits().requires_grad_()
    loss = info_nce(S, POSITIVES, torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0 and float(S.grad.abs().sum()) == 0.0


def test_dual_softmax_weighs_logits_by_their_softmax_over_queries() -> None:
    S, truth = logits(4, 4), torch.eye(4, dtype=torch.bool)
    expected = slow_info_nce(S * S.softmax(dim=0) * 4, truth)
    assert float(info_nce(S, truth, dual_softmax=True)) == pytest.approx(expected)


def test_pearson_distillation_is_zero_for_a_student_that_agrees_and_grows_with_disagreement() -> None:
    teacher = logits(4, 4)
    student = teacher.clone().requires_grad_()
    assert float(pearson_distillation(teacher, student).detach()) == pytest.approx(0.0, abs=1e-9)
    assert float(pearson_distillation(teacher, -teacher)) > 0.5
    expected = []
    for matrix, other in ((teacher, teacher.T), (teacher.T, teacher)):
        rows = [
            np.corrcoef(t.softmax(0).numpy(), s.softmax(0).numpy())[0, 1] for t, s in zip(matrix, other, strict=True)
        ]
        expected.append(1.0 - np.mean(rows))
    assert float(pearson_distillation(teacher, teacher.T)) == pytest.approx(float(np.mean(expected)))


def test_hardest_negative_is_a_hinge_between_the_weakest_positive_and_the_hardest_negative() -> None:
    cosines = logits() / 10
    losses = []
    for scores, truth in ((cosines, POSITIVES), (cosines.T, POSITIVES.T)):
        hinges = []
        for row, positive in zip(scores.tolist(), truth.tolist(), strict=True):
            own = [s for s, yes in zip(row, positive, strict=True) if yes]
            other = [s for s, yes in zip(row, positive, strict=True) if not yes]
            if own and other:
                hinges.append(max(0.0, 0.1 + max(other) - min(own)))
        losses.append(sum(hinges) / len(hinges))
    assert float(hardest_negative(cosines, POSITIVES, 0.1)) == pytest.approx(sum(losses) / 2)
    perfect = torch.where(POSITIVES, 0.9, -0.9)
    assert float(hardest_negative(perfect, POSITIVES, 0.1)) == 0.0
    assert float(hardest_negative(perfect[:1, :1], POSITIVES[:1, :1], 0.1)) == 0.0  # nothing to compare with


def test_cross_clr_repels_only_what_shares_nothing() -> None:
    texts, clips = logits(4, 5, seed=1), logits(4, 5, seed=2)
    truth = torch.cat([POSITIVES, torch.zeros(1, 4, dtype=torch.bool)])  # the last text is answered by nothing

    def slow(vectors: Tensor, joined: set[tuple[int, int]]) -> float:
        unit = vectors / vectors.norm(dim=1, keepdim=True)
        rows = []
        for i in range(len(unit)):
            others = [j for j in range(len(unit)) if j != i and (i, j) not in joined]
            rows.append(math.log(1 + sum(math.exp(float(unit[i] @ unit[j]) / 0.05 - 1 / 0.05) for j in others)))
        return sum(rows) / len(rows)

    shared_texts, shared_clips = {(1, 2), (2, 1)}, {(0, 3), (3, 0), (1, 2), (2, 1)}
    expected = (slow(texts, shared_texts) + slow(clips, shared_clips)) / 2
    found = cross_clr(texts.requires_grad_(), clips, truth)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    found.backward()
    assert bool(texts.grad.isfinite().all())


def spoken(tokens: int, clips: int = 1) -> AudioTokens:
    heard = logits(clips * tokens, WIDTH, seed=4).float().view(clips, tokens, WIDTH)
    return AudioTokens(heard, torch.full((clips,), tokens))


def spelling() -> Spelling:
    part = Spelling(WIDTH)
    scramble(part)
    return part.requires_grad_(False)


def test_ctc_is_the_weight_of_every_spelling() -> None:
    sound, letters, target = spoken(2), spelling(), "ab"
    probabilities = letters.letters(sound.tokens)[0].double().exp()
    wanted, total = spelled(target), 0.0
    for path in itertools.product([0, *wanted], repeat=4):
        collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol != 0]
        if collapsed == wanted:
            total += math.prod(float(probabilities[t, symbol]) for t, symbol in enumerate(path))
    assert float(ctc_loss(letters, sound, [target])) == pytest.approx(-math.log(total) / len(target), rel=1e-4)


def test_timed_words_ask_for_each_letter_in_its_share_of_the_time() -> None:
    sound = spoken(5, clips=3)  # ten places of 40 ms a clip
    sound.lengths[2] = 2
    letters = spelling().letters(sound.tokens)
    asked = ["__ddoogg _", "_a ", "__b "]  # of the second every place, of the third those that the sound has
    timings = [[TimedWord("Dog!", 0.08, 0.36)], [TimedWord("a", 0.04, 0.12)], [TimedWord("b", 0.08, 9.0)]]
    assert float(timed_loss(spelling(), sound, [[], [], []])) == 0.0
    sound.lengths[0] = 0
    assert float(timed_loss(spelling(), sound, [timings[0], [], []])) == 0.0
    sound.lengths[0] = 5
    wanted = [place for text in (asked[0], asked[1].ljust(10, "_")) for place in map(SYMBOLS.index, text)]
    found = letters[:2].flatten(0, 1)[torch.arange(20), torch.tensor(wanted)]
    loss = timed_loss(spelling(), sound, [*timings[:2], []])
    assert float(loss) == pytest.approx(-float(found.mean()), rel=1e-5)
    cut = letters[2, torch.arange(4), torch.tensor([SYMBOLS.index(symbol) for symbol in "__bb"])]
    assert float(timed_loss(spelling(), sound, [[], [], timings[2]])) == pytest.approx(-float(cut.mean()), rel=1e-5)


@pytest.mark.parametrize("transcripts", [["日本", None], ["", "a"], [None, None], ["far too long for it", "b"]])
def test_ctc_survives_transcripts_that_cannot_be_spelled_or_do_not_fit(transcripts: list[str | None]) -> None:
    sound = spoken(3, clips=2)
    sound.tokens.requires_grad_()
    loss = ctc_loss(spelling(), sound, transcripts)
    loss.backward()
    assert math.isfinite(float(loss.detach())) and bool(sound.tokens.grad.isfinite().all())


def test_only_clips_with_both_lose_a_modality_and_never_both() -> None:
    clips = collate([token_set(1), token_set(2, 0, 5), token_set(3, 2, 0)] * 40, CELLS, WIDTH)
    torch.manual_seed(0)
    dropped = drop_modalities(clips, 0.8)
    seen, heard = dropped.video_mask.any(dim=1), dropped.audio_mask.any(dim=1)
    assert bool((seen | heard).all())
    assert bool(heard[1::3].all()) and bool(seen[2::3].all())
    kept = (seen & heard)[::3].float().mean()
    assert 0.0 < float(kept) < 0.5 and not bool(seen[::3].all()) and not bool(heard[::3].all())
    assert torch.equal(drop_modalities(clips, 0.0).video_mask, clips.video_mask)


def test_some_picture_tokens_are_hidden_and_never_all_of_a_clip() -> None:
    clips = collate([token_set(1), token_set(2, 0, 5)] * 40, CELLS, WIDTH)
    torch.manual_seed(0)
    dropped = drop_tokens(clips, 0.5)
    kept = dropped.video_mask.sum() / clips.video_mask.sum()
    assert 0.4 < float(kept) < 0.6 and not bool((dropped.video_mask & ~clips.video_mask).any())
    assert torch.equal(drop_tokens(clips, 1.0).video_mask, clips.video_mask)
    assert torch.equal(dropped.audio_mask, clips.audio_mask)


# The whole


def batch(**changes: object) -> TrainBatch:
    """Four texts and clips; one clip has no sound, one transcript is unknown."""
    shown = np.stack([pictures(4, 64, seed) for seed in range(4)]).transpose(0, 1, 4, 2, 3)
    full = TrainBatch(
        ["a red dog", "the cat", "a man says hello", "green car"],
        torch.eye(4, dtype=torch.bool),
        frames=torch.from_numpy(shown.copy()),
        waveforms=[wave(0.6, 0), wave(0.0), wave(1.0, 2), wave(0.4, 3)],
        transcripts=["hello", None, "a man", None],
    )
    return dataclasses.replace(full, **changes)  # type: ignore[arg-type]


EVERYTHING = LossWeights(cross_clr=0.1, dual_softmax=True)
BATCHES = {
    "both": {},
    "frozen": {"frames": None},
    "pictures": {"waveforms": None, "transcripts": None},
    "sound": {"frames": None},
    "silence": {"waveforms": [torch.zeros(0)] * 4},
    "twins": {"positives": torch.ones(4, 4, dtype=torch.bool)},
}


@pytest.mark.parametrize("kind", BATCHES)
def test_every_kind_of_batch_gives_finite_losses_and_gradients(kind: str) -> None:
    retriever, loss = fresh_tiny().train(), RetrievalLoss(EVERYTHING)
    changes = dict(BATCHES[kind])
    if kind == "frozen":
        changes["video_features"] = retriever.video.trunk_features(batch().frames)
    parts = loss(retriever, batch(**changes))
    parts["total"].backward()
    assert all(math.isfinite(float(part.detach())) for part in parts.values())
    terms = sum(float(part.detach()) for name, part in parts.items() if name != "total")
    assert float(parts["total"].detach()) == pytest.approx(terms, rel=1e-5)
    gradients = [p.grad for p in [*retriever.parameters(), *loss.parameters()] if p.grad is not None]
    assert len(gradients) > 20 and all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert ("seen_words" in parts) == (kind != "sound") and ("heard_words" in parts) == (
        kind not in ("pictures", "silence")
    )


def test_kept_features_give_the_loss_of_their_frames() -> None:
    retriever, loss = fresh_tiny(), RetrievalLoss().eval()
    with torch.no_grad():
        features = retriever.video.trunk_features(batch().frames)
        direct, kept = loss(retriever, batch()), loss(retriever, batch(frames=None, video_features=features))
    assert {name: float(part) for name, part in direct.items()} == pytest.approx({n: float(p) for n, p in kept.items()})


def test_a_batch_without_pictures_and_sound_is_an_error() -> None:
    with pytest.raises(ValueError, match="frames, video features or waveforms"):
        RetrievalLoss()(fresh_tiny(), batch(frames=None, waveforms=None))


def test_half_precision_stays_near_single() -> None:
    retriever, loss = fresh_tiny(), RetrievalLoss().eval()
    with torch.no_grad():
        exact = loss(retriever, batch())
        with torch.autocast("cpu", torch.bfloat16):
            rough = loss(retriever, batch())
    assert float(rough["fused"]) == pytest.approx(float(exact["fused"]), rel=0.15)


TERMS = ("fused", "coarse", "coarse_alone", "distil", "words", "alone", "monotone", "ctc", "hardest")
NONE = LossWeights(**dict.fromkeys(TERMS, 0.0))


def test_speech_alone_needs_no_texts() -> None:
    weights = dataclasses.replace(NONE, ctc=1.0)
    assert weights.only_ctc and not LossWeights().only_ctc
    parts = RetrievalLoss(weights)(fresh_tiny(), batch(texts=[], frames=None))
    assert set(parts) == {"ctc", "total"}


def test_coarse_vectors_alone_need_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = dataclasses.replace(NONE, coarse_alone=1.0)
    assert weights.only_coarse and not weights.only_ctc and not LossWeights().only_coarse
    retriever = fresh_tiny()
    monkeypatch.setattr(retriever, "pair_scores", None)
    with torch.no_grad():
        parts = RetrievalLoss(weights)(retriever, batch())
    assert float(parts["coarse_seen"]) > 0 and float(parts["coarse_heard"]) > 0
    assert float(parts["total"]) == pytest.approx(float(parts["coarse_seen"] + parts["coarse_heard"]))


def test_eight_pairs_are_learned_by_heart_in_a_few_steps() -> None:
    torch.manual_seed(0)
    retriever, loss = Retriever.from_preset("tiny", seed=1).train(), RetrievalLoss(drop=0.0, drop_tokens=0.0)
    video = retriever.config.video
    maps = [torch.randn(8, 1, c, size, size) for c, size in zip(video.channels, video.map_sizes, strict=True)]
    words = ["red dog", "blue cat", "green car", "man", "woman says", "in the red", "of a cat", "and with"]
    pairs = TrainBatch(words, torch.eye(8, dtype=torch.bool), video_features=maps)
    optimiser = torch.optim.AdamW([*retriever.parameters(), *loss.parameters()], lr=5e-3)
    for _ in range(20):
        optimiser.zero_grad()
        parts = loss(retriever, pairs)
        parts["total"].backward()
        optimiser.step()
    with torch.no_grad():
        learned = loss.eval()(retriever.eval(), pairs)
    assert float(learned["fused"]) < 0.2 * math.log(8) and float(learned["coarse"]) < 0.2 * math.log(8)
