"""eSpeak NG in a process of its own: JSON lines in, speech out.

eSpeak NG is GPL-3, HTAV is Apache-2.0: the library is loaded here, in a separate program started with
`python -m model.data.synthesis.espeak_process`, and never inside the process that trains, indexes or serves.
Nobody may import this module. A request is one line {"text", "voice", "rate", "pitch", "range", "variant"}, the last
the file of the voice's variant where eSpeak NG has none of that name, else null. The answer is one line {"samples",
"rate", "words": [[start_s, position, length], ...]} (or {"error"}) and then the samples, 16-bit little endian.
"""

import ctypes
import importlib.util
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

SYNCHRONOUS, DO_NOT_EXIT = 2, 0x8000
RATE, PITCH, RANGE = 1, 3, 4
UTF8, BY_CHARACTER = 1, 1
LIST_END, WORD_EVENT = 0, 1


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_longlong),
    ]


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def package_folder() -> Path:
    """Where the espeakng-loader wheel keeps the library and its data; the package itself is not imported."""
    spec = importlib.util.find_spec("espeakng_loader")
    if spec is None or spec.origin is None:
        raise SystemExit("espeakng-loader is not installed")
    return Path(spec.origin).parent


def _linked(data: Path, place: Path) -> Path:
    """eSpeak's data linked to from another place, whose folder of variants takes new files: that folder."""
    variants = place / "voices" / "!v"
    variants.mkdir(parents=True)
    kept = [path for path in data.iterdir() if path.name != "voices"]
    kept += [path for path in (data / "voices").rglob("*") if path.is_file()]
    for path in kept:
        link = place / path.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return variants


class Synthesiser:
    """One loaded library that turns a text into samples and word times."""

    def __init__(self, place: Path) -> None:
        folder = package_folder()
        library = next(path for path in sorted(folder.iterdir()) if path.suffix in {".so", ".dylib", ".dll"})
        self.library = ctypes.CDLL(str(library))
        self.variants = _linked(folder / "espeak-ng-data", place / "espeak-ng-data")
        os.chdir(place)  # eSpeak keeps at most 160 characters of the data path: give it a short one
        self.sample_rate = int(self.library.espeak_Initialize(SYNCHRONOUS, 0, b".", DO_NOT_EXIT))
        if self.sample_rate <= 0:
            raise SystemExit(f"eSpeak NG found no voices in {folder}")
        self.pieces: list[bytes] = []
        self.words: list[tuple[float, int, int]] = []
        self.callback = Callback(self.receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def receive(self, samples: Any, count: int, events: Any) -> int:
        """Collect one buffer (called by the library)."""
        if samples and count > 0:
            self.pieces.append(ctypes.string_at(samples, count * 2))
        index = 0
        while events[index].type != LIST_END:
            event = events[index]
            if event.type == WORD_EVENT:
                self.words.append((event.audio_position / 1000, event.text_position, event.length))
            index += 1
        return 0

    def choose(self, voice: str, variant: str | None) -> bool:
        """Speak with a voice; whether there is one. A variant's file is read here, and in the way from then on."""
        file = self.variants / voice.partition("+")[2]
        if variant:
            file.write_text(variant)
        found: int = self.library.espeak_SetVoiceByName(voice.encode())
        if variant:
            file.unlink()
        return found == 0

    def speak(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The answer to one request."""
        if not self.choose(str(request["voice"]), request.get("variant")):
            return {"error": f"eSpeak NG has no voice {request['voice']!r}"}, b""
        for parameter, name in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range")):
            self.library.espeak_SetParameter(parameter, int(request[name]), 0)
        self.pieces, self.words = [], []
        text = str(request["text"]).encode()
        status = self.library.espeak_Synth(text, len(text) + 1, 0, BY_CHARACTER, 0, UTF8, None, None)
        samples = b"".join(self.pieces)
        if status != 0 or not samples:
            return {"error": f"eSpeak NG could not say {request['text']!r}"}, b""
        return {"samples": len(samples) // 2, "rate": self.sample_rate, "words": self.words}, samples


def serve(requests: BinaryIO, answers: BinaryIO, place: Path) -> None:
    """Answer until the other side closes the pipe; `place` is an empty folder of this process."""
    synthesiser = Synthesiser(place)
    for line in requests:
        header, samples = synthesiser.speak(json.loads(line))
        answers.write(json.dumps(header).encode() + b"\n" + samples)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other side's business: it closes the pipe
    try:
        with tempfile.TemporaryDirectory(prefix="htav-espeak-") as empty:
            serve(sys.stdin.buffer, sys.stdout.buffer, Path(empty))
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more; an ordinary exit would try to flush again
