"""The public entry of the synthesis: one request in, a folder of media files with its manifest out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from model.data.manifest import write_manifest
from model.data.synthesis.record import Item, SynthesisError, read_lines
from model.data.synthesis.request import Request
from model.data.synthesis.sample import DEMO_QUERIES, SAMPLE_FILES, DemoQuery, sample_library

__all__ = ["DEMO_QUERIES", "SAMPLE_FILES", "DemoQuery", "Report", "Request", "sample_library", "synthesise"]

MAKERS = {
    "utterances": ("model.data.synthesis.utterances", "make_utterances"),
    "talkers": ("model.data.synthesis.talkers", "make_talkers"),
    "scenes": ("model.data.synthesis.scenes", "make_scenes"),
    "photos": ("model.data.synthesis.photos", "make_photos"),
    "portraits": ("model.data.synthesis.stills", "make_portraits"),
    "shots": ("model.data.synthesis.stills", "make_shots"),
}


@dataclass(frozen=True)
class Report:
    """What a synthesis made."""

    files: int
    media_s: float


def make_items(request: Request) -> Iterator[Item]:
    """Write the files of a request one by one."""
    module, function = MAKERS[request.kind]
    items: Iterator[Item] = getattr(import_module(module), function)(request)
    return items


def synthesise(request: Request, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Make the files and add them to the folder's manifest; `progress` hears how many are done.

    An interrupted run leaves a manifest of what is there. A second run of one kind and split is refused unless
    `request.overwrite`, and then replaces the first.
    """
    earlier = read_lines(request.out)
    kept = [line for line in earlier if (line.get("group"), line.get("split")) != (request.kind, request.split)]
    replaced = [line for line in earlier if (line.get("group"), line.get("split")) == (request.kind, request.split)]
    if replaced and not request.overwrite:
        raise SynthesisError(
            f"{request.out} already holds {len(replaced)} {request.kind} of the {request.split} split.",
            "Choose another folder, or replace them with --overwrite.",
        )
    made: list[Item] = []
    folder = f"{request.kind}-{request.split}"
    try:
        if replaced:  # first of all: a manifest never names a file that is another by now
            write_manifest(request.out, kept)
        remove(request.out, folder, replaced)
        (request.out / folder).mkdir(parents=True, exist_ok=True)
        try:
            for item in make_items(request):
                made.append(item)
                progress(len(made))
        finally:
            lines = [item.line(request.chosen_texts) for item in sorted(made, key=lambda item: item.file)]
            write_manifest(request.out, [*kept, *lines])
    except OSError as error:
        raise SynthesisError(f"Cannot write to {request.out}: {error}.", "Choose a folder with room.") from error
    return Report(len(made), sum(item.duration_s for item in made))


def remove(out: Path, folder: str, lines: list[dict[str, Any]]) -> None:
    """Delete the files that an earlier run made in its own folder, and nothing else."""
    for line in lines:
        path = Path(str(line["file"]))
        if path.parent == Path(folder):
            (out / path).unlink(missing_ok=True)
