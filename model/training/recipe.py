"""`make train-compact`: the recipe of the shipped checkpoint, from folders of media to a calibrated checkpoint.

Each step is a `htav` command that is printed before it runs and leaves a mark when it is done; training steps resume.
So the whole may be stopped at any second and started again with the same command. A source whose folder, program or
package is not there is left out, and said so; `--without NAME` leaves one out on purpose.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from model.boundary import reported
from model.data.manifest import MANIFEST
from model.errors import HtavError
from model.training.state import STATES, state_folder

console = Console(stderr=True)
HTAV: Final = (sys.executable, "-m", "model.cli")
ONLY_SPELLING: Final = "fused=0,coarse=0,coarse_alone=0,words=0,alone=0,monotone=0,distil=0,hardest=0"
TIMED_SPELLING: Final = f"{ONLY_SPELLING},timed=1"
ONLY_SEEN_WHOLE: Final = "coarse_alone=1,fused=0,coarse=0,words=0,alone=0,monotone=0,ctc=0,distil=0,hardest=0"
ONLY_GLANCE: Final = (
    "glance=1,hide=0,coarse_alone=0,fused=0,coarse=0,words=0,alone=0,monotone=0,ctc=0,distil=0,hardest=0,said=0"
)
ONLY_LATE: Final = (
    "fused=1,late=1,hide=0,said=0,coarse_alone=0,coarse=0,words=0,alone=0,monotone=0,ctc=0,distil=0,hardest=0"
)


class RecipeError(HtavError):
    """A step of the recipe failed; it has said itself what was wrong."""

    code = "recipe_failed"
    exit_code = 1


@dataclass(frozen=True)
class Source:
    """One folder of training data: given (`DATA/name`), or made by a command into `WORK/sources/name`."""

    name: str
    made_by: str = ""  # {out} is its folder, {all} that of all sources, {data} that of what is given
    needs: str = ""  # another source that its command reads


@dataclass(frozen=True)
class Stage:
    """One call of `htav train`: the weights of its sources, and what else it is told."""

    name: str
    steps: int  # not hours: the same weights on a slow machine and on a busy one
    options: str
    weights: dict[str, float]
    starts_from: Sequence[str] = ()  # stages whose checkpoint it goes on from: the first of them that was not left out
    hears_as: str = ""  # a stage whose audio encoder it takes


SOURCES: Final = (
    Source("flickr8k"),
    Source("speech"),
    Source("sounds"),
    Source("asterisk", "gather {all} --source asterisk"),
    Source("queen", "gather {all} --source queen"),
    Source("sky", "gather {all} --source sky"),
    Source("effects", "gather {all} --source effects"),
    Source("sentences", "gather {all} --source sentences"),
    Source("utterances", "synth {out} --kind utterances --count 6000 --seed 1"),
    Source(
        "open",
        "synth {out} --kind utterances --count 24000 --seed 31 --sentences {all}/sentences/train.txt "
        "--sentences {data}/flickr8k",
        needs="sentences",
    ),
    Source(
        "drawn",
        "synth {out} --kind utterances --voices drawn --count 20000 --seed 41 "
        "--sentences {all}/sentences/train.txt --sentences {data}/flickr8k",
        needs="sentences",
    ),
    Source(
        "told",
        "synth {out} --kind utterances --voices drawn --count 16000 --seed 42 --sentences {all}/sentences/train.txt",
        needs="sentences",
    ),
    Source(
        "flite",
        "synth {out} --kind utterances --engine flite --count 5000 --seed 21 --sentences grammar "
        "--sentences {all}/sentences/train.txt --sentences {data}/flickr8k",
        needs="sentences",
    ),
    Source("talkers", "synth {out} --kind talkers --count 500 --seed 2"),
    Source("scenes", "synth {out} --kind scenes --count 400 --seed 3"),
    Source("portraits", "synth {out} --kind portraits --count 1200 --seed 51"),
    Source("shots", "synth {out} --kind shots --count 1000 --seed 52"),
    Source("many-scenes", "synth {out} --kind scenes --count 2000 --seed 71 --size 160 --texts all"),
    Source("many-talkers", "synth {out} --kind talkers --count 1500 --seed 72 --size 160 --texts all"),
    Source(
        "drawn-val",
        "synth {out} --kind utterances --voices drawn --split val --count 400 --seed 5 "
        "--sentences {all}/sentences/val.txt --sentences {data}/flickr8k",
        needs="sentences",
    ),
    Source(
        "talkers-val",
        "synth {out} --kind talkers --split val --texts said --count 258 --seed 6 --sentences {all}/sentences/val.txt "
        "--sentences {data}/flickr8k",
        needs="sentences",
    ),
    Source(
        "together-val",
        "synth {out} --kind talkers --split val --texts together --count 120 --seed 8 "
        "--sentences {all}/sentences/val.txt --sentences {data}/flickr8k",
        needs="sentences",
    ),
)
TIMED: Final = {"drawn": 3, "open": 1.5, "utterances": 1}  # eSpeak says when it says what
SPEECH: Final = {
    "drawn": 6,
    "open": 1.5,
    "utterances": 0.3,
    "flite": 1.0,
    "queen": 1.5,
    "sky": 0.8,
    "asterisk": 0.2,
    "speech": 0.4,
}
TOLD: Final = {  # few captions among them: what describes a picture is asked of pictures
    "told": 2.6,
    "utterances": 0.5,
    "flite": 0.4,
    "queen": 1.3,
    "sky": 0.8,
    "asterisk": 0.15,
    "speech": 0.6,
}
PICTURED: Final = {
    "flickr8k": 4.2,
    "portraits": 0.8,
    "shots": 0.5,
    "sounds": 1.6,
    "effects": 2,
    "talkers": 1.3,
    "scenes": 1.3,
}
PHOTOGRAPHS: Final = frozenset({"flickr8k"})  # names are what the trunk's classifier sees in them
STILLS: Final = frozenset({"flickr8k", "portraits", "shots"})  # films are composed of one of these and a sound
NAMED: Final = (  # whose texts say which of them name a sound
    *("flickr8k", "sounds", "effects", "scenes", "portraits", "shots", "talkers"),
    *("speech", "queen", "sky", "asterisk"),
)
LIBRARY: Final = ("flickr8k", "sounds", "many-scenes", "many-talkers")  # that the shortlist learns to rank
HELD_OUT: Final = ("clips", "flickr8k", "speech", "sounds")  # whose val parts confidence is calibrated on
HELD_OUT_PAIRS: Final = {
    "flickr8k": 3,
    "sounds": 0.3,
    "effects": 0.5,
    "talkers-val": 1,
    "together-val": 0.5,
    "drawn-val": 1.2,
    "queen": 0.7,
    "sky": 0.4,
    "speech": 0.7,
}
PICTURES: Final = "--captions 3 --views 3"
STAGES: Final = (
    Stage("listen", 510, f"--lr 1e-3 --batch-size 64 --average 0.98 --loss {TIMED_SPELLING}", TIMED),
    Stage("spell", 1800, f"--lr 1e-3 --batch-size 64 --average 0.99 --loss {ONLY_SPELLING}", SPEECH, ("listen",)),
    Stage(
        "see",
        180,
        f"--lr 6e-4 --trunk-lr 1e-4 --batch-size 96 --average 0.98 --train text-last=2,frames-last=1 {PICTURES}",
        {"flickr8k": 1.0},
    ),
    Stage(
        "join",
        810,
        "--lr 5e-4 --trunk-lr 4e-5 "
        "--batch-size still=112,sound=40,film=24,composed=24 --average 0.99 --compose 0.5 "
        f"--train text-last=2 {PICTURES}",
        PICTURED | TOLD,
        ("see",),
        "spell",
    ),
    Stage(
        "look",
        570,
        f"--lr 1.5e-3 --batch-size 512 --average 0.98 --loss {ONLY_SEEN_WHOLE} --names 0.5 "
        "--only video.summary,coarse.query,coarse.widened,coarse.gist,coarse.video_pool --views 2",
        {"flickr8k": 1.0},
        ("join",),
    ),
    Stage(
        "glance",
        360,
        f"--lr 1e-3 --batch-size 512 --average 0.98 --loss {ONLY_GLANCE} --names 0.4 "
        "--only video.glance,coarse.glance --views 2",
        {"flickr8k": 1.0, "portraits": 0.3, "shots": 0.15},
        ("look", "join"),
    ),
    Stage(
        "weigh",
        120,
        f"--split val --lr 1e-3 --loss {ONLY_LATE} --compose 0.4 --views 1 --validate-items 8 "
        "--batch-size still=112,sound=40,film=24,composed=24 "
        "--only late.,spelling.share",
        HELD_OUT_PAIRS,
        ("glance", "look", "join"),
    ),
)


@dataclass(frozen=True)
class Recipe:
    """Where the data comes from, where the work goes, and what is left out."""

    data: Path
    work: Path
    without: Sequence[str] = ()
    processes: int = 2
    seed: int = 0  # of the training; the sources are always the same
    part: float = 1.0  # of the steps that each stage has
    sources: Sequence[Source] = SOURCES
    stages: Sequence[Stage] = STAGES
    named: Sequence[str] = NAMED
    library: Sequence[str] = LIBRARY

    def run(self) -> Path:
        """Every step that is not done yet; the folder of the calibrated checkpoint."""
        unknown = set(self.without) - {source.name for source in self.sources}
        if unknown:
            raise RecipeError(
                f"there is no source {sorted(unknown)[0]!r}.",
                f"Sources: {', '.join(source.name for source in self.sources)}.",
            )
        folders = dict(self._sources())
        done: list[str] = []
        for stage in self.stages:
            if self._train(stage, folders, done):
                done.append(stage.name)
        if not done:
            raise RecipeError("no stage has any of its data.", f"See {self.data}.")
        out = self.work / done[-1] / "model"
        deaf, plain = "silent clips answer for sounds, too", "its shortlist is a plain one"
        self._teach("gate", out, folders, self.named, deaf, undoes=("distil", "calibrate"))  # which rank by scores
        self._teach("distil", out, folders, self.library, plain)
        held_out = [self.data / name for name in HELD_OUT if name not in self.without]
        found = [str(folder) for folder in held_out if (folder / MANIFEST).is_file()]
        if not self._once("calibrate", ["calibrate", str(out), *_repeated("--data", found)], must=False):
            console.print("[yellow]not calibrated:[/] its confidence says nothing yet; see `htav calibrate`")
        return out

    def _sources(self) -> Iterator[tuple[str, Path]]:
        made: set[str] = set()
        for source in self.sources:
            folder = self.data / source.name
            if source.name in self.without:
                continue
            if source.made_by:
                folder = self.work / "sources" / source.name
                places = {"out": folder, "all": folder.parent, "data": self.data}
                command = [part.format(**places) for part in source.made_by.split()]  # a path may have blanks
                if command[0] == "synth":  # one that was stopped has left a part of its files
                    command.append("--overwrite")
                if source.needs and source.needs not in made:
                    console.print(f"[yellow]left out:[/] {source.name}, which needs {source.needs}")
                    continue
                if not self._once(f"source-{source.name}", command, must=False):
                    console.print(f"[yellow]left out:[/] {source.name}; start again once it can be made")
                    continue
                made.add(source.name)
            if (folder / MANIFEST).is_file():
                yield source.name, folder
            elif not source.made_by:
                console.print(f"[yellow]left out:[/] {escape(str(folder))} is not there")

    def _train(self, stage: Stage, folders: dict[str, Path], done: Sequence[str]) -> bool:
        """Train a stage, going on from those that are done; False where it has no data."""
        used = {name: weight for name, weight in stage.weights.items() if name in folders}
        if not used:
            console.print(f"[yellow]left out:[/] the stage {stage.name}, of whose data there is none")
            return False
        out = self.work / stage.name
        steps = max(round(stage.steps * self.part), 1)
        command = ["train", "--out", str(out), *_repeated("--data", [f"{folders[n]}:{w:g}" for n, w in used.items()])]
        command += ["--steps", str(steps), "--seed", str(self.seed), *stage.options.split()]
        if not (used.keys() & STILLS and used.keys() - STILLS):
            _drop(command, "--compose")
        if not used.keys() & PHOTOGRAPHS:
            _drop(command, "--names")
        before = [name for name in stage.starts_from if name in done][:1]
        command += ["--resume", *_repeated("--init", [str(self.work / name / "model") for name in before])]
        if stage.hears_as in done:
            command += ["--audio-from", str(self.work / stage.hears_as / "model")]
        return self._once(stage.name, command, processes=self.processes, leaves=state_folder(out / STATES, steps))

    def _teach(
        self,
        name: str,
        out: Path,
        folders: dict[str, Path],
        sources: Sequence[str],
        without: str,
        undoes: Sequence[str] = (),
    ) -> None:
        """Teach the trained checkpoint by a command of that name, with those of the sources that there are."""
        data = [str(folders[source]) for source in sources if source in folders]
        command = [name, str(out), *_repeated("--data", data), "--seed", str(self.seed)]
        if not self._once(name, command, must=False, undoes=undoes):
            console.print(f"[yellow]left out:[/] {name}, so {without}; see `htav {name}`")

    def _once(
        self,
        name: str,
        command: list[str],
        *,
        processes: int = 1,
        must: bool = True,
        leaves: Path | None = None,
        undoes: Sequence[str] = (),
    ) -> bool:
        """Run a `htav` command unless it is done; whether it is. One that was stopped has not left what it should.

        What it `undoes` is to be run again after it.
        """
        mark = self.work / "done" / name
        if mark.exists():
            return True
        console.print(f"[bold]{name}[/]: htav {escape(shlex.join(command))}", highlight=False)
        start = (*HTAV[:2], "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *HTAV[1:])
        environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if processes > 1 else {})
        if _exit_status([*(start if processes > 1 else HTAV), *command], environment):
            if must:
                raise RecipeError(f"the step '{name}' failed.", "Mend what it says, and start again.")
            return False
        if leaves is not None and not leaves.exists():
            raise RecipeError(f"the step '{name}' was stopped.", "Start again with the same command: it goes on.")
        for later in undoes:
            (mark.parent / later).unlink(missing_ok=True)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        return True


def _exit_status(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command to its end. Ctrl-C is the command's, too, which saves before it ends: so this waits for it."""
    with subprocess.Popen(command, env=environment) as running:
        try:
            return running.wait()
        except KeyboardInterrupt:
            running.wait()
            raise


def _drop(command: list[str], option: str) -> None:
    """Leave an option and its value out, where it is there."""
    if option in command:
        place = command.index(option)
        del command[place : place + 2]


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds flickr8k, speech and sounds.")],
    work: Annotated[Path, typer.Option(help="Where sources, runs and the checkpoint go.")] = Path("runs/compact"),
    without: Annotated[list[str] | None, typer.Option(help="A source to leave out; repeat it.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that train together, one a core.")] = 2,
    seed: Annotated[int, typer.Option(help="The seed of the training; the sources stay the same.")] = 0,
    part: Annotated[float, typer.Option(help="How much of each stage's steps to train.")] = 1.0,
) -> None:
    """Make the sources, train in seven stages, teach the sound gate and the shortlist, calibrate."""
    console.print(
        f"the checkpoint is in {Recipe(data, work, without or (), processes, seed, part).run()}", markup=False
    )


if __name__ == "__main__":
    with reported():
        typer.run(main)
