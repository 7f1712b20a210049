"""Composed films: only the right part of a clip answers, in the right order."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import RetrieverConfig
from model.data.batches import Draw
from model.data.examples import Folder, Source, compute_features, decode_all, gather
from model.data.features import FeatureStore
from model.data.items import ClipCache
from model.data.manifest import normalised
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import compose
from model.training.asked import Asked, Part, ask_wrong, in_order, said_key, truth
from model.training.batch import TrainBatch
from model.training.compose import COMPOSED, Composer, composed
from model.training.frozen_frames import freeze_frames
from model.training.options import TrainingError
from model.training.wording import joined_in_order, one_word_changed, seen_and_heard
from tests.media_files import tone, write_media
from tests.model.small_data import SAID, SHAPE, photographs, quiet, write_lines

CLIPS, BATCHES = 16, 24


def sounds(folder: Path, *, spoken: bool) -> Path:
    """Tones that stand for sentences, or for sounds with a label."""
    folder.mkdir()
    lines = []
    for number, sentence in enumerate(SAID):
        file = f"{number}.wav"
        heard = tone(0.5, 16_000, hertz=150.0 * (number + 1 + 6 * spoken))
        write_media(folder / file, codec=None, sound=heard, sound_codec="pcm_s16le", sound_rate=16_000)
        said = {"texts": [sentence], "kind": "speech"}
        lines.append({"file": file, **(said if spoken else {"texts": [f"noise {number}"], "kind": "sound"})})
    return write_lines(folder, lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Composer, list[Source], list[TrainBatch]]:
    folder = tmp_path_factory.mktemp("composed")
    cache = ClipCache(folder / "cache", SHAPE)
    paths = [photographs(folder / "p", 2), sounds(folder / "said", spoken=True), sounds(folder / "fx", spoken=False)]
    sources, failures = gather([Folder(path) for path in paths], "train", cache, quiet)
    retriever = Retriever.from_preset("tiny", seed=1).requires_grad_(False)
    kept = freeze_frames(retriever.video, 0)
    assert kept is not None and not failures + decode_all(sources, cache, quiet)
    store = FeatureStore(folder / "maps", kept[1])
    assert not compute_features(sources, cache, retriever.video, store, 2, quiet)
    frames = RetrieverConfig.from_preset("tiny").video.frames
    composer = Composer(sources, store, cache, seed=0, frames=frames, views=2)
    return composer, sources, [composer.batch(draw(step), sources[0]) for step in range(BATCHES)]


def draw(step: int, rows: int = CLIPS) -> Draw:
    order = np.random.default_rng(step).permutation(16)
    return Draw(step, 3, 0, tuple(np.resize(order, rows).tolist()))


def test_a_batch_has_pictures_sound_and_the_truth_of_both(
    made: tuple[Composer, list[Source], list[TrainBatch]],
) -> None:
    for batch in made[2]:
        B = len(batch.texts)
        assert batch.positives.shape == (B, CLIPS) and B >= CLIPS
        assert batch.video_features is not None and {len(level) for level in batch.video_features} == {CLIPS}
        assert batch.waveforms is not None and all(len(wave) > 4000 for wave in batch.waveforms)
        assert batch.positives[:CLIPS].diagonal().all()  # each clip answers its own query
        assert not batch.positives[CLIPS:].any()  # and what has a wrong word in it, nothing
        assert batch.seen is not None and batch.heard is not None
        assert bool((batch.seen.asks | batch.heard.asks).all())
        both = (batch.seen.asks & batch.heard.asks)[:CLIPS]
        together = batch.seen.positives[:CLIPS] & batch.heard.positives[:CLIPS]
        assert torch.equal(batch.positives[:CLIPS][both], together[both])


def test_who_only_looks_or_only_listens_finds_two_clips_of_a_square(
    made: tuple[Composer, list[Source], list[TrainBatch]],
) -> None:
    counts: Counter[tuple[bool, int]] = Counter()
    for batch in made[2]:
        assert batch.seen is not None and batch.heard is not None
        for row in range(CLIPS):
            square = slice(row // 4 * 4, row // 4 * 4 + 4)
            both = bool(batch.seen.asks[row] and batch.heard.asks[row])
            found = int(batch.positives[row, square].sum())
            counts[both, found] += 1
            if both:
                assert batch.seen.positives[row, square].sum() >= 2 and batch.heard.positives[row, square].sum() >= 2
    assert counts[True, 1] > 20 and counts[False, 2] > 20
    assert counts[False, 1] == 0  # a single sense never tells the four apart


def test_in_a_large_grid_six_clips_share_a_sentence_and_four_a_picture(
    made: tuple[Composer, list[Source], list[TrainBatch]],
) -> None:
    sizes: Counter[int] = Counter()
    for step in range(12):
        batch = made[0].batch(draw(step, 24), made[1][0])
        assert batch.video_features is not None and batch.transcripts is not None
        pictures = batch.video_features[0]
        high = 4 if torch.equal(pictures[0], pictures[3]) else 2
        sizes[high] += 1
        for row in range(24):  # whoever knows the sentence is left with as many faces as share it
            assert torch.equal(pictures[row], pictures[row // high * high])
        if high == 4:
            assert all(batch.transcripts[row] == batch.transcripts[row % 4] for row in range(24))
    assert sizes[2] >= 2 and sizes[4] >= 2


def test_what_is_said_of_a_query_is_in_it(made: tuple[Composer, list[Source], list[TrainBatch]]) -> None:
    known = 0
    for batch in made[2]:
        assert batch.said is not None and batch.heard is not None
        for row, pieces in enumerate(batch.said):
            assert pieces is None or (bool(batch.heard.asks[row]) and set(pieces) <= set(SAID))
            if pieces and batch.seen is not None and batch.seen.asks[row]:
                known += 1
                assert any(normalised(piece) in normalised(batch.texts[row]) for piece in pieces)
    assert known > 20


def test_the_reverse_of_an_order_is_no_answer(made: tuple[Composer, list[Source], list[TrainBatch]]) -> None:
    found = 0
    for batch in made[2]:
        for row, text in enumerate(batch.texts[:CLIPS]):
            if text.startswith("first "):
                found += 1
                assert batch.positives[row, row // 4 * 4 : row // 4 * 4 + 4].sum() <= 2
    assert found > 5


def test_what_is_said_is_in_the_transcript(made: tuple[Composer, list[Source], list[TrainBatch]]) -> None:
    said = {normalised(sentence) for sentence in SAID}
    transcripts = [t for batch in made[2] for t in batch.transcripts or [] if t]
    assert len(transcripts) > CLIPS and all(any(s in normalised(t) for s in said) for t in transcripts)
    assert any(t is None for batch in made[2] for t in batch.transcripts or [])


def test_what_is_cut_off_is_not_asked_for_by_its_letters(
    made: tuple[Composer, list[Source], list[TrainBatch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "LONGEST", 16_000 // 4)
    composer, sources, _ = made
    batch = composer.batch(draw(0), sources[0])
    assert batch.transcripts is not None and not any(batch.transcripts)


def test_the_same_draw_gives_the_same_batch_and_another_step_another(
    made: tuple[Composer, list[Source], list[TrainBatch]],
) -> None:
    composer, sources, batches = made
    again = composer.batch(draw(3), sources[0])
    assert again.texts == batches[3].texts and torch.equal(again.positives, batches[3].positives)
    assert all(torch.equal(a, b) for a, b in zip(again.waveforms or [], batches[3].waveforms or [], strict=True))
    levels = zip(again.video_features or [], batches[3].video_features or [], strict=True)
    assert all(torch.equal(a, b) for a, b in levels)
    assert again.texts != batches[4].texts


def test_a_composed_batch_trains(made: tuple[Composer, list[Source], list[TrainBatch]]) -> None:
    retriever, loss = Retriever.from_preset("tiny", seed=1).train(), RetrievalLoss()
    parts = loss(retriever, made[2][0])
    parts["total"].backward()
    assert {"fused", "video_alone", "audio_alone", "seen_words", "monotone", "ctc"} <= set(parts)
    assert all(bool(part.isfinite()) for part in parts.values())


def test_a_source_is_drawn_for_its_share_and_needs_both(
    made: tuple[Composer, list[Source], list[TrainBatch]],
) -> None:
    sources = made[1]
    (source,) = composed(sources, 0.25)
    assert source.form == COMPOSED and len(source.examples) == 16
    assert source.weight / (source.weight + sum(s.weight for s in sources)) == pytest.approx(0.25)
    few, many = sources[0].examples[:4], sources[0].examples * 4
    (source,) = composed([*sources, Source("few", "still", 1.0, few)], 0.25)
    assert len(source.examples) == 20  # a few strays are no kind of their own
    kinds = [
        Source("photos", "still", 3.0, many),
        Source("drawn", "still", 1.0, many),
        Source("few", "still", 1.0, few),
    ]
    first, second = composed([*kinds, *sources[1:]], 0.25)
    assert first.weight == second.weight and len(second.examples) == 64  # pictures of one kind are together
    with pytest.raises(TrainingError, match="photographs and sounds"):
        composed([Source("few", "still", 1.0, few), *sources[1:]], 0.25, world=2)
    with pytest.raises(TrainingError, match="photographs and sounds"):
        composed([source for source in sources if source.form == "sound"], 0.25)


def test_a_picture_answers_every_phrase_that_is_true_of_it() -> None:
    red = Part(("a red cap",), ("a red cap",), (frozenset({"a red cap", "a beach"}),))
    blue = Part(("a beach",), ("a beach",), (frozenset({"a blue cap", "a beach"}),))
    both = Part(("a red cap", "a beach"), ("a red cap", "a beach"), (red.known[0], blue.known[0]))
    clips = [(part, Part(("x",), ("x",))) for part in (red, blue, both)]
    asked = [Asked("", seen="a red cap"), Asked("", seen="a beach"), Asked("", seen=in_order("a beach", "a blue cap"))]
    assert truth(asked, clips).tolist() == [[True, False, True], [True, True, True], [False, False, True]]


def test_what_is_true_of_another_picture_is_never_asked_as_wrong() -> None:
    texts = ("a green shirt", "a brown shirt")
    clips = [(Part((text,), (text,), (frozenset({text}),)), Part(("x",), ("x",))) for text in texts]
    found = [ask_wrong(*clip, clips, np.random.default_rng(seed)) for clip in clips for seed in range(40)]
    assert not {query.text for query in found if query is not None} & set(texts)


def test_what_another_clip_says_is_never_asked_as_wrong() -> None:
    said = ("the meeting moved to tuesday", "the meeting moved to thursday")
    clips = [(Part(("x",), ("x",)), Part((said_key(text),), (text,), said=True)) for text in said]
    found = [ask_wrong(*clip, clips, np.random.default_rng(seed)) for clip in clips for seed in range(200)]
    asked = {query.text for query in found if query is not None and query.heard}
    assert asked and not asked & set(said)


def test_wording() -> None:
    rng = np.random.default_rng(0)
    joined = {joined_in_order("A dog runs .", "A cat sits.", rng) for _ in range(60)}
    assert "first a dog runs, then a cat sits" in joined and all(
        text.index("dog") < text.index("cat") for text in joined
    )
    together = {seen_and_heard("A dog.", "hello there", True, rng) for _ in range(60)}
    assert len(together) > 3 and all("a dog" in text and "hello there" in text for text in together)
    sentence = "the dog barks loudly"
    changed = one_word_changed(sentence, ["a goose honks softly"], rng) or ""
    assert sum(a != b for a, b in zip(changed.split(), sentence.split(), strict=True)) == 1
    assert one_word_changed("to be or not", ["a goose"], rng) is None
    assert one_word_changed("barks", ["barks"], rng) is None
