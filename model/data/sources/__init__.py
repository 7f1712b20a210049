"""Public sources of human speech, of sentences to be said and of recorded sounds, made into folders for training.

Each source is one module that reads one published archive as it is; here is the list. A source writes mono 16 kHz FLAC
files and a manifest.jsonl, or lists of sentences, into its own folder, so that any of them can be left out of a
training run.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from model.data.sources.common import Report, SourceError
from model.progress import Count

__all__ = ["SOURCES", "Gather", "Count", "Report", "SourceError", "gather"]

Gather = Callable[[Path, Path | None, Count], Report]

# name: the module and its function; imported when asked for, so that one source's libraries are not another's
SOURCES: dict[str, tuple[str, str]] = {
    "asterisk": ("model.data.sources.asterisk", "gather"),
    "effects": ("model.data.sources.effects", "gather"),
    "queen": ("model.data.sources.queen", "gather"),
    "sky": ("model.data.sources.sky", "gather"),
    "sentences": ("model.data.sources.sentences", "gather"),
}


def gather(source: str, out: Path, packages: Path | None, progress: Count) -> Report:
    """Write the source's files and manifest into `out / source`; `packages` holds its downloaded packages.

    Raises SourceError when there is no such source, or its package is missing or not as expected.
    """
    if source not in SOURCES:
        raise SourceError(f"There is no source {source!r}.", f"Choose one of: {', '.join(SOURCES)}.")
    module, name = SOURCES[source]
    function: Gather = getattr(import_module(module), name)
    folder = out / source
    folder.mkdir(parents=True, exist_ok=True)
    return function(folder, packages, progress)
