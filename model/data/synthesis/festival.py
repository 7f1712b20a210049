"""Sentences said by the program `festival`, one process for all of them: commands in, WAV files out.

Its voices are the test's unseen engine (see voices.py). Speakers are made of one voice as flite's are.
"""

import json
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from model.data.synthesis.flite import as_spoken, tract
from model.data.synthesis.speech import USUAL_RATE, Speech, SpeechError, Synthesiser, Utterance

IN_FLIGHT = 8
SAY = """
(define (say voice stretch text file)
  (unwind-protect
   (begin
    (eval (list (intern (string-append "voice_" voice))))
    (Parameter.set 'Duration_Stretch stretch)
    (utt.save.wave (utt.synth (eval (list 'Utterance 'Text text))) file 'riff)
    (format t "said\\n"))
   (format t "not said\\n"))
  (fflush nil))
"""


class Festival(Synthesiser):
    """A running `festival --pipe`, which answers each sentence with one line once its file is written."""

    def __init__(self, rate: int = 24000) -> None:
        super().__init__(rate)
        program = shutil.which("festival")
        if program is None:
            raise SpeechError(
                "The Festival speech synthesiser is not installed.",
                "Debian: apt install festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts.",
            )
        self.folder = tempfile.TemporaryDirectory(prefix="htav-festival-")
        self.errors = Path(self.folder.name) / "errors"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [program, "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._send(SAY)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()

    def say_many(self, utterances: Iterable[Utterance]) -> Iterator[Speech]:
        waiting: deque[tuple[Utterance, Path]] = deque()
        for number, utterance in enumerate(utterances):
            path = Path(self.folder.name) / f"{number}.wav"
            stretch = USUAL_RATE / utterance.rate * tract(utterance)
            text, file = json.dumps(utterance.text, ensure_ascii=False), json.dumps(str(path))
            self._send(f'(say "{utterance.voice}" {stretch:.3f} {text} {file})\n')
            waiting.append((utterance, path))
            if len(waiting) >= IN_FLIGHT:
                yield self._receive(*waiting.popleft())
        while waiting:
            yield self._receive(*waiting.popleft())

    def _send(self, command: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # then _receive finds out why
            self.process.stdin.write(command)
            self.process.stdin.flush()

    def _receive(self, utterance: Utterance, path: Path) -> Speech:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "said":
            message = " ".join(self.errors.read_text(errors="replace").split())
            raise SpeechError(f"festival has no voice {utterance.voice}, or cannot say {utterance.text!r}.", message)
        speech = as_spoken(path.read_bytes(), utterance, self.rate)
        path.unlink()
        return speech
