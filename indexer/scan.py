"""Which files are there: walking media roots without leaving them.

A *root* is a folder whose files may be indexed. The owner adds roots by naming a path on the command line; a path that
comes through the API must lie in a root already. Symbolic links are followed only if their target lies in a root, and
the target is what is indexed, so that nothing is found twice. Only names and `stat` are looked at, no content.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import OutsideMediaRoot, PathNotFound
from indexer.tables import MAX_NAME_BYTES, file_path, stored_name

PATH_TOO_LONG = "path_too_long"
SHORTENED_BYTES = 200
UNREADABLE = "The user that HTAV runs as may not read the file. Give it permission, then index the file again."
MEDIA_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .h264 .hevc .ivf .m1v .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts"
    " .mxf .ogm .ogv .qt .ts .vob .webm .wmv .264 .265"
    " .aac .ac3 .aif .aiff .amr .ape .au .caf .eac3 .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .sph .tta .w64 .wav .wma"
    " .wv".split()
)


@dataclass(frozen=True)
class Found:
    """A file with a media suffix; `path` is relative to its root, as the catalog stores names.

    `problem` is (code, message) for what has such a name but must not or cannot be opened.
    """

    root: Path
    path: str
    size: int = 0
    mtime_ns: int = 0
    problem: tuple[str, str] | None = None

    @property
    def file_path(self) -> Path:
        return file_path(str(self.root), self.path)


@dataclass(frozen=True)
class Scope:
    """A part of a root that was asked for; "" is all of it. `exists` is false for what the disk no longer has."""

    root: Path
    path: str
    is_file: bool
    exists: bool = True

    @property
    def file_path(self) -> Path:
        return file_path(str(self.root), self.path)


def resolve(given: str | Path, roots: Collection[Path], *, owner: bool) -> Scope:
    """Turn a path into a scope. `owner`: it is relative to the working folder, and may become a root itself.

    Raises OutsideMediaRoot and, for the owner's paths only, PathNotFound: elsewhere a path may be gone but known.
    """
    target = _real(given, roots, owner)
    root = deepest_root(target, roots)
    if root is None and not owner:  # before any look at it: others must not learn what lies outside
        hint = "Add its folder to HTAV_MEDIA_ROOTS, or index it once on the command line."
        raise OutsideMediaRoot(f"{_shown(given)} lies outside the media roots.", hint)
    try:
        mode = target.stat().st_mode
    except (OSError, ValueError) as err:
        if root is None:
            raise PathNotFound(f"{_shown(given)} does not exist or cannot be read.", "Check the path.") from err
        return Scope(root, _relative(target, root), is_file=False, exists=False)
    is_folder = stat.S_ISDIR(mode)
    if root is None:
        root = target if is_folder else target.parent
    return Scope(root, _relative(target, root), is_file=not is_folder)


def resolve_again(given: str | Path, roots: Collection[Path], *, owner: bool) -> Scope:
    """`resolve` for a path whose files are to be tried again: a media file in a root stays where it was met.

    Most of all a link that was refused: `scan` judges it by where it leads. Followed here, it would pass for a path
    that the owner has named, and make a root of the folder it leads to or end the run for all files beside it.
    """
    path = file_path("", str(given))
    root = deepest_root(path, roots)
    is_folder = os.path.isdir(path) and not os.path.islink(path)
    if root is None or is_folder or path.suffix.lower() not in MEDIA_SUFFIXES:
        return resolve(given, roots, owner=owner)
    return Scope(root, _relative(path, root), is_file=True, exists=os.path.lexists(path))


def scan(scopes: Sequence[Scope], roots: Collection[Path], skip: Sequence[Path] = ()) -> Iterator[Found]:
    """Every file with a media suffix in the scopes, each once. `skip` names folders that are not entered (our own)."""
    known = dict.fromkeys([*roots, *(scope.root for scope in scopes)])
    seen: set[tuple[Path, str]] = set()
    for scope in scopes:
        if not scope.exists:
            continue
        start = scope.file_path
        for path in [start] if scope.is_file else _walk(start, known, set(skip) - {start}):
            found = _look(path, known)
            if found is not None and (found.root, found.path) not in seen:
                seen.add((found.root, found.path))
                yield found


def deepest_root(path: Path, roots: Collection[Path]) -> Path | None:
    """The root a file belongs to: the innermost one, so that a root added around another changes nothing."""
    return next((folder for folder in (path, *path.parents) if folder in roots), None)


def _real(given: str | Path, roots: Collection[Path], owner: bool) -> Path:
    """Links and `..` resolved; a relative path through the API is relative to a root that has it.

    Through the API, a loop of links is no error of its own: it would tell that there is one, wherever it lies.
    """
    try:
        path = file_path("", str(given))  # the catalog's form of a name is as good as the disk's
        if not owner and not path.is_absolute():
            choices = [Path(os.path.realpath(root / path)) for root in roots]
            inside = [choice for choice in choices if deepest_root(choice, roots) is not None]
            present = [choice for choice in inside if choice.exists()]
            if not inside:
                raise OutsideMediaRoot(f"{_shown(given)} lies outside the media roots.", "Give a path inside one.")
            return (present or inside)[0]
        return path.resolve() if owner else Path(os.path.realpath(path))
    except (OSError, ValueError, RuntimeError) as err:  # too long, a NUL in it, a loop of links
        raise PathNotFound(f"{_shown(given)} is no path.", "Check the path.") from err


def _walk(start: Path, roots: Collection[Path], skip: set[Path]) -> Iterator[Path]:
    """Files below a folder, by name; hidden ones are left out. Each folder is entered once, whatever links say."""
    entered: set[Path] = set()
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        if folder in entered or folder in skip:
            continue
        entered.add(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:  # not ours to read: its files are unknown, not missing media
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if _is_folder(entry):
                real = path.resolve() if entry.is_symlink() else path
                if deepest_root(real, roots) is not None:
                    waiting.append(real)
            else:
                yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _look(path: Path, roots: Collection[Path]) -> Found | None:
    """The file behind a name, or what is wrong with it; None when the name is not a media file's."""
    if path.suffix.lower() not in MEDIA_SUFFIXES:
        return None
    outside = deepest_root(path.parent, roots) or path.parent
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError) as err:
        reason = getattr(err, "strerror", None) or "a loop of links"
        return _problem(outside, path, "unreadable", f"The file cannot be read: {reason}.")
    root = deepest_root(real, roots)
    if root is None:
        return _problem(outside, path, "outside_media_root", "The link leads out of the media roots.")
    if not stat.S_ISREG(status.st_mode):
        return _problem(outside, path, "not_a_file", "This is no regular file.")
    if not os.access(real, os.R_OK):
        return _problem(outside, path, "unreadable", UNREADABLE)
    name = _relative(real, root)
    if not _fits(name):
        message = f"The path is {len(name.encode())} bytes long; the catalog takes {MAX_NAME_BYTES} below a media root."
        return _problem(root, real, PATH_TOO_LONG, message)
    return Found(root, name, status.st_size, status.st_mtime_ns)


def _problem(root: Path, path: Path, code: str, message: str) -> Found:
    """A file that is not opened; a path that the catalog cannot take is shown by its beginning and a digest."""
    name = _relative(path, root)
    if not _fits(name):
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name.encode()[:SHORTENED_BYTES].decode(errors='ignore')}...{digest}{path.suffix}"
        code = PATH_TOO_LONG
    return Found(root, name, problem=(code, message))


def _fits(name: str) -> bool:
    return len(name.encode()) <= MAX_NAME_BYTES


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else stored_name(relative)


def _shown(given: str | Path) -> str:
    text = str(given).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= 200 else f"{text[:200]}..."
