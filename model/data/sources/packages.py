"""Debian packages as archives of data: found in a folder or fetched with apt-get, unpacked but not installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.data.sources.common import SourceError


@contextmanager
def unpacked(name: str, packages: Path | None) -> Iterator[Path]:
    """The files of a package, for as long as the context lasts.

    `packages` is the folder of .deb files, or of packages unpacked already, each under its name; one that is missing
    there is fetched into it. Without a folder the package is fetched and forgotten. Raises SourceError when it can be
    neither found nor fetched, or not unpacked.
    """
    if packages is not None and (packages / name).is_dir():
        yield packages / name
        return
    with tempfile.TemporaryDirectory(prefix="htav-package-") as scratch:
        archive = find_archive(name, packages) if packages else None
        archive = archive or fetch(name, packages or Path(scratch))
        root = Path(scratch) / "files"
        _run(["dpkg-deb", "-x", str(archive), str(root)], f"{archive} cannot be unpacked", f"Fetch {name} again.")
        yield root


def find_archive(name: str, packages: Path) -> Path | None:
    """The newest `name_version_architecture.deb` of a folder."""
    return max(packages.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime, default=None)


def fetch(name: str, packages: Path) -> Path:
    """Download a package into a folder with apt-get."""
    packages.mkdir(parents=True, exist_ok=True)
    line = f"cd {packages} && apt-get download {name}"
    hint = f"On a Debian system run `{line}`, then give that folder with --packages."
    _run(
        ["apt-get", "download", name], f"The package {name} is not in {packages} and cannot be fetched", hint, packages
    )
    archive = find_archive(name, packages)
    if archive is None:
        raise SourceError(f"apt-get left no {name}_*.deb in {packages}.", hint)
    return archive


def one_file(root: Path, pattern: str, package: str) -> Path:
    """The file of an unpacked package that matches; SourceError where the package is laid out otherwise."""
    found = sorted(root.rglob(pattern))
    if not found:
        raise SourceError(f"{package} holds no {pattern}.", "Its layout has changed, or it is another version.")
    return found[0]


def _run(command: list[str], fault: str, hint: str, folder: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise SourceError(f"{fault}: there is no {command[0]} here.", hint)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SourceError(f"{fault}: {done.stderr.strip().splitlines()[-1:] or done.returncode}.", hint)
