"""A teacher's opinion of what sounds: texts for sounds that nobody described, and a check of those that somebody did.

The teacher is YAMNet (521 AudioSet classes, Apache-2.0) as a .tflite file with its class map beside it. It is asked
while data are prepared, and never shipped.
"""

import csv
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from model.bars import Bars
from model.data.manifest import MANIFEST, write_manifest
from model.data.sources.effects_table import AUDIOSET
from model.data.sources.sound import decode
from model.data.synthesis.record import read_lines
from model.errors import HtavError
from model.progress import Count

WINDOW: Final = 15600  # samples at 16 kHz that the teacher hears at once
STEP: Final = 7800
SURE: Final = 0.3  # a class scored higher is a text
AGREES: Final = 0.1  # a named class scored as high confirms the name
CONTRADICTS: Final = (0.02, 0.7)  # no named class higher than the first, another class higher than the second
UNTOLD: Final = {  # says nothing of what happens
    "Silence", "Sound effect", "Inside, small room", "Inside, large room or hall", "Inside, public space", "Noise",
    "Outside, urban or manmade", "Outside, rural or natural", "Field recording", "Environmental noise", "Reverberation",
    "Echo", "Speech synthesizer", "Music", "Animal",
}  # fmt: skip


class TeacherError(HtavError):
    """The teacher cannot be asked."""

    code: ClassVar[str] = "teacher_unusable"


class Teacher:
    """YAMNet out of a folder with yamnet.tflite and yamnet_class_map.csv."""

    def __init__(self, folder: Path) -> None:
        try:
            runtime = importlib.import_module("ai_edge_litert.interpreter")
            with (folder / "yamnet_class_map.csv").open(encoding="utf-8", newline="") as rows:
                self.names = [row["display_name"] for row in csv.DictReader(rows)]
            self.interpreter = runtime.Interpreter(model_path=str(folder / "yamnet.tflite"), num_threads=1)
        except ImportError as error:
            raise TeacherError("The teacher's runtime is not installed.", "Run: pip install htav[teachers].") from error
        except (OSError, KeyError, ValueError) as error:
            hint = "Give a folder with yamnet.tflite and yamnet_class_map.csv."
            raise TeacherError(f"There is no usable teacher in {folder}: {error}.", hint) from error
        self.interpreter.allocate_tensors()
        self.entrance = self.interpreter.get_input_details()[0]["index"]
        outputs = self.interpreter.get_output_details()
        self.exit = next(output["index"] for output in outputs if output["shape"][-1] == len(self.names))

    def scores(self, samples: NDArray[np.int16]) -> dict[str, float]:
        """Each class's highest probability in any window of int16 [samples], mono, 16 kHz."""
        waveform: NDArray[np.float32] = samples.astype(np.float32) / np.float32(32768)
        waveform = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
        heard = np.stack([self._window(waveform[at : at + WINDOW]) for at in window_starts(len(waveform))]).max(axis=0)
        return dict(zip(self.names, map(float, heard), strict=True))

    def _window(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        self.interpreter.set_tensor(self.entrance, waveform.reshape(self.interpreter.get_input_details()[0]["shape"]))
        self.interpreter.invoke()
        found: NDArray[np.float32] = self.interpreter.get_tensor(self.exit).reshape(-1, len(self.names)).max(axis=0)
        return found


def window_starts(count: int) -> list[int]:
    """Half-overlapping windows over `count` samples, the last one ending with them."""
    return sorted({*range(0, count - WINDOW + 1, STEP), count - WINDOW})


@dataclass
class Opinion:
    """How many texts were added, and how often the teacher agreed with a name."""

    labelled: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    contradicted: list[str] = field(default_factory=list)


def label(folder: Path, teacher: Teacher, progress: Count = lambda _done, _total: None) -> Opinion:
    """Rewrite a folder's manifest: texts for the sounds without any, the teacher's verdict beside class labels."""
    opinion = Opinion()
    lines = read_lines(folder)
    if not lines:
        raise TeacherError(f"{folder} holds no {MANIFEST}.", "Give a folder that htav gather or synth has made.")
    write_manifest(folder, labelled(folder, _counted(lines, progress), teacher, opinion))
    return opinion


def _counted(lines: Sequence[dict[str, Any]], progress: Count) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        yield line
        progress(number, len(lines))


def labelled(
    folder: Path, lines: Iterable[Mapping[str, Any]], teacher: Teacher, opinion: Opinion
) -> Iterator[dict[str, Any]]:
    """The lines with what the teacher says; lines of other kinds, and human texts, stay as they are."""
    for line in lines:
        if line.get("kind") != "sound" or line.get("text_source") == "human":
            yield dict(line)
            continue
        scores = teacher.scores(decode(folder / str(line["file"])))
        if not line.get("texts"):
            found = texts_of(scores)
            opinion.labelled += bool(found)
            yield {**line, "texts": found, "heard": found, "text_source": "model"}
            continue
        verdict = judge(str(line.get("label", "")), scores)
        opinion.verdicts[verdict] += 1
        if verdict == "contradicted":
            opinion.contradicted.append(f"{line['file']} ({line.get('label')}): {', '.join(texts_of(scores))}")
        yield {**line, "teacher": verdict}


def texts_of(scores: Mapping[str, float]) -> list[str]:
    """The surest classes as texts, best first."""
    sure = sorted((name for name in scores if scores[name] >= SURE and name not in UNTOLD), key=lambda n: -scores[n])
    return [f"the sound of {name.split(',')[0].lower()}" for name in sure[:3]]


def judge(kind: str, scores: Mapping[str, float]) -> str:
    """What the teacher says of a class of effects: agreed, contradicted, unsure, or unknown to it."""
    if kind not in AUDIOSET:
        return "unknown"
    named = max(scores.get(name, 0.0) for name in AUDIOSET[kind])
    other = max(score for name, score in scores.items() if name not in AUDIOSET[kind] and name not in UNTOLD)
    lowest, highest = CONTRADICTS
    if named >= AGREES:
        return "agreed"
    return "contradicted" if named < lowest and other > highest else "unsure"


def run_label(folder: Path, teacher: Path, json_output: bool) -> None:
    """`htav label`: label a folder and say what was found, on stdout."""
    with Bars.of_command() as bars:
        opinion = label(folder, Teacher(teacher), lambda done, total: bars("ask the teacher", done, total))
    if json_output:
        sys.stdout.write(json.dumps(vars(opinion)) + "\n")
        return
    console = Console()
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in opinion.verdicts.most_common())
    console.print(f"{opinion.labelled} sounds got texts; of their labels the teacher says: {verdicts or 'nothing'}")
    for line in opinion.contradicted:
        console.print(f"contradicted: {line}", markup=False)
