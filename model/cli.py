"""The model's own commands, from synth to ablate. Each only reads its options and calls its module."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from model.boundary import reported

commands = typer.Typer(no_args_is_help=True, add_completion=False)


@commands.callback()
def model_commands() -> None:
    """Make data, train and evaluate."""


@commands.command()
def synth(
    out: Annotated[Path, typer.Argument(help="The folder to write to; its manifest.jsonl is added to.")],
    kind: Annotated[
        str, typer.Option(help="utterances, talkers, scenes, photos, portraits, shots, or sample (the demo library).")
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
    engine: Annotated[
        str, typer.Option(help="Who speaks: espeak, flite (train only) or festival (test only).")
    ] = "espeak",
    voices: Annotated[str, typer.Option(help="named, or drawn: each utterance in a throat of its own.")] = "named",
    sentences: Annotated[
        list[str] | None,
        typer.Option(help="Say the lines of this text file, or a data folder's texts; repeat it to take turns."),
    ] = None,
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
        "codec": codec, "size": size, "fps": fps, "people": people, "sayers": sayers, "engine": engine,
        "voices": voices, "sentences": tuple(sentences or ()),
        "photos": photos, "spoken": spoken, "noise": noise, "snr_db": snr, "overwrite": overwrite,
    }  # fmt: skip
    run_synth(options, json_output)


@commands.command()
def gather(
    out: Annotated[Path, typer.Argument(help="The folder to write to; each source gets a folder of its own in it.")],
    source: Annotated[str, typer.Option(help="Which one; docs/training-data.md describes them.")],
    packages: Annotated[Path | None, typer.Option(help="The folder of downloaded .deb files.")] = None,
    listen: Annotated[int, typer.Option(help="Then align so many transcripts with their sounds, and with others.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make a training folder from a public source: human speech with its words, recorded sounds."""
    from model.data.sources.command import run_gather

    run_gather(out, source, packages, listen, json_output)


