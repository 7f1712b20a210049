"""Sentences said by the program `flite` (CMU Flite): one short process a sentence, some at a time.

The voices speak at one pitch. Another speaker is made of one by playing the samples faster or slower, which moves the
pitch and the vocal tract together, and by stretching the durations to make up for it.
"""

import io
import shutil
import subprocess
import wave
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from model.data.synthesis.speech import USUAL_RATE, Speech, SpeechError, Synthesiser, Utterance, resample, trim

PROCESSES = 2


def tract(utterance: Utterance) -> float:
    """How much higher than the voice's own the speaker sounds: 1.0 at pitch 50, 0.88 to 1.13 from 32 to 68."""
    return float(2.0 ** ((utterance.pitch - 50) / 100))


def as_spoken(data: bytes, utterance: Utterance, rate: int) -> Speech:
    """A WAV file's samples as another speaker's, at `rate`; word times are not known."""
    with wave.open(io.BytesIO(data)) as reader:
        samples, own_rate = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2"), reader.getframerate()
    if not samples.any():
        raise SpeechError(f"The voice {utterance.voice} could not say {utterance.text!r}.", "Choose another sentence.")
    samples = trim(resample(samples, round(own_rate * tract(utterance)), rate), rate)
    return Speech(samples, rate, [], (0.0, len(samples) / rate))


class Flite(Synthesiser):
    """The installed `flite` program."""

    def __init__(self, rate: int = 24000) -> None:
        super().__init__(rate)
        program = shutil.which("flite")
        if program is None:
            raise SpeechError("The flite speech synthesiser is not installed.", "Debian: apt install flite.")
        self.program = program
        listed = subprocess.run([program, "-lv"], capture_output=True, text=True, check=False).stdout
        self.voices = set(listed.partition(":")[2].split())
        self.pool = ThreadPoolExecutor(PROCESSES)

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)

    def say_many(self, utterances: Iterable[Utterance]) -> Iterator[Speech]:
        waiting: deque[Future[Speech]] = deque()
        for utterance in utterances:
            waiting.append(self.pool.submit(self._run, utterance))
            if len(waiting) >= 2 * PROCESSES:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _run(self, utterance: Utterance) -> Speech:
        if utterance.voice not in self.voices:  # flite itself would take another voice
            raise SpeechError(f"flite has no voice {utterance.voice!r}.", f"It has: {', '.join(sorted(self.voices))}.")
        stretch = USUAL_RATE / utterance.rate * tract(utterance)
        options = ["-voice", utterance.voice, "--setf", f"duration_stretch={stretch:.3f}"]
        command = [self.program, *options, "-t", utterance.text, "-o", "/dev/stdout"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0 or not done.stdout.startswith(b"RIFF"):
            message = done.stderr.decode(errors="replace").strip()
            raise SpeechError(f"flite could not say {utterance.text!r} as {utterance.voice}.", message)
        return as_spoken(done.stdout, utterance, self.rate)
