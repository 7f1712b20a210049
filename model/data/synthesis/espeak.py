"""The client of the eSpeak process, which is never imported (its licence differs, see NOTICE)."""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import wave
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from model.data.synthesis.drawn_voices import variant_file
from model.data.synthesis.speech import Speech, SpeechError, Synthesiser, Utterance, resample

IN_FLIGHT = 16
REINSTALL = "Reinstall it: pip install --force-reinstall espeakng-loader."


class Espeak(Synthesiser):
    """A running eSpeak NG: the library of `espeakng-loader` in its own process, or else the `espeak-ng` program."""

    def __init__(self, rate: int = 24000) -> None:
        super().__init__(rate)
        self.process: subprocess.Popen[bytes] | None = None
        if importlib.util.find_spec("espeakng_loader") is not None:
            command = [sys.executable, "-m", "model.data.synthesis.espeak_process"]
            root = Path(__file__).resolve().parents[3]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        elif self.program is None:
            raise SpeechError(
                "Making spoken media needs the eSpeak NG speech synthesiser, which is not installed.",
                "Run: pip install htav[synth]   (or install the espeak-ng program).",
            )

    @cached_property
    def program(self) -> str | None:
        return shutil.which("espeak-ng")

    def close(self) -> None:
        if self.process is not None:
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # all that it said has arrived
                self.process.kill()
                self.process.wait()

    def say_many(self, utterances: Iterable[Utterance]) -> Iterator[Speech]:
        """The speeches in order; some requests are kept under way, so that the synthesiser never waits for us."""
        waiting: deque[Utterance] = deque()
        for utterance in utterances:
            self._send(utterance)
            waiting.append(utterance)
            if len(waiting) >= IN_FLIGHT:
                yield self._receive(waiting.popleft())
        while waiting:
            yield self._receive(waiting.popleft())

    def _send(self, utterance: Utterance) -> None:
        if self.process is not None and self.process.stdin is not None:
            try:
                request = asdict(utterance) | {"variant": variant_file(utterance.voice)}
                self.process.stdin.write(json.dumps(request).encode() + b"\n")
                self.process.stdin.flush()
            except BrokenPipeError as error:
                raise SpeechError("The eSpeak NG process ended unexpectedly.", REINSTALL) from error

    def _receive(self, utterance: Utterance) -> Speech:
        if self.process is None or self.process.stdout is None:
            return self._run_program(utterance)
        line = self.process.stdout.readline()
        if not line:
            raise SpeechError("The eSpeak NG process ended unexpectedly.", REINSTALL)
        header = json.loads(line)
        if "error" in header:
            raise SpeechError(f"{header['error']}.", "Choose another sentence or voice.")
        samples = np.frombuffer(self.process.stdout.read(header["samples"] * 2), dtype="<i2")
        return self._finish(utterance, samples, header["rate"], header["words"])

    def _run_program(self, utterance: Utterance) -> Speech:
        assert self.program is not None
        if variant_file(utterance.voice) is not None:
            raise SpeechError("The espeak-ng program has no drawn voices.", "Run: pip install htav[synth]")
        options = ["-v", utterance.voice, "-s", str(utterance.rate), "-p", str(utterance.pitch), "--stdout"]
        done = subprocess.run([self.program, *options, "--", utterance.text], capture_output=True, check=False)
        if done.returncode != 0 or len(done.stdout) <= 44:
            raise SpeechError(
                f"espeak-ng could not say {utterance.text!r}.", done.stderr.decode(errors="replace").strip()
            )
        with wave.open(io.BytesIO(done.stdout)) as reader:
            rate = reader.getframerate()
        return self._finish(utterance, np.frombuffer(done.stdout[44:], dtype="<i2"), rate, [])

    def _finish(self, utterance: Utterance, samples: np.ndarray, rate: int, marks: list[list[float]]) -> Speech:
        speech = resample(samples, rate, self.rate)
        starts = [mark[0] for mark in marks]
        ends = [*starts[1:], len(speech) / self.rate][: len(marks)]
        words = [
            (utterance.text[int(position) - 1 : int(position) - 1 + int(length)], start, end)
            for (start, position, length), end in zip(marks, ends, strict=True)
        ]
        return Speech(speech, self.rate, words, (0.0, len(speech) / self.rate))