@commands.command()
def label(
    folder: Annotated[Path, typer.Argument(help="A folder that htav gather or synth has made.")],
    teacher: Annotated[Path, typer.Option(help="A folder with yamnet.tflite and yamnet_class_map.csv.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Let a teacher name the sounds that nobody described, and judge the class labels of the others."""
    from model.data.sources.weak_labels import run_label

    run_label(folder, teacher, json_output)


@commands.command()
def train(
    data: Annotated[
        list[str],
        typer.Option(help="A manifest folder, or a data set in a known layout; DIR:2 counts twice. Repeat it."),
    ],
    out: Annotated[Path, typer.Option(help="The run's folder: a checkpoint, and best, states, logs.")],
    split: Annotated[str, typer.Option(help="The part of the data that is learned from.")] = "train",
    preset: Annotated[str, typer.Option(help="compact, paper or tiny.")] = "compact",
    init: Annotated[Path | None, typer.Option(help="Start from this checkpoint folder.")] = None,
    audio_from: Annotated[Path | None, typer.Option(help="Take the audio encoder of this checkpoint folder.")] = None,
    steps: Annotated[int | None, typer.Option(help="End after so many steps.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="End after so many passes over the data; 20 if nothing else is said.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="End after so many hours of training.")] = None,
    batch_size: Annotated[str, typer.Option(help="64 for all, or still=128,sound=48,film=32.")] = "",
    lr: Annotated[float, typer.Option(help="Peak learning rate of what is new.")] = 1e-3,
    trunk_lr: Annotated[float, typer.Option(help="Peak learning rate of the pretrained trunks.")] = 3e-5,
    schedule: Annotated[str, typer.Option(help="one-cycle or cosine, stretched over the whole run.")] = "one-cycle",
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = 0.02,
    clip_norm: Annotated[float, typer.Option(help="Longest gradient.")] = 1.0,
    accumulate: Annotated[int, typer.Option(help="Batches whose gradients make one step.")] = 1,
    average: Annotated[
        float, typer.Option(help="Validate and publish a moving average of the weights: 0.98, say; 0 for none.")
    ] = 0.0,
    bf16: Annotated[bool, typer.Option(help="Compute in bf16: for GPUs; most CPUs are slower with it.")] = False,
    trained: Annotated[
        str, typer.Option("--train", help="What moves of the trunks: text-last=2,frames-last=1, or all.")
    ] = "text-last=0,frames-last=0",
    only: Annotated[
        str, typer.Option(help="Of all that --train lets move, only weights so named: coarse.,video.summary.")
    ] = "",
    loss: Annotated[str, typer.Option(help="Weights of loss terms: ctc=1,dual_softmax=1.")] = "",
    views: Annotated[int, typer.Option(help="Crops of each photograph kept for a frozen trunk.")] = 4,
    captions: Annotated[int, typer.Option(help="Texts of each photograph in a step.")] = 1,
    augment: Annotated[bool, typer.Option(help="Change pictures and sound a little each time.")] = True,
    compose: Annotated[
        float, typer.Option(help="Share of steps with films put together out of the photographs and sounds.")
    ] = 0.0,
    names: Annotated[
        float,
        typer.Option(help="Share of all steps that teach what the frame trunk knows of ImageNet's classes by name."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of the computation, shared by its processes.")] = 2,
    validate_every: Annotated[int, typer.Option(help="Steps between two looks at the val part.")] = 200,
    validate_items: Annotated[int, typer.Option(help="Items of each folder's val part that are looked at.")] = 128,
    save_minutes: Annotated[float, typer.Option(help="Minutes between two saved states.")] = 5.0,
    save_every: Annotated[int | None, typer.Option(help="Steps between two saved states, instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if it has begun.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Train on one or several data folders; may be stopped at any second and resumed."""
    from model.training.command import run_train
    from model.training.options import Options

    run_train(
        Options(
            data=tuple(data), out=out, split=split, preset=preset, init=init, audio_from=audio_from, steps=steps,
            epochs=epochs,
            hours=hours, batch_size=batch_size, lr=lr, trunk_lr=trunk_lr, schedule=schedule, weight_decay=weight_decay,
            clip_norm=clip_norm, accumulate=accumulate, average=average, bf16=bf16, train=trained, only=only, loss=loss,
            views=views, captions=captions, augment=augment, compose=compose, names=names, seed=seed, threads=threads,
            validate_every=validate_every, validate_items=validate_items,
            save_minutes=save_minutes, save_every=save_every, resume=resume,
        ),
        json_output,
    )  # fmt: skip


@commands.command()
def gate(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint folder whose sound gate is taught, in place.")],
    data: Annotated[list[Path], typer.Option(help="A manifest folder; give several: sounds, photographs, speech.")],
    split: Annotated[str, typer.Option(help="The part of the data that is learned from.")] = "train",
    texts: Annotated[int, typer.Option(min=1, help="Names of sounds, and other texts, at most.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds teach equally.")] = 0,
) -> None:
    """Teach a checkpoint which texts name a sound, by texts alone; prints one JSON document.

    Scores change, so teach the shortlist (`htav distil`) and confidence (`htav calibrate`) anew after it.
    """
    import json

    from model.bars import Bars
    from model.training.gate import Request, teach_gate

    with Bars.of_command() as bars:
        document = teach_gate(Request(checkpoint, tuple(data), split, texts, seed), bars)
    typer.echo(json.dumps(document))


@commands.command()
def distil(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint folder whose shortlist is taught, in place.")],
    data: Annotated[list[Path], typer.Option(help="A manifest folder, a part of the library; give several.")],
    split: Annotated[str, typer.Option(help="The part of the data that is learned from.")] = "train",
    queries: Annotated[int, typer.Option(min=1, help="Queries of each kind and folder at most.")] = 800,
    clips: Annotated[int, typer.Option(min=1, help="Clips that a query is scored against at most.")] = 4000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the teaching.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds teach equally.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation.")] = 2,
) -> None:
    """Teach a checkpoint's shortlist to hold what the whole network would rank first; prints one JSON document.

    No score changes. Stopped, it goes on with the same command: what was encoded and scored is kept.
    """
    import json

    from model.bars import Bars
    from model.training.distil import Request
    from model.training.distil import distil as run_distil

    with Bars.of_command() as bars:
        document = run_distil(Request(checkpoint, tuple(data), split, queries, clips, steps, seed, threads), bars)
    typer.echo(json.dumps(document))


class GalleryChoice(StrEnum):
    whole_split = "split"
    own_group = "group"


class ModeChoice(StrEnum):
    exhaustive = "exhaustive"
    service = "service"
    compare = "compare"


class ModalitiesChoice(StrEnum):
    video = "video"
    audio = "audio"
    both = "both"


class ControlChoice(StrEnum):
    none = "none"
    shuffled = "shuffled"
    removed = "removed"
    duration = "duration"


@commands.command()
def evaluate(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="A manifest folder, or a data set in a known layout.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    gallery: Annotated[
        GalleryChoice, typer.Option(help="Rank among the whole split, or within a group.")
    ] = GalleryChoice.whole_split,
    mode: Annotated[
        ModeChoice,
        typer.Option(help="Score every clip, or the service's shortlist, or see whether it holds the best."),
    ] = ModeChoice.exhaustive,
    model: Annotated[
        str | None, typer.Option(help="A checkpoint folder or hub id; the embedded one if left out.")
    ] = None,
    modalities: Annotated[
        ModalitiesChoice, typer.Option(help="Score pictures alone, sound alone, or both.")
    ] = ModalitiesChoice.both,
    control: Annotated[
        ControlChoice,
        typer.Option(
            help="What is found without the right sound: each item with another's sound, with none, or ranked by how "
            "near its length is to the time that saying the query takes."
        ),
    ] = ControlChoice.none,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap and of the shuffled sound.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Rank a manifest's items by its texts: R@1, R@5, R@10, median and mean rank, with 95 % intervals."""
    from model.evaluation.command import run_evaluate
    from model.evaluation.evaluate import Request

    # The app hands the service's shortlist over through the context: this room must not know the index.
    shortlister = context.obj.get("shortlister") if isinstance(context.obj, dict) else None
    request = Request(data, split, gallery.value, mode.value, seed, modalities=modalities.value, control=control.value)
    run_evaluate(request, model, json_output, shortlister)


@commands.command()
def testset(
    out: Annotated[Path, typer.Argument(help="The folder to write to, one folder a set.")],
    data: Annotated[Path, typer.Option(help="The data folder that docs/evaluation.md describes.")],
    name: Annotated[list[str] | None, typer.Option(help="A set's name; repeat it. None: all but large ones.")] = None,
    record: Annotated[bool, typer.Option(help="Keep the digests, do not check them: a set is defined anew.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make the fixed test sets and check them against the digests that HTAV keeps."""
    from model.evaluation.testsets.command import run_testset

    run_testset(out, data, name or [], record, json_output)


@commands.command()
def figures(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The folder for figures.json and figures.md.")],
    data: Annotated[Path, typer.Option(help="The data folder that docs/evaluation.md describes.")],
    sets: Annotated[Path, typer.Option(help="Where `htav testset` made the test sets.")],
    model: Annotated[
        str | None, typer.Option(help="A checkpoint folder or hub id; the embedded one if left out.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Evaluate a checkpoint on every test set, each row of docs/evaluation.md; goes on where it was stopped."""
    from model.evaluation.command import run_figures

    shortlister = context.obj.get("shortlister") if isinstance(context.obj, dict) else None
    run_figures(out, data, sets, model, shortlister, json_output)


@commands.command()
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint folder whose bands are set.")],
    data: Annotated[list[Path], typer.Option(help="A manifest folder of held-out items; give several.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    queries: Annotated[int, typer.Option(min=1, help="Queries of each folder at most.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of queries.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Where a reliability diagram goes, a .png or .svg.")] = None,
    nothing: Annotated[
        Path | None,
        typer.Option(
            help="Queries, one a line, about nothing in the first folder: how many are told so.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    gate_temperature: Annotated[
        float | None,
        typer.Option(min=0.1, help="Trust neither pictures nor sound alone: more than 1 evens what the gates say."),
    ] = None,
) -> None:
    """Set the confidence of a checkpoint from queries with and without an answer; prints one JSON document.

    With --gate-temperature that of its gates first, which stays.
    All queries set it. How good it is, halves say: what one sets is measured on the other.
    """
    import json

    from model.bars import Bars
    from model.evaluation.calibrate import calibrate as run_calibrate

    with Bars.of_command() as bars:
        document = run_calibrate(
            checkpoint, data, split, queries, seed, plot, nothing, bars, gate_temperature=gate_temperature
        )
    typer.echo(json.dumps(document))


@commands.command()
def ablate(
    out: Annotated[Path, typer.Argument(help="The folder for ablation.json, ablation.md and ablation.png.")],
    photos: Annotated[Path, typer.Option(help="A manifest folder of captioned photographs, train and val.")],
    speech: Annotated[Path, typer.Option(help="A manifest folder of said sentences, train and val.")],
    model: Annotated[
        str | None,
        typer.Option(help="The checkpoint folder or hub id that gives the trunks; the embedded one if left out."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 150,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    train_items: Annotated[int, typer.Option(min=1, help="Photographs and sentences to train on.")] = 1500,
    held_out: Annotated[int, typer.Option(min=1, help="Photographs and sentences to be found.")] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation.")] = 2,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Take out each mechanism of the paper and two of our own in turn, train again; goes on where it was stopped."""
    from model.training.ablation.run import Request, run_ablate

    request = Request(
        photos, speech, out, steps=steps, seeds=seeds, train_items=train_items, held_out=held_out, threads=threads
    )
    run_ablate(request, model, json_output)


def main() -> None:
    """Run the model's commands alone; the `htav` script adds those of the other rooms."""
    with reported():
        commands()


if __name__ == "__main__":
    main()
