"""The audio encoder: sound alone = sound in any batch, no sound at all, true times, and AST with its own padding."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.ast_trunk import WINDOW, AstTrunk, resampling
from model.audio import AudioEncoder, AudioTokens
from model.clips import collate, limit_audio
from model.config import AudioConfig
from model.retriever import Retriever
from model.training.start import deepened
from model.transforms import PADDING, log_mel
from tests.model.samples import CELLS, WIDTH, fresh_tiny, pictures, query, scramble, sound, tiny, token_set, wave

SMALL_AST = AudioConfig(32, 1, 2, mel_bins=128, frequency_rows=12, lstm_hidden=16, pretrained="some/ast")


def ast_encoder() -> AudioEncoder:
    encoder = AudioEncoder(SMALL_AST, WIDTH)
    scramble(encoder)
    return encoder.eval()


@pytest.fixture(scope="module", params=["own", "ast"])
def encoder(request: pytest.FixtureRequest) -> AudioEncoder:
    return tiny().audio if request.param == "own" else ast_encoder()


def encode(encoder: AudioEncoder, *seconds: float) -> AudioTokens:
    with torch.inference_mode():
        return encoder([wave(length, seed) for seed, length in enumerate(seconds)])


def test_an_utterance_alone_is_the_utterance_in_any_batch(encoder: AudioEncoder) -> None:
    seconds = (0.7, 3.1, 0.0, 0.03, 1.0)
    together = encode(encoder, *seconds)
    for row, length in enumerate(seconds):
        with torch.inference_mode():
            alone = encoder([wave(length, row)])
        valid = int(alone.lengths)
        assert int(together.lengths[row]) == valid
        torch.testing.assert_close(together.tokens[row, :valid], alone.tokens[0, :valid], rtol=0, atol=1e-4)


def test_many_utterances_come_back_in_their_order() -> None:
    seconds = [0.2 + 0.1 * (seed * 7 % 20) for seed in range(20)]  # more than one pass, not sorted
    together = encode(tiny().audio, *seconds)
    for row in (0, 7, 19):
        with torch.inference_mode():
            alone = tiny().audio([wave(seconds[row], row)])
        n = int(alone.lengths)
        torch.testing.assert_close(together.tokens[row, :n], alone.tokens[0, :n], rtol=0, atol=1e-4)


def test_lengths_are_those_of_the_sound(encoder: AudioEncoder) -> None:
    found = encode(encoder, 0.0, 0.024, 0.025, 1.0, 4.0)
    assert found.lengths.tolist() == [0, 0, 1, 13, 50]  # 12.5 a second, rounded up
    assert bool(found.tokens.isfinite().all())


def test_nothing_to_hear_gives_no_token(encoder: AudioEncoder) -> None:
    found = encode(encoder, 0.0, 0.01)
    assert found.lengths.tolist() == [0, 0] and bool(found.tokens.isfinite().all())


@pytest.mark.parametrize("kind", ["own", "ast"])
def test_gradients_are_finite_with_an_empty_sound_in_the_batch(kind: str) -> None:
    encoder = fresh_tiny().audio.train() if kind == "own" else ast_encoder().train()
    found = encoder([wave(0.5), wave(0.0), wave(1.2)])
    valid = torch.arange(found.tokens.shape[1]) < found.lengths.unsqueeze(1)
    found.tokens[valid].square().mean().backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    first = "stem.first.weight" if kind == "own" else "pretrained.net.embeddings.patch_embeddings.projection.weight"
    assert float(gradients[first].abs().sum()) > 0.0


def test_what_is_heard_depends_on_the_whole_utterance(encoder: AudioEncoder) -> None:
    first, second = wave(2.0), wave(2.0)
    second[-3200:] = 0.0
    with torch.inference_mode():
        found = encoder([first, second]).tokens
    assert float((found[0, 0] - found[1, 0]).abs().max()) > 1e-4


# Features


def test_log_mel_counts_windows_whose_edges_are_snipped() -> None:
    for samples, windows in ((0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)):
        waveform = torch.from_numpy(sound(1.0)[:samples].astype(np.float32) / 32768)
        assert len(log_mel(waveform, 40)) == windows


def test_log_mel_is_what_the_spectrogram_transformer_was_trained_on() -> None:
    from transformers import ASTFeatureExtractor

    waveform = wave(1.3).numpy()
    theirs = ASTFeatureExtractor()(waveform, sampling_rate=16_000, return_tensors="pt").input_values[0]
    ours = log_mel(torch.from_numpy(waveform), 128)
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(theirs[len(ours) :], torch.full_like(theirs[len(ours) :], PADDING))


# The pretrained trunk


def test_ast_states_are_means_over_frequency_of_transformers_model() -> None:
    trunk = ast_encoder().pretrained
    assert isinstance(trunk, AstTrunk)
    mel = log_mel(wave(3.0), 128)
    padded = torch.full((1, WINDOW, 128), PADDING)
    padded[0, : len(mel)] = mel
    with torch.inference_mode():
        hidden = trunk.net(padded).last_hidden_state
        states, lengths = trunk(mel.unsqueeze(0), torch.tensor([len(mel)]))
    assert hidden.shape[1] == 2 + 12 * 101
    by_time = torch.stack([hidden[0, 2 + time :: 101].mean(dim=0) for time in range(101)])  # Eq. 6
    places = (4 * np.arange(256) + 1.5 - 7.5) / 10  # middles of states among middles of patches
    columns = [np.interp(places, np.arange(101), column) for column in by_time.T.numpy()]
    expected = torch.from_numpy(np.stack(columns, axis=1)).float()
    n = int(lengths)
    assert n == -(-len(mel) // 4) == states.shape[1]
    torch.testing.assert_close(states[0], expected[:n], rtol=1e-4, atol=1e-5)


def test_resampling_keeps_constants_and_slopes() -> None:
    matrix = resampling()
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(256))
    middles = torch.arange(101) * 10.0 + 7.5  # mel frames in the middle of each patch
    inner = slice(2, 250)
    torch.testing.assert_close((matrix @ middles)[inner], (torch.arange(256) * 4.0 + 1.5)[inner])


def test_a_sound_longer_than_a_window_is_heard_to_its_end() -> None:
    encoder = ast_encoder()
    seconds = 12.0
    quiet_end = wave(seconds).clone()
    quiet_end[-8000:] = 0.0
    with torch.inference_mode():
        found = encoder([wave(seconds), quiet_end, wave(0.5)])
        alone = encoder([wave(0.5)])
    assert found.lengths.tolist() == [150, 150, 6]
    assert float((found.tokens[0, 145] - found.tokens[1, 145]).abs().max()) > 1e-3
    torch.testing.assert_close(found.tokens[2, :6], alone.tokens[0], rtol=0, atol=1e-4)


def test_with_a_pretrained_trunk_neither_stem_nor_blocks_are_built() -> None:
    names = {name.partition(".")[0] for name, _ in ast_encoder().named_parameters()}
    assert names == {"pretrained", "lstm", "merge", "project", "out_norm"}
    assert not any("resample" in name for name in ast_encoder().state_dict())


# At most so many tokens a clip


@pytest.mark.parametrize("most", [1, 3, 10, 64])
def test_neighbours_are_merged_to_uniform_times(most: int) -> None:
    tokens = torch.arange(3 * 25, dtype=torch.float32).view(3, 25, 1)
    lengths = torch.tensor([25, 0, 7])
    merged, mask, times = limit_audio(AudioTokens(tokens, lengths), most)
    for row, length in enumerate(lengths.tolist()):
        factor = max(-(-length // most), 1)
        groups = [list(range(start, min(start + factor, length))) for start in range(0, length, factor)]
        assert int(mask[row].sum()) == len(groups) <= most
        expected = [float(np.mean([tokens[row, place, 0] for place in group])) for group in groups]
        np.testing.assert_allclose(merged[row, : len(groups), 0], expected, rtol=1e-6)
        middles = [(place + 0.5) * factor / 12.5 for place in range(len(groups))]
        np.testing.assert_allclose(times[row, : len(groups)], middles, rtol=1e-5)


def test_limit_is_blind_to_the_batch() -> None:
    encoded = encode(tiny().audio, 1.0, 9.0)
    merged, mask, _ = limit_audio(encoded, 20)
    one = AudioTokens(*(part[:1] for part in encoded))
    alone, alone_mask, _ = limit_audio(one, 20)
    n = int(alone_mask.sum())
    assert n == int(mask[0].sum()) == 13
    torch.testing.assert_close(merged[0, :n], alone[0, :n])


def test_a_checkpoint_is_deepened_with_hardly_a_change_of_what_it_says() -> None:
    small = replace(tiny().config.audio, temporal_layers=0, max_tokens=32)
    shallow = replace(tiny().config, wide=0, gist=0, listing=0, spelling=0, glance=0, audio=small)
    with torch.random.fork_rng():
        trained = Retriever(shallow, tiny().text.tokenizer).eval()
    deeper = deepened(trained, seed=0)
    assert deeper.config.audio.max_tokens == tiny().config.audio.max_tokens
    assert deeper.config.audio.temporal_layers == 1 and len(deeper.audio.temporal) == 1
    with torch.inference_mode():
        before, after = trained.audio([wave(1.3, 1)]), deeper.audio([wave(1.3, 1)])
        shown = torch.from_numpy(pictures(4).transpose(0, 3, 1, 2)[None].copy())
        maps = trained.video.trunk_features(shown)
        assert torch.equal(trained.video(maps).tokens, deeper.video(maps).tokens)
        clips = collate([token_set(1), token_set(2)], CELLS, WIDTH)
        text = query([4, 2])
        assert deeper.late is not None and deeper.spelling is not None
        for share in (deeper.late, deeper.spelling.share):  # what is left of the shares is as it was
            share.offset.fill_(-30.0)
        scores = [network.pair_scores(text, clips).fused for network in (trained, deeper)]
        torch.testing.assert_close(*scores, rtol=0, atol=1e-5)
        assert torch.equal(trained.coarse.queries(text), deeper.coarse.queries(text))
    assert torch.equal(before.tokens, after.tokens)
    assert deepened(deeper, seed=0) is deeper
