"""`python -m model.training.curve OUT --data DATA`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from model.bars import Bars
from model.boundary import reported
from model.retriever import Retriever
from model.training import named
from model.training.curve.report import write_report
from model.training.curve.run import Request, learning_curve


def main(
    out: Annotated[Path, typer.Argument(help="Where the curve goes, and what the trunks say.")],
    data: Annotated[Path, typer.Option(help="The folder that holds flickr8k and clips.")],
    seeds: Annotated[int, typer.Option(help="Trainings of each part.", min=1)] = Request.seeds,
    steps: Annotated[int, typer.Option(help="Steps of each training.", min=1)] = Request.steps,
) -> None:
    """Train heads on an eighth, a quarter, a half and all of photographs and names, and say what more would give."""
    retriever = Retriever.from_preset("compact", pretrained=True).requires_grad_(False)
    shapes = [(channels, 1, 1) for channels in retriever.config.video.channels]
    classifier = named.published_classifier(retriever.config.video, shapes)
    with Bars(quiet=False) as bars:
        rows = learning_curve(Request(data, out, seeds, steps), retriever, classifier, bars)
    sys.stdout.write(write_report(rows, out))


if __name__ == "__main__":
    with reported():
        typer.run(main)
