"""Batches are homogeneous, seeded and resumable; what a text is relevant to is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.containers import MediaError
from model.data import items
from model.data.batches import BatchSampler, Draw
from model.data.examples import Folder, NothingToTrainOnError, decode_all, gather, usable
from model.data.items import ClipCache, Shape
from model.data.manifest import Item, ManifestError, load_manifest
from model.training.feed import Feed
from tests.model.small_data import COLOURS, SHAPE, films, mixed_sources, photographs, picture, quiet, tones, write_lines

# ---- the sampler -----------------------------------------------------------------------------------------------------


def sampler(seed: int = 3, **more: int) -> BatchSampler:
    return BatchSampler([10, 7], [4, 3], [1.0, 2.0], seed, **more)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 5))
def test_a_restored_sampler_goes_on_as_if_it_had_never_stopped(steps: int, seed: int) -> None:
    whole, stopped = sampler(seed), sampler(seed)
    for _ in range(steps):
        assert whole.next() == stopped.next()
    again = sampler(seed)
    again.restore(stopped.state())
    assert [whole.next() for _ in range(20)] == [again.next() for _ in range(20)]


def test_an_epoch_shows_each_example_once_and_the_next_in_another_order() -> None:
    only = BatchSampler([9], [3], [1.0], 0)
    epochs = [[row for _ in range(3) for row in only.next().rows] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(9))
    assert epochs[0] != epochs[1]


def test_sources_are_drawn_by_weight_and_seeds_differ() -> None:
    drawn = [sampler().next() for _ in range(1)]
    assert drawn != [sampler(seed=4).next()]
    many = sampler()
    share = np.mean([many.next().source for _ in range(600)])
    assert share == pytest.approx(2 / 3, abs=0.06)


def test_processes_share_a_batch_without_overlap() -> None:
    parts = [sampler(rank=rank, world=2) for rank in range(2)]
    for _ in range(10):
        one, two = (part.next() for part in parts)
        assert (one.source, one.epoch) == (two.source, two.epoch)
        assert not set(one.rows) & set(two.rows)


def test_state_of_other_data_is_refused() -> None:
    with pytest.raises(ValueError, match="examples"):
        BatchSampler([11, 7], [4, 3], [1.0, 2.0], 3).restore(sampler().state())
    with pytest.raises(ValueError, match="seed"):
        sampler(seed=9).restore(sampler().state())


def test_an_epoch_counts_all_examples() -> None:
    assert BatchSampler([100], [10], [1.0], 0).steps_per_epoch() == 10
    assert BatchSampler([5], [10], [1.0], 0).steps_per_epoch() == 1


# ---- examples and feed -----------------------------------------------------------------------------------------------


def test_sources_are_homogeneous_and_weighted_by_folder(tmp_path: Path) -> None:
    photographs(tmp_path / "d", 1)
    tones(tmp_path / "d2", 4)
    both = [load_manifest(tmp_path / name) for name in ("d", "d2")]
    lines = [
        {"file": f"../{item.folder.name}/{item.name}", "texts": list(item.texts), "split": item.split}
        for found in both
        for item in found
    ]
    (tmp_path / "m").mkdir()
    write_lines(tmp_path / "m", lines)
    sources, _ = gather([Folder(tmp_path / "m", 3.0)], "train", ClipCache(tmp_path / "c", SHAPE), quiet)
    assert {source.form: (len(source.examples), source.weight) for source in sources} == {
        "still": (8, 2.0),
        "sound": (4, 1.0),
    }


@pytest.mark.parametrize(
    ("given", "path", "weight"), [("a/b", "a/b", 1.0), ("a/b:2.5", "a/b", 2.5), ("a:b", "a:b", 1.0)]
)
def test_folder_weights(given: str, path: str, weight: float) -> None:
    assert Folder.parse(given) == Folder(Path(path), weight)


def test_a_folder_named_like_a_weight_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x:2").mkdir()
    assert Folder.parse(f"{tmp_path}/x:2") == Folder(tmp_path / "x:2")
    with pytest.raises(ManifestError, match="not above zero"):
        Folder.parse("x:0")


def test_bad_files_are_left_out_and_named(tmp_path: Path) -> None:
    folder = films(tmp_path / "f", 2)
    with (folder / "manifest.jsonl").open("a") as out:
        out.write('{"file": "gone.mp4", "texts": ["gone"]}\n{"file": "bad.mp4", "texts": ["bad"]}\n')
    (folder / "bad.mp4").write_bytes(b"nothing like a video")
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, failures = gather([Folder(folder)], "train", cache, quiet)
    assert {failure.file for failure in failures} == {"gone.mp4", "bad.mp4"}
    assert {failure.code for failure in failures} >= {"not_found"}
    assert [len(source.examples) for source in usable(sources)] == [2]
    with pytest.raises(NothingToTrainOnError):
        usable([])


def test_a_broken_photograph_is_left_out_before_the_first_step(tmp_path: Path) -> None:
    folder, cache = photographs(tmp_path / "p", 1), ClipCache(tmp_path / "c", SHAPE)
    broken = folder / "train-red-0.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    sources, failures = gather([Folder(folder)], "train", cache, quiet)
    before = len(sources[0].examples)
    assert not failures and [failure.file for failure in decode_all(sources, cache, quiet)] == [broken.name]
    assert len(sources[0].examples) == before - 1


@pytest.mark.parametrize("begin_at", [0.0, 0.5])
def test_a_file_that_breaks_while_it_is_decoded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin_at: float
) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(films(tmp_path / "f", 3))], "train", cache, quiet)
    whole = items.decode

    def breaks(item: Item, span: items.Span, shape: Shape) -> items.Clip:
        if "green" in item.name:
            raise MediaError("truncated", "half a file")
        return whole(item, span, shape)

    monkeypatch.setattr(items, "decode", breaks)
    failures = decode_all(sources, cache, quiet, begin_at)
    assert [failure.code for failure in failures] == ["truncated"] and len(sources[0].examples) == 2


def test_a_process_that_begins_elsewhere_decodes_for_the_others_and_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches of all processes are cut from one list."""
    whole, decoded = items.decode, []

    def notes(item: Item, span: items.Span, shape: Shape) -> items.Clip:
        decoded.append(item.name)
        return whole(item, span, shape)

    monkeypatch.setattr(items, "decode", notes)
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(films(tmp_path / "f", 4))], "train", cache, quiet)
    names = [example.item.name for example in sources[0].examples]
    decode_all(sources, cache, quiet, begin_at=0.5)
    assert decoded == [*names[2:], *names[:2]]
    assert [example.item.name for example in sources[0].examples] == names
    decode_all(sources, cache, quiet)
    assert len(decoded) == len(names), "the other process finds all of it in the cache"


