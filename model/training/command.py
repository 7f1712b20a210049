"""`htav train`, once its options are read."""

import json
import sys

from rich.console import Console

from model.training.options import Options


def run_train(options: Options, json_output: bool = False) -> None:
    """Train, and say where the checkpoint is; with `--json` one document on stdout and nothing else there."""
    from model.training.loop import BEST, train

    result = train(options)
    document = {
        "out": str(options.out),
        "checkpoint": str(options.out),
        "best": str(options.out / BEST) if result.best is not None else None,
        "steps": result.step,
        "took_s": round(result.seconds, 1),
        "finished": result.finished,
        "score": result.best,
    }
    if json_output:
        sys.stdout.write(json.dumps(document) + "\n")
        return
    console = Console(stderr=True)
    ended = "finished" if result.finished else "stopped; go on with --resume"
    console.print(
        f"{ended}: {result.step} steps, {result.seconds:.0f} s, checkpoint in {document['checkpoint']}", markup=False
    )
