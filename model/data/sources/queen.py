"""Voices of an adventure game, many actors: Debian's flight-of-the-amazon-queen, MP3 at 11 kHz, with their texts."""

import re
from functools import partial
from pathlib import Path
from typing import Final

from model.data.sources.common import Clip, Report, write_clips
from model.data.sources.packages import one_file, unpacked
from model.data.sources.queen_archive import Archive, Line
from model.data.sources.sound import decode, spoken_text
from model.progress import Count

PACKAGE: Final = "flight-of-the-amazon-queen"
LICENCE: Final = "Flight of the Amazon Queen licence (free to distribute and modify, not to sell by itself)"

# dialogues and close-ups name people otherwise than scenes do
SPEAKERS: Final = {
    "AND": "Anderson", "APE": "gorilla", "BOB": "Trader Bob", "DEATH": "ferryman", "DOG": "guard dog",
    "JIM": "Jimmy", "LARIS": "bellboy", "LOU": "Skip", "MAN": "prisoner", "ORACLE": "guardian",
    "PRIN": "Princess Azura", "SEC": "secretary", "SHOWERAM": "showering Amazon", "TALLPYG": "tall pygmy",
    "TAM": "Mary-Lou", "WEDGE": "Wedgewood", "WITCH": "witch doctor", "ZOMBIE": "zombie woman",
    "azura obj": "Princess Azura", "bedraggled prisoner": "prisoner", "tired prisoner": "prisoner",
    "vicious dinosaur": "gorilla", "gorilla in costume": "gorilla",
}  # fmt: skip
# things in whose place several people speak
THINGS: Final = {"", "note", "path", "telephone", "smoke", "torch", "door", "rock", "buttons", "lily pad"}
UNKNOWN: Final = "unknown"


def gather(folder: Path, packages: Path | None, progress: Count) -> Report:
    """Write every spoken line into `folder`."""
    with unpacked(PACKAGE, packages) as root:
        archive = Archive.read(one_file(root, "queen.1c", PACKAGE).read_bytes())
        return write_clips(folder, list_clips(archive), LICENCE, progress)


def list_clips(archive: Archive) -> list[Clip]:
    """The lines that are words: a bare noise such as "(sigh)" is none."""
    clips = []
    for line in archive.lines():
        words = spoken_text(re.sub(r"[(<][a-z]+[)>]|\^_|\"", " ", line.text, flags=re.IGNORECASE))
        if re.search(r"[a-z]", words, re.IGNORECASE):
            speaker = speaker_of(line)
            # nobody knows who it is, so it may be somebody of the training part
            fields = {"split": "train"} if speaker == UNKNOWN else {}
            read = partial(decode, archive.parts[line.sound], "mp3")
            clips.append(Clip(line.sound.removesuffix(".SB").lower(), (words,), speaker, read, fields=fields))
    return clips


def speaker_of(line: Line) -> str:
    """A person's name, the same in dialogues and scenes, as a manifest group."""
    name = SPEAKERS.get(line.speaker, line.speaker)
    return UNKNOWN if name in THINGS else name.lower().replace(" ", "-")