def test_batches_hold_what_their_source_has(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources = mixed_sources(tmp_path, cache)
    feed = Feed(sources, cache, 0)
    made = {source.form: feed.batch(Draw(0, index, 0, (0, 1, 3))) for index, source in enumerate(sources)}
    still, sound, film = made["still"], made["sound"], made["film"]
    assert still.frames is not None and still.frames.shape == (3, 1, 3, 32, 32) and still.waveforms is None
    assert sound.frames is None and sound.waveforms is not None and len(sound.waveforms) == 3
    assert sound.transcripts == ["tone 0", "tone 1", "tone 3"]
    assert film.frames is not None and film.frames.shape == (3, 4, 3, 32, 32) and film.frames.dtype == torch.uint8
    assert film.waveforms is not None and [len(wave) > 0 for wave in film.waveforms] == [False, True, True]
    assert all(batch.positives.shape == (3, 3) and batch.positives.diagonal().all() for batch in made.values())


def test_a_batch_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources = mixed_sources(tmp_path, cache)
    one, two = Feed(sources, cache, 0), Feed(sources, cache, 0)
    one.batch(Draw(5, 1, 0, (2, 1)))  # made before, and of no consequence
    for source in range(3):
        a, b = (feed.batch(Draw(9, source, 2, (1, 0))) for feed in (one, two))
        assert a.texts == b.texts
        assert (a.frames is None) or torch.equal(a.frames, b.frames)  # type: ignore[arg-type]
        assert all(torch.equal(x, y) for x, y in zip(a.waveforms or [], b.waveforms or [], strict=True))
    later = one.batch(Draw(9, 0, 3, (1, 0)))
    assert not torch.equal(later.frames, one.batch(Draw(9, 0, 2, (1, 0))).frames)  # type: ignore[arg-type]


def test_equal_texts_relevance_keys_and_videos_are_positives(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / f"{number}.jpg", COLOURS["red"], number)
    lines = [
        {"file": "0.jpg", "texts": ["A red car."]},
        {"file": "1.jpg", "texts": ["a red  CAR"]},
        {"file": "2.jpg", "texts": ["a cat"], "relevance_key": "k"},
        {"file": "3.jpg", "texts": ["a feline"], "relevance_key": "k"},
        {"file": "4.jpg", "texts": ["a boat"]},
        {"file": "4.jpg", "texts": ["a sail on a lake"]},  # the same picture once more
    ]
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(write_lines(tmp_path, lines))], "train", cache, quiet)
    positives = Feed(sources, cache, 0).batch(Draw(0, 0, 0, (0, 1, 2, 3, 4, 5))).positives
    expected = torch.block_diag(*[torch.ones(2, 2)] * 3).bool()
    assert torch.equal(positives, expected)


