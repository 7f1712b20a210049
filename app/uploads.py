"""Receiving a video: multipart straight to the uploads folder, in bounded memory, complete or not at all.

The framework would spool the file to /tmp first, which is a small tmpfs in the container, so the parts are parsed
here as they arrive. Bytes are counted as they come: a declared length proves nothing. A sender that falls silent is
let go. An upload is locked as long as it is in the making: one without a lock was left behind by a service that was
killed, and goes when the next one starts.
"""

import asyncio
import fcntl
import logging
import os
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from app.problems import BadRequest, BodyTooLarge, RequestTimeout, Unprocessable
from app.schemas import UploadAccepted
from indexer import jobs
from indexer.catalog import Catalog, MediaRoot, Video, VideoState, VideoUri, media_root
from indexer.config import IndexSettings
from indexer.feed import content_hash
from indexer.library import video_of
from indexer.scan import MEDIA_SUFFIXES
from indexer.space import require_space, storage_errors
from indexer.tables import stored_name
from indexer.ulid import new_ulid
from model.durable import sync

BUFFER = 1 << 20
MAX_TITLE_BYTES = 4096
MAX_NAME_BYTES = 150
TEMPORARY = ".upload-"
logger = logging.getLogger("htav.uploads")
HINT = 'Send multipart/form-data with one part named "file".'


@dataclass
class Received:
    """A complete upload that lies, under a temporary name, in the uploads folder; `file` holds its lock."""

    file: BinaryIO
    path: Path
    name: str
    title: str


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None


class _Form:
    """Follows the parser: file bytes collect in `pending` until they are written, the title in `title`."""

    def __init__(self) -> None:
        self.part = _Part()
        self.header = ["", ""]
        self.pending = bytearray()
        self.title = bytearray()
        self.filename: str | None = None
        self.complete = False

    def on_part_begin(self) -> None:
        self.part = _Part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header[0] += data[start:end].decode("latin-1")

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header[1] += data[start:end].decode("utf-8", "replace")

    def on_header_end(self) -> None:
        self.part.headers[self.header[0].lower()] = self.header[1]
        self.header = ["", ""]

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.part.headers.get("content-disposition", "").encode())
        self.part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if self.part.name == "file":
            if self.filename is not None:
                raise Unprocessable("There are two files in the request.", "Send one file a request.")
            self.filename = safe_name(options.get(b"filename", b"").decode("utf-8", "replace"))
            if Path(self.filename).suffix.lower() not in MEDIA_SUFFIXES:
                hint = "Send a video or sound file under its usual name, e.g. holiday.mp4."
                raise Unprocessable("The file's name is not one of a media file.", hint, code="unsupported_format")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.part.name == "file":
            self.pending += data[start:end]
        elif self.part.name == "title":
            self.title += data[start:end]
            if len(self.title) > MAX_TITLE_BYTES:
                raise Unprocessable("The title is too long.", "At most 300 characters.")
        else:
            raise Unprocessable("The form has a part that is neither file nor title.", HINT)

    def on_end(self) -> None:
        self.complete = True

    def parser(self, boundary: bytes) -> MultipartParser:
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end")
        return MultipartParser(boundary, {f"on_{name}": getattr(self, f"on_{name}") for name in names})  # type: ignore[arg-type]


async def receive(
    stream: AsyncIterator[bytes], content_type: str, settings: IndexSettings, *, max_bytes: int, silence_s: float
) -> Received:
    """Write the upload to disk. Nothing is left behind unless it is complete."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Unprocessable("The body is not multipart/form-data.", HINT)
    form = _Form()
    try:
        parser = form.parser(options[b"boundary"])
    except FormParserError as err:
        raise BadRequest("The multipart boundary is malformed.", HINT) from err
    folder = settings.uploads_dir
    path = folder / f"{TEMPORARY}{new_ulid()}"
    file = _create(path)
    try:
        with storage_errors(path):
            await _copy(stream, parser, form, file, settings, max_bytes, silence_s)
        if form.filename is None or not form.complete:
            raise Unprocessable("The form has no complete file part.", HINT)
        if path.stat().st_size == 0:
            raise Unprocessable("The file is empty.", "Send the video's bytes.", code="empty")
        return Received(file, path, form.filename, clean_title(form.title.decode("utf-8", "replace")))
    except BaseException:
        _discard(file, path)
        raise


def _create(path: Path) -> BinaryIO:
    """A new file, locked until it is closed."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.stat(path)  # a service that starts may have taken the file for a leftover before it was locked
        except OSError:
            _discard(file, path)
            raise
    return file


