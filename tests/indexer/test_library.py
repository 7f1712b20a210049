"""What the library costs: the catalog and the disk are asked about each file, never about each file for each other."""

import cProfile
import pstats
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import event, func, select, update

from indexer import failures, listing
from indexer.catalog import Catalog, media_root
from indexer.config import IndexSettings
from indexer.library import Library
from indexer.scan import resolve_again, scan
from indexer.tables import Clip, Segment, Video, VideoState, VideoUri, now, video_id
from indexer.ulid import new_ulid

FEW, MANY = 100, 800


def known_files(catalog: Catalog, folder: Path, number: int) -> list[Path]:
    """Files on disk and in the catalog, one in five of them failed, as the last run of another model left them."""
    folder.mkdir(parents=True)
    paths = [folder / f"{index}.mp4" for index in range(number)]
    with catalog.transaction() as session:
        root = media_root(session, folder).id
        for path in paths:
            path.write_bytes(b"x")
            status, identity = path.stat(), video_id(path.name)
            video = Video(id=identity, content_hash=path.name, state=VideoState.READY, duration_s=2.0)
            video.uris = [VideoUri(root_id=root, path=path.name, size=status.st_size, mtime_ns=status.st_mtime_ns)]
            session.add(video)
        for path in paths[::5]:
            failures.record(session, root, path.name, "damaged", "")
    return paths


def calls(work: Callable[[], object]) -> int:
    """Steady where time is not."""
    with cProfile.Profile() as profile:
        work()
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]


def costs(folder: Path, number: int) -> dict[str, int]:
    """What each step of `htav reindex` and `htav retry` costs, which name their files one by one."""
    settings = IndexSettings(data_dir=folder / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        paths = known_files(catalog, folder / "library", number)
        assert listing.live_files(catalog) == sorted(map(str, paths))
        library = Library(settings, catalog, "fingerprint")
        roots = library.roots()
        scopes = [resolve_again(path, roots, owner=True) for path in paths]
        found = list(scan(scopes, roots))
        assert len(library.compare(scopes, found, retry=False, asked_at=None).failed) == number // 5
        spent = {
            "resolve": calls(lambda: [resolve_again(path, roots, owner=True) for path in paths]),
            "scan": calls(lambda: list(scan(scopes, roots))),
            "retry": calls(lambda: library.compare(scopes, found, retry=True, asked_at=None)),
            "compare": calls(lambda: library.compare(scopes, found, retry=False, asked_at=None)),
            "hide": calls(lambda: library.hide_missing(scopes)),
        }
        for path in paths:
            path.unlink()
        spent["hide all"] = calls(lambda: library.hide_missing(scopes))
        assert not failures.failed_files(catalog) and not listing.live_files(catalog)
    return spent


def test_what_files_named_one_by_one_cost_grows_with_their_number_alone(tmp_path: Path) -> None:
    few, many = (costs(tmp_path / str(number), number) for number in (FEW, MANY))
    growth = {step: many[step] / few[step] for step in few}
    assert {step: ratio for step, ratio in growth.items() if ratio > 1.25 * MANY / FEW} == {}


def statements_to_bring_back(folder: Path, number: int) -> int:
    """How often the database is asked when a disk with so many videos is there again."""
    settings = IndexSettings(data_dir=folder / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        known_files(catalog, folder / "library", number)
        with catalog.transaction() as session:
            segment = Segment(id=new_ulid(), fingerprint="fingerprint", width=8, end=64)
            session.add(segment)
            places = dict.fromkeys(("offset", "length", "crc32", "coarse_offset", "coarse_length", "coarse_crc32"), 0)
            for video in session.scalars(select(Video)):  # each is whole: it has its one clip
                clip = Clip(video_id=video.id, fingerprint="fingerprint", ordinal=0, start_s=0.0, end_s=2.0, **places)
                clip.segment_id = segment.id
                session.add(clip)
            session.flush()
            session.execute(update(Video).values(state=VideoState.MISSING, missing_since=now()))
            session.execute(update(VideoUri).values(missing_since=now()))
        library = Library(settings, catalog, "fingerprint")
        roots = library.roots()
        scopes = [resolve_again(folder / "library", roots, owner=True)]
        found, asked = list(scan(scopes, roots)), 0

        def count(*_: object) -> None:
            nonlocal asked
            asked += 1

        event.listen(catalog.engine, "before_cursor_execute", count)
        library.compare(scopes, found, retry=False, asked_at=None)
        event.remove(catalog.engine, "before_cursor_execute", count)
        with catalog.session() as session:
            shown = select(func.count()).where(Video.state == VideoState.READY, Video.missing_since.is_(None))
            assert session.scalar(shown) == number
    return asked


def test_a_disk_that_is_there_again_asks_the_catalog_no_question_for_each_video(tmp_path: Path) -> None:
    few, many = (statements_to_bring_back(tmp_path / str(number), number) for number in (FEW, MANY))
    assert many - few < (MANY - FEW) / 10, "only in portions of hundreds"