def test_a_photograph_is_asked_for_by_several_of_its_texts_at_once(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.jpg", COLOURS["red"], number)
    lines = [{"file": f"{n}.jpg", "texts": [f"{n} {word}" for word in "abcd"[: n + 1]]} for n in range(3)]
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(write_lines(tmp_path, lines))], "train", cache, quiet)
    batch = Feed(sources, cache, 0, captions=3).batch(Draw(0, 0, 0, (0, 1, 2)))
    assert [text.split()[0] for text in batch.texts] == ["0", "1", "1", "2", "2", "2"] and len(set(batch.texts)) == 6
    assert torch.equal(batch.positives, torch.tensor([[int(text[0]) == c for c in range(3)] for text in batch.texts]))


def test_each_sense_is_asked_only_what_it_can_answer(tmp_path: Path) -> None:
    folder = films(tmp_path / "f", 4, seen=["a seen thing"], said=["a said thing"], together=["both things"])
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(folder)], "train", cache, quiet)
    feed, kinds = Feed(sources, cache, 0), set()
    for epoch in range(60):
        batch = feed.batch(Draw(0, 0, epoch, (0, 1, 2, 3)))
        assert batch.seen is not None and batch.heard is not None
        asks = zip(batch.texts, batch.seen.asks.tolist(), batch.heard.asks.tolist(), strict=True)
        kinds |= {("film" if "film" in text else text, *row) for text, *row in asks}
    assert kinds == {
        ("film", True, True),  # nobody said what it speaks of
        ("a seen thing", True, False),
        ("a said thing", False, True),
        ("both things", False, False),
    }


def test_own_queries_are_asked_most_and_kinds_of_text_alike(tmp_path: Path) -> None:
    picture(tmp_path / "0.jpg", COLOURS["red"])
    line = {"file": "0.jpg", "texts": ["x"], "seen": ["seen one", "seen two", "seen three"], "said": ["said"]}
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(write_lines(tmp_path, [line]))], "train", cache, quiet)
    feed = Feed(sources, cache, 0)
    texts = [feed.batch(Draw(0, 0, epoch, (0,))).texts[0] for epoch in range(400)]
    assert set(texts) == {"x", "seen one", "seen two", "seen three", "said"}
    assert 260 < texts.count("x") < 340
    assert 30 < texts.count("said") < 75  # of about 100: half of what is not its own query


def test_the_feed_works_ahead_without_moving_the_state(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources = mixed_sources(tmp_path, cache)
    sizes = [len(source.examples) for source in sources]
    draws, plain = BatchSampler(sizes, [2] * 3, [1.0] * 3, 0), BatchSampler(sizes, [2] * 3, [1.0] * 3, 0)
    steps = Feed(sources, cache, 0).steps(draws, ahead=3)
    for _ in range(4):
        step, draw = next(steps), plain.next()
        assert step.after == plain.state() and step.source == sources[draw.source].name
    assert draws.step > plain.step
    steps.close()  # type: ignore[attr-defined]


def test_words_keep_their_times_at_another_speed(tmp_path: Path) -> None:
    folder = tones(tmp_path / "t", 4)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    lines[0]["words"] = [["tone", 0.1, 0.4], ["0", 0.4, 0.5]]
    lines[2] |= {"words": [["cut", 0.3, 0.4]], "start_s": 0.2}
    write_lines(folder, lines)
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(folder)], "train", cache, quiet)
    draw = Draw(0, 0, 0, (0, 1, 2))
    plain, changed = (Feed(sources, cache, 0, change=change).batch(draw) for change in (False, True))
    assert plain.timings == [[("tone", 0.1, 0.4), ("0", 0.4, 0.5)], [], []]
    assert plain.waveforms is not None and changed.waveforms is not None and changed.timings is not None
    stretched = len(changed.waveforms[0]) / len(plain.waveforms[0])
    assert stretched != 1.0
    assert changed.timings[0][1][1:] == pytest.approx((0.4 * stretched, 0.5 * stretched))
