"""The model's own commands: synth, train, evaluate. Each only reads its options and calls its module."""

from pathlib import Path
from typing import Annotated, Any

import typer

from model.errors import HtavError

commands = typer.Typer(no_args_is_help=True, add_completion=False)


@commands.callback()
def model_commands() -> None:
    """Make data, train and evaluate."""


@commands.command()
def synth(
    out: Annotated[Path, typer.Argument(help="The folder to write to; its manifest.jsonl is added to.")],
    kind: Annotated[
        str, typer.Option(help="utterances, talkers, scenes, photos, or sample (the demo library).")
    ] = "sample",
    count: Annotated[int, typer.Option(help="How many files.")] = 100,
    split: Annotated[str, typer.Option(help="train, val or test: their sentences and voices never meet.")] = "train",
    seed: Annotated[int, typer.Option(help="Equal seeds make equal files.")] = 0,
    texts: Annotated[str | None, typer.Option(help="The queries: said, seen, heard, order, together or all.")] = None,
    container: Annotated[str | None, typer.Option(help="mp4, mkv, avi, webm; for sound flac, ogg, m4a, wav.")] = None,
    codec: Annotated[str | None, typer.Option(help="h264, hevc, vp9 or mpeg4.")] = None,
    size: Annotated[int, typer.Option(help="Lines of a frame.")] = 256,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 12.5,
    people: Annotated[int, typer.Option(help="How many different people talk.")] = 43,
    sayers: Annotated[int, typer.Option(help="How many of them say each sentence.")] = 1,
    sentences: Annotated[Path | None, typer.Option(help="Say the lines of this text file instead.")] = None,
    photos: Annotated[Path | None, typer.Option(help="A folder of captioned images with a manifest.jsonl.")] = None,
    spoken: Annotated[
        str, typer.Option(help="What is said over a photo: an unrelated sentence, or its caption.")
    ] = "sentence",
    noise: Annotated[str, typer.Option(help="none, white, pink, brown, music, babble or mixed.")] = "none",
    snr: Annotated[float, typer.Option(help="Speech above the noise, in decibels.")] = 10.0,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier run of this kind and split.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make media files with known contents: what is seen, what is said, what is heard, and when."""
    from model.data.synthesis.command import run_synth

    options: dict[str, Any] = {
        "out": out, "kind": kind, "count": count, "split": split, "seed": seed, "texts": texts, "container": container,
        "codec": codec, "size": size, "fps": fps, "people": people, "sayers": sayers, "sentences": sentences,
        "photos": photos, "spoken": spoken, "noise": noise, "snr_db": snr, "overwrite": overwrite,
    }  # fmt: skip
    run_synth(options, json_output)


def main() -> None:
    """Run the model's commands alone; the `htav` script adds those of the other rooms."""
    try:
        commands()
    except HtavError as error:
        typer.echo(f"error: {error.message}\n{error.hint}".rstrip(), err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
