"""Media is decoded once and kept whole; pictures, sounds, films and parts of them become clips."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.containers import MediaError
from model.data import items
from model.data.items import ClipCache, Shape, content_key, items_digest
from model.data.manifest import Item, load_manifest
from tests.media_files import tone, write_media
from tests.model.small_data import COLOURS, SHAPE, films, photographs, picture, write_lines


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


def test_whatever_a_manifest_says_and_every_byte_is_in_its_digest_but_not_its_place(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 1, ("test",))
    shutil.copytree(folder, tmp_path / "copy")
    (folder / "test-red-0.jpg").unlink()  # what is missing has a digest, too
    lines = [json.loads(line) for line in (tmp_path / "copy" / "manifest.jsonl").read_text().splitlines()]
    digests = [items_digest(load_manifest(folder)), items_digest(load_manifest(tmp_path / "copy"))]
    for change in ({"kind": "sound"}, {"seen": ["a red car"]}, {"relevance_key": "k"}, {"reversed_text": ["a"]}):
        digests.append(items_digest(load_manifest(write_lines(folder, [lines[0] | change, *lines[1:]]))))
    digests.append(items_digest(load_manifest(write_lines(folder, lines[::-1]))))
    assert len(set(digests)) == len(digests)
    shutil.copy(tmp_path / "copy" / "test-red-0.jpg", folder)
    assert items_digest(load_manifest(write_lines(folder, lines))) == digests[1]


def test_the_clips_of_one_file_share_a_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_media(tmp_path / "long.mp4", seconds=30.0, fps=4, size=(64, 48))
    asked: list[Path] = []
    real = items.media.probe
    monkeypatch.setattr(items.media, "probe", lambda path: asked.append(path) or real(path))
    item = load_manifest(write_lines(tmp_path, [{"file": "long.mp4", "texts": ["x"], "kind": "visual"}]))[0]
    spans = items.look(item).spans
    assert len(spans) == 4 and all(items.decode(item, span, SHAPE).frames is not None for span in spans)
    assert len(asked) == 1
    write_media(tmp_path / "long.mp4", seconds=15.0, fps=4, size=(64, 48))  # another file by the same name
    assert len(items.look(item).spans) == 2


def test_what_was_seen_of_a_file_is_looked_at_again_where_it_is_damaged(tmp_path: Path) -> None:
    item, cache = load_manifest(films(tmp_path / "f", 1))[0], ClipCache(tmp_path / "cache", SHAPE)
    found = cache.look(item)
    (kept,) = (tmp_path / "cache").rglob("*.look.json")
    for damage in ("", "[]", '{"spans": [[0, 1]]}'):
        kept.write_text(damage)
        assert cache.look(item) == found


def test_a_file_that_may_not_be_read_is_an_item_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = load_manifest(photographs(tmp_path, 1))[0]

    def refused(*_: object) -> str:
        raise PermissionError(13, "Permission denied", str(item.paths()[0]))

    monkeypatch.setattr(items, "_file_digest", refused)
    with pytest.raises(MediaError, match="cannot be read: Permission denied"):
        content_key(item)
