"""Batches are homogeneous, seeded and resumable; media is decoded once; what a text is relevant to is known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.containers import MediaError
from model.data import augment, items
from model.data.batches import BatchSampler, Draw
from model.data.examples import Folder, NothingToTrainOnError, compute_features, decode_all, gather, usable
from model.data.features import FeatureStore
from model.data.items import ClipCache, Shape, content_key
from model.data.manifest import Item, ManifestError, load_manifest
from model.training.feed import Feed
from tests.media_files import tone, write_media
from tests.model.small_data import COLOURS, films, photographs, picture, tones, write_lines

SHAPE = Shape(4, 32)


def quiet(_what: str, _done: int, _of: int) -> None:
    pass


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


# ---- items -----------------------------------------------------------------------------------------------------------


def test_a_still_says_the_same_with_one_frame_unless_the_trunk_joins_frames(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", COLOURS["red"])
    item = Item(tmp_path, ("a.jpg",))
    clip = items.decode(item, items.look(item).spans[0], SHAPE)
    assert clip.frames is not None and clip.frames.shape == (1, 32, 32, 3) and clip.audio is None
    swin = items.decode(item, (0.0, 8.0), Shape(4, 32, still_frames=4))
    assert swin.frames is not None and swin.frames.shape == (4, 32, 32, 3)
    assert swin.frame_times is not None and swin.frame_times.tolist() == [1.0, 3.0, 5.0, 7.0]


def test_numbered_pictures_are_taken_at_their_times_with_their_sound(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / f"{number:03}.jpg", (30 * number, 30 * number, 30 * number))
    write_media(tmp_path / "a.wav", codec=None, sound=tone(2.0, 16_000), sound_codec="pcm_s16le", sound_rate=16_000)
    item = Item(tmp_path, tuple(f"{n:03}.jpg" for n in range(8)), audio="a.wav", fps=4.0)
    found = items.look(item)
    assert found.spans == ((0.0, 2.0),) and found.has_audio
    clip = items.decode(item, found.spans[0], SHAPE)
    assert clip.frame_times is not None and clip.frames is not None and clip.audio is not None
    assert clip.frame_times.tolist() == [0.25, 0.75, 1.25, 1.75]
    assert [round(float(frame.mean()) / 30) for frame in clip.frames] == [1, 3, 5, 7]
    assert abs(len(clip.audio) - 32_000) < 200


def test_a_part_of_a_file_is_cut_out_and_long_parts_become_windows(tmp_path: Path) -> None:
    write_media(tmp_path / "a.mp4", seconds=16.0, fps=4, sound=tone(16.0, 16_000), sound_rate=16_000)
    part = Item(tmp_path, ("a.mp4",), start_s=3.0, end_s=5.0)
    assert items.look(part).spans == ((3.0, 5.0),)
    clip = items.decode(part, (3.0, 5.0), SHAPE)
    assert clip.frame_times is not None and clip.audio is not None
    assert 3.0 <= clip.frame_times[0] < clip.frame_times[-1] < 5.0 and clip.audio_start_s == 3.0
    assert abs(len(clip.audio) - 32_000) < 400
    assert len(items.look(Item(tmp_path, ("a.mp4",))).spans) == 2
    with pytest.raises(MediaError):
        items.look(Item(tmp_path, ("a.mp4",), start_s=40.0, end_s=50.0))
    assert content_key(part) != content_key(Item(tmp_path, ("a.mp4",)))


def test_a_clip_is_decoded_once_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films(tmp_path / "d", 2)
    cache = ClipCache(tmp_path / "cache", SHAPE)
    (item, sounding) = load_manifest(tmp_path / "d")
    first = cache.clip(item, 0, cache.look(item).spans[0])
    heard = cache.clip(sounding, 0, cache.look(sounding).spans[0])
    shutil.copy(tmp_path / "d" / sounding.name, tmp_path / "d" / "renamed.mp4")

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(items, "decode", never)
    again = cache.clip(item, 0, (0.0, 1.0))
    renamed = cache.clip(Item(tmp_path / "d", ("renamed.mp4",)), 0, (0.0, 1.0))
    for one, two in ((first, again), (heard, renamed)):
        assert one.frames is not None and two.frames is not None
        np.testing.assert_array_equal(one.frames, two.frames)
    assert heard.audio is not None and renamed.audio is not None and len(heard.audio) > 10_000
    np.testing.assert_array_equal(heard.audio, renamed.audio)


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path) -> None:
    films(tmp_path / "d", 1)
    (item,) = load_manifest(tmp_path / "d")
    cache = ClipCache(tmp_path / "cache", SHAPE)
    whole = cache.clip(item, 0, (0.0, 1.0))
    (entry,) = (tmp_path / "cache").rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:100])
    made = cache.clip(item, 0, (0.0, 1.0))
    assert whole.frames is not None and made.frames is not None
    np.testing.assert_array_equal(whole.frames, made.frames)


# ---- changes ---------------------------------------------------------------------------------------------------------


def test_changes_are_the_same_for_equal_seeds_and_keep_the_shape() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    one, two = (augment.pictures(frames, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == frames.shape and one.dtype == np.uint8 and not np.array_equal(one, frames)
    other = augment.pictures(frames, np.random.default_rng(6))
    assert not np.array_equal(one, other)


def test_no_mirror_where_a_text_names_a_side() -> None:
    assert not augment.may_mirror(("a dog", "A man turns LEFT"))
    assert augment.may_mirror(("a bright leftover",))
    ramp = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, None, :, None], (1, 32, 1, 3))
    for seed in range(12):
        changed = augment.pictures(ramp, np.random.default_rng(seed), mirror=False)[0, :, :, 0].astype(float)
        assert changed[:, 0].mean() < changed[:, -1].mean()
    mirrored = [augment.pictures(ramp, np.random.default_rng(seed))[0, :, :, 0].astype(float) for seed in range(12)]
    assert any(picture[:, 0].mean() > picture[:, -1].mean() for picture in mirrored)


@pytest.mark.parametrize("colour", augment.NOISES)
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_stands_where_it_is_said_within_the_band(colour: str, snr_db: float) -> None:
    wave = tone(1.0, 16_000, hertz=500.0)[0]
    noise = augment.colour(colour, len(wave), np.random.default_rng(1))
    mixed = augment.mix(wave, noise, snr_db)
    added = augment._power(mixed - wave)
    assert 10 * np.log10(augment._power(wave) / added) == pytest.approx(snr_db, abs=0.1)


def test_sound_changes_keep_silence_and_the_range() -> None:
    assert not len(augment.sound(np.zeros(0, np.float32), np.random.default_rng(0)))
    wave = tone(0.5, 16_000)[0]
    made = [augment.sound(wave, np.random.default_rng(seed), [wave, wave]) for seed in range(20)]
    assert all(np.abs(one).max() <= 1.0 and one.dtype == np.float32 for one in made)
    assert min(map(len, made)) < len(wave) < max(map(len, made))
    np.testing.assert_array_equal(made[3], augment.sound(wave, np.random.default_rng(3), [wave, wave]))


# ---- examples and feed -----------------------------------------------------------------------------------------------


def mixed_sources(tmp_path: Path, cache: ClipCache) -> list:
    photographs(tmp_path / "p", 1)
    tones(tmp_path / "t", 4)
    films(tmp_path / "f", 4)
    sources, failures = gather([Folder(tmp_path / n) for n in "ptf"], "train", cache, quiet)
    assert not failures
    return sources


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


def test_a_file_that_breaks_while_it_is_decoded_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(films(tmp_path / "f", 3))], "train", cache, quiet)
    whole = items.decode

    def breaks(item: Item, span: items.Span, shape: Shape) -> items.Clip:
        if "green" in item.name:
            raise MediaError("truncated", "half a file")
        return whole(item, span, shape)

    monkeypatch.setattr(items, "decode", breaks)
    failures = decode_all(sources, cache, quiet)
    assert [failure.code for failure in failures] == ["truncated"] and len(sources[0].examples) == 2


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


def test_equal_texts_and_relevance_keys_are_positives(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.jpg", COLOURS["red"], number)
    lines = [
        {"file": "0.jpg", "texts": ["A red car."]},
        {"file": "1.jpg", "texts": ["a red  CAR"]},
        {"file": "2.jpg", "texts": ["a cat"], "relevance_key": "k"},
        {"file": "3.jpg", "texts": ["a feline"], "relevance_key": "k"},
    ]
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources, _ = gather([Folder(write_lines(tmp_path, lines))], "train", cache, quiet)
    positives = Feed(sources, cache, 0).batch(Draw(0, 0, 0, (0, 1, 2, 3))).positives
    expected = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool()
    assert torch.equal(positives, expected)


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


# ---- features --------------------------------------------------------------------------------------------------------


class Brightness:
    """A trunk whose map is the mean of each frame, so that a test can tell frames apart."""

    def trunk_features(self, frames: torch.Tensor) -> list[torch.Tensor]:
        C, T = frames.shape[:2]
        mean = frames.float().mean(dim=(2, 3, 4)) / 255
        return [mean.view(C, T, 1, 1, 1).expand(C, T, 3, 2, 2), mean.view(C, T, 1, 1, 1)]


SHAPES = [(3, 2, 2), (1, 1, 1)]


def test_kept_features_are_what_the_trunk_gives(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path / "c", SHAPE)
    sources = mixed_sources(tmp_path, cache)
    store = FeatureStore(tmp_path / "s", SHAPES)
    assert not compute_features(sources, cache, Brightness(), store, 3, quiet)  # type: ignore[arg-type]
    stills, films_ = (next(s for s in sources if s.form == form).examples for form in ("still", "film"))
    assert all(example.feature_key(0, view) in store for example in stills for view in range(3))
    assert all(store.steps(example.feature_key(0, 0)) == 4 for example in films_)
    assert films_[0].feature_key(0, 1) not in store
    for reopened in (store, FeatureStore(tmp_path / "s", SHAPES)):
        levels = reopened.get([example.feature_key(0, 0) for example in films_])
        assert [tuple(level.shape) for level in levels] == [(4, 4, 3, 2, 2), (4, 4, 1, 1, 1)]
        for row, example in enumerate(films_):
            frames = cache.clip(example.item, 0, example.spans[0]).frames
            assert frames is not None
            expected = torch.from_numpy(frames.astype(np.float32)).mean(dim=(1, 2, 3)) / 255
            torch.testing.assert_close(levels[1][row].flatten(), expected, atol=1e-3, rtol=0)
    rows = store.rows
    compute_features(sources, cache, Brightness(), store, 3, quiet)  # type: ignore[arg-type]
    assert store.rows == rows  # nothing is computed twice


@pytest.mark.parametrize("left", ["half a row", "half a line", "a line without its row", "a row without its line"])
def test_what_a_killed_run_left_half_done_is_cut_off(tmp_path: Path, left: str) -> None:
    def maps(value: float) -> list[torch.Tensor]:
        return [torch.full((2, 3, 2, 2), value), torch.full((2, 1, 1, 1), value)]

    store = FeatureStore(tmp_path, SHAPES)
    with store.writing():
        store.add("a", maps(1.0))
        store.add("b", maps(2.0))
    rows, index = tmp_path / "rows.f16", tmp_path / "index.jsonl"
    if left == "half a row":
        rows.write_bytes(rows.read_bytes() + b"\1" * 7)
    elif left == "half a line":
        index.write_text(index.read_text() + '["c", 4')
    elif left == "a line without its row":
        index.write_text(index.read_text() + '["c", 4, 2]\n')
    else:
        rows.write_bytes(rows.read_bytes() + b"\1" * (2 * 2 * store.width))
    again = FeatureStore(tmp_path, SHAPES)
    assert "c" not in again
    with again.writing():
        again.add("d", maps(4.0))
    for reader in (again, FeatureStore(tmp_path, SHAPES)):
        values = [reader.get([key])[1].flatten().tolist() for key in ("a", "b", "d")]
        assert values == [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]


def test_a_store_is_written_only_while_it_is_held(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SHAPES)
    with pytest.raises(ValueError, match="held"):
        store.add("a", [torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 1, 1)])
    with store.writing(), pytest.raises(ValueError, match="values"):
        store.add("a", [torch.zeros(1, 3, 2, 2)])
