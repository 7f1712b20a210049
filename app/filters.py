"""A client's filter as SQL on the catalog, and as the videos it admits.

The videos are chosen before the vector search, never after: filtering an answer afterwards would lose results.
"""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, and_, func, not_, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.schemas import Filter, SecondsRange, TimeRange
from indexer.catalog import SEARCHABLE, Video, VideoTag, VideoUri


def condition(filter: Filter) -> ColumnElement[bool]:
    """The SQL condition on `video` that a filter means."""
    return and_(true(), *_conditions(filter))


def _conditions(filter: Filter) -> Iterator[ColumnElement[bool]]:
    yield from _bounds(Video.duration_s, filter.duration_s)
    yield from _bounds(Video.added_at, filter.added_at)
    yield from _bounds(Video.recorded_at, filter.recorded_at)
    if filter.has_audio is not None:
        yield Video.has_audio.is_(filter.has_audio)
    if filter.collection is not None:
        yield Video.collection == filter.collection
    for tag in filter.tags or []:
        yield select(VideoTag.tag).where(VideoTag.video_id == Video.id, VideoTag.tag == tag).exists()
    if filter.path_prefix is not None:
        yield _under(filter.path_prefix)
    if filter.all_of is not None:
        yield and_(true(), *(condition(part) for part in filter.all_of))
    if filter.any_of is not None:
        yield or_(~true(), *(condition(part) for part in filter.any_of))
    if filter.none_of is not None:
        # A condition on a value that is not there is unknown in SQL, and so would be its negation.
        yield not_(func.coalesce(condition(filter.none_of), ~true()))


def _bounds(
    column: InstrumentedAttribute[Any], bounds: SecondsRange | TimeRange | None
) -> Iterator[ColumnElement[bool]]:
    if bounds is None:
        return
    if bounds.gt is not None:
        yield column > bounds.gt
    if bounds.gte is not None:
        yield column >= bounds.gte
    if bounds.lt is not None:
        yield column < bounds.lt
    if bounds.lte is not None:
        yield column <= bounds.lte


def _under(prefix: str) -> ColumnElement[bool]:
    """Whether a present file of the video lies under the prefix; exact, where LIKE would ignore case on SQLite."""
    start = func.substr(VideoUri.path, 1, len(prefix))
    present = VideoUri.missing_since.is_(None)
    return select(VideoUri.id).where(VideoUri.video_id == Video.id, present, start == prefix).exists()


def admitted(session: Session, filter: Filter | None, modalities: Collection[str]) -> dict[str, float]:
    """The searchable videos that the filter admits and that have any of the modalities, with their seconds."""
    query = select(Video.id, func.coalesce(Video.duration_s, 0.0)).where(Video.state.in_(SEARCHABLE))
    if filter is not None:
        query = query.where(condition(filter))
    if "audio" not in modalities:
        query = query.where(Video.has_video)
    if "video" not in modalities:
        query = query.where(Video.has_audio)
    rows = session.execute(query)
    return {video_id: float(seconds) for video_id, seconds in rows}