def _discard(file: BinaryIO, path: Path) -> None:
    path.unlink(missing_ok=True)
    with suppress(OSError):  # closing writes what is buffered, for which a full disk has no room
        file.close()


def clear_leftovers(folder: Path) -> None:
    """Remove what killed services had received of uploads; what another service is receiving is left alone."""
    for path in folder.glob(f"{TEMPORARY}*"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            logger.warning("removed an upload that was broken off", extra={"file": path.name})
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError as err:
            logger.warning("an upload that was broken off cannot be removed: %s", err)


async def _copy(
    stream: AsyncIterator[bytes],
    parser: MultipartParser,
    form: _Form,
    file: BinaryIO,
    settings: IndexSettings,
    max_bytes: int,
    silence_s: float,
) -> None:
    received = 0
    while True:
        try:
            async with asyncio.timeout(silence_s):
                chunk = await anext(stream, None)
        except TimeoutError as err:
            raise RequestTimeout(f"No byte arrived for {silence_s:g} s.", "Send the upload again.") from err
        if chunk is None:
            break
        received += len(chunk)
        if received > max_bytes:
            raise BodyTooLarge(f"The upload is larger than {max_bytes} bytes.", "Index large files from a media root.")
        try:
            parser.write(chunk)
        except FormParserError as err:
            raise BadRequest("The multipart body is malformed.", HINT) from err
        if len(form.pending) >= BUFFER:
            await run_in_threadpool(_write, file, form.pending, settings)
    await run_in_threadpool(_write, file, form.pending, settings)
    await run_in_threadpool(_sync, file)


def _write(file: BinaryIO, pending: bytearray, settings: IndexSettings) -> None:
    require_space(settings, len(pending))
    file.write(pending)
    pending.clear()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def accept(received: Received, settings: IndexSettings, catalog: Catalog) -> UploadAccepted:
    """Keep a complete upload, make the video known, and queue the job that indexes it."""
    try:
        digest = content_hash(received.path)
        with catalog.transaction() as session:
            root = media_root(session, settings.uploads_dir)
            video = video_of(session, digest, title=received.title or Path(received.name).stem)
            # Once the video is ours: a purge of this instant may still remove the copy that is there.
            target = keep(received, settings.uploads_dir / video.id)
            _know(video, root, target)
            if received.title:
                video.title = received.title
            job_id = jobs.enqueue(session, [target.resolve()], kind="index", options={"retry": True})
            return UploadAccepted(job_id=job_id, video_id=UUID(video.id))
    finally:
        _discard(received.file, received.path)


def _know(video: Video, root: MediaRoot, path: Path) -> None:
    """The copy is a file of the video's, which is there again if it was deleted."""
    relative, status = stored_name(path.resolve().relative_to(root.path).as_posix()), path.stat()
    if video.state is VideoState.DELETED:  # sending it again asks for it, and what waits may be deleted
        video.state, video.deleted_at = VideoState.QUEUED, None
    if not any((uri.root_id, uri.path) == (root.id, relative) for uri in video.uris):
        video.uris.append(VideoUri(root_id=root.id, path=relative, size=status.st_size, mtime_ns=status.st_mtime_ns))


def keep(received: Received, folder: Path) -> Path:
    """Move a complete upload to where it stays; one that is there already (equal content) stays."""
    target = folder / received.name
    with storage_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
        present = [entry for entry in folder.iterdir() if entry.is_file()]
        if present:
            received.path.unlink()
            return present[0]
        os.replace(received.path, target)
        sync(folder)
        sync(folder.parent)
    return target


def safe_name(name: str) -> str:
    """A file name that means nothing to any file system: no folders, no leading dot, no control character."""
    base = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    base = re.sub(r"[\x00-\x1f\x7f-\x9f<>:\"|?*\ud800-\udfff]", "_", base).strip(" .")
    stem, dot, extension = base.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,8}", extension):
        stem, extension = base, ""
    stem = stem.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore") or "upload"
    return f"{stem}.{extension}" if extension else stem


def clean_title(title: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", title).strip()[:300]
