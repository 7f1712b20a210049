"""Small indexes for tests: videos with random token sets and coarse vectors, all from a seed."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.publish import publish
from indexer.tables import Clip, MediaRoot, Video, VideoState, VideoUri, video_id
from indexer.writer import ClipWriter, NewClip
from model.tokens import TokenSet

WIDTH = 8
FINGERPRINT = "f" * 16
MODEL = "htav-test@ffff"
CLIPS_EACH = 3


def content_hash(number: int) -> str:
    return f"{number:064x}"


def ident(number: int) -> str:
    """The id of sample video `number`."""
    return video_id(content_hash(number))


def tokens(number: int, ordinal: int) -> TokenSet:
    """The token set of a clip, the same in every process."""
    rng = np.random.default_rng([number, ordinal])
    V, A = 5, 3
    return TokenSet(
        rng.integers(-127, 128, (V, WIDTH), np.int8),
        rng.random(V, np.float32),
        np.arange(V, dtype=np.float32),
        np.zeros(V, np.uint8),
        rng.integers(-127, 128, (A, WIDTH), np.int8),
        rng.random(A, np.float32),
        np.arange(A, dtype=np.float32),
    )


def coarse(number: int, ordinal: int) -> NDArray[np.float32]:
    """Coarse vectors [3d], each block of length 1."""
    blocks = np.random.default_rng([number, ordinal, 1]).standard_normal((3, WIDTH)).astype(np.float32)
    return (blocks / np.linalg.norm(blocks, axis=1, keepdims=True)).reshape(-1)


def reading(number: int, ordinal: int) -> str:
    """What is heard in a clip: twenty letters of its own."""
    rng = np.random.default_rng([number, ordinal, 2])
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 20))


def clips(number: int, count: int = CLIPS_EACH) -> list[NewClip]:
    return [
        NewClip(
            ordinal,
            8.0 * ordinal,
            8.0 * ordinal + 10,
            tokens(number, ordinal).to_bytes(),
            coarse(number, ordinal),
            reading(number, ordinal),
        )
        for ordinal in range(count)
    ]


def add_videos(catalog: Catalog, numbers: Iterable[int], state: VideoState = VideoState.READY) -> None:
    """Rows of videos without clips, each with one uri `<number>.mp4` below /media."""
    with catalog.transaction() as session:
        root = session.query(MediaRoot).filter_by(path="/media").one_or_none() or MediaRoot(path="/media")
        session.add(root)
        for number in numbers:
            video = Video(id=ident(number), content_hash=content_hash(number), state=state, duration_s=26.0)
            video.uris.append(VideoUri(root=root, path=f"{number}.mp4", size=number, mtime_ns=number))
            session.add(video)


def writer(settings: IndexSettings, catalog: Catalog, fingerprint: str = FINGERPRINT, **options: int) -> ClipWriter:
    return ClipWriter(settings, catalog, fingerprint, WIDTH, **options)


def fill(settings: IndexSettings, catalog: Catalog, numbers: Sequence[int], fingerprint: str = FINGERPRINT) -> None:
    """Videos with their clips, committed one video at a time."""
    with catalog.session() as session:
        missing = [number for number in numbers if session.get(Video, ident(number)) is None]
    add_videos(catalog, missing)
    with writer(settings, catalog, fingerprint) as open_writer:
        for number in numbers:
            open_writer.commit(ident(number), clips(number))


def release(settings: IndexSettings, catalog: Catalog, fingerprint: str = FINGERPRINT, **options: object) -> str:
    """Publish with the samples' model name and width."""
    return publish(settings, catalog, fingerprint=fingerprint, model=MODEL, width=WIDTH, **options)  # type: ignore[arg-type]


def set_state(catalog: Catalog, number: int, state: VideoState) -> None:
    with catalog.transaction() as session:
        session.get_one(Video, ident(number)).state = state


def clip_id(catalog: Catalog, number: int, ordinal: int = 0, fingerprint: str = FINGERPRINT) -> int:
    with catalog.session() as session:
        wanted = {"video_id": ident(number), "ordinal": ordinal, "fingerprint": fingerprint}
        return session.query(Clip).filter_by(**wanted).one().id
