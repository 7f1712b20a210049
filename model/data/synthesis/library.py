"""The public entry of the synthesis: one request in, a folder of media files with its manifest out."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from model.data.synthesis.record import Item, read_lines, write_lines
from model.data.synthesis.request import Request, RequestError
from model.data.synthesis.sample import DEMO_QUERIES, SAMPLE_FILES, DemoQuery, sample_library

__all__ = ["DEMO_QUERIES", "SAMPLE_FILES", "DemoQuery", "Report", "Request", "sample_library", "synthesise"]

MAKERS = {
    "utterances": ("model.data.synthesis.utterances", "make_utterances"),
    "talkers": ("model.data.synthesis.talkers", "make_talkers"),
    "scenes": ("model.data.synthesis.scenes", "make_scenes"),
    "photos": ("model.data.synthesis.photos", "make_photos"),
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
    group, folder = request.kind, request.out / f"{request.kind}-{request.split}"
    earlier = list(read_lines(request.out))
    others = [line for line in earlier if (line["group"], line["split"]) != (group, request.split)]
    if len(others) < len(earlier) and not request.overwrite:
        raise RequestError(
            f"{request.out} already holds {len(earlier) - len(others)} {group} of the {request.split} split.",
            "Choose another folder, or replace them with --overwrite.",
        )
    try:
        if request.overwrite and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"Cannot write to {request.out}: {error}.", "Choose another folder.") from error
    made: list[Item] = []
    try:
        for item in make_items(request):
            made.append(item)
            progress(len(made))
    finally:
        lines = [item.line(request.chosen_texts) for item in sorted(made, key=lambda item: item.file)]
        write_lines(request.out, [*others, *lines])
    return Report(len(made), sum(item.duration_s for item in made))
