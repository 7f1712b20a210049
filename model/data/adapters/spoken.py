"""VidTIMIT and TIMIT: people read sentences; the text of an item is what it says.

Sentences repeat between speakers. The splits made here share neither a speaker nor a sentence. VidTIMIT: speakers who
read a common sentence (the two that everybody reads aside) are kept together. What is read in training, those two at
least, is used for training alone.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from model.data.adapters.common import Adapter, LayoutError, Lines, first
from model.data.manifest import normalised
from model.data.splits import share_of

PROMPT = re.compile(r"^(?P<text>[^;].*?)\s*\((?P<sentence>\w+)\)\s*$")
SHARED = ("sa1", "sa2")  # read by every speaker
TIMIT_TEXTS = "[tT]*/[dD][rR][1-8]/*/[sS]*.[tT][xX][tT]"
PROMPT_FILES = ("prompts.txt", "doc/prompts.txt", "timit/doc/prompts.txt", "*/prompts.txt", "*/doc/prompts.txt")


def _prompts(folder: Path) -> dict[str, str]:
    """TIMIT's PROMPTS.TXT: `Sentence text. (sa1)`, comments after a semicolon."""
    path = first(folder, *PROMPT_FILES)
    if path is None:
        raise LayoutError(
            f"{folder} holds recordings but not the sentences they read.",
            "Copy TIMIT's PROMPTS.TXT into it: VidTIMIT reads the same sentences and does not repeat them.",
        )
    found = (PROMPT.match(line) for line in path.read_text(encoding="latin-1").splitlines())
    return {match["sentence"].lower(): match["text"] for match in found if match}


def _components(texts: dict[str, set[str]]) -> dict[str, str]:
    """Speaker -> the name of the group of speakers that share sentences, directly or through others."""
    readers: dict[str, list[str]] = defaultdict(list)
    for speaker, read in texts.items():
        for text in read:
            readers[text].append(speaker)
    group = {speaker: speaker for speaker in texts}

    def root(speaker: str) -> str:
        while group[speaker] != speaker:
            speaker = group[speaker]
        return speaker

    for together in readers.values():
        for other in together[1:]:
            low, high = sorted((root(together[0]), root(other)))
            group[high] = low
    return {speaker: root(speaker) for speaker in texts}


def _split_of_groups(group_of: dict[str, str]) -> dict[str, str]:
    """Groups in a fixed shuffled order: a tenth of the speakers to val, a fifth to test, the rest to train."""
    members: dict[str, int] = defaultdict(int)
    for group in group_of.values():
        members[group] += 1
    total, taken, splits = len(group_of), 0, {}
    for group in sorted(members, key=share_of):
        splits[group] = "test" if taken < 0.2 * total else "val" if taken < 0.3 * total else "train"
        taken += members[group]
    return splits


def _vidtimit_is(folder: Path) -> bool:
    return next(folder.glob("*/audio/[sS][aAiIxX]*.[wW][aA][vV]"), None) is not None and any(folder.glob("*/video"))


def _vidtimit(folder: Path) -> Lines:
    prompts = _prompts(folder)
    readings: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for sound in sorted(folder.glob("*/audio/*.[wW][aA][vV]")):
        sentence = sound.stem.lower()
        if sentence in prompts:  # `head` clips turn the head and say nothing
            readings[sound.parent.parent.name].append((sentence, sound))
    own = {
        speaker: {normalised(prompts[sentence]) for sentence, _ in read if sentence not in SHARED}
        for speaker, read in readings.items()
    }
    group_of = _components(own)
    splits = _split_of_groups(group_of)
    for speaker, read in readings.items():
        split = splits[group_of[speaker]]
        for sentence, sound in read:
            line = _vidtimit_line(folder, sound, prompts[sentence])
            if line is not None:
                unused = sentence in SHARED and split != "train"
                yield line | {"split": "unused" if unused else split, "group": group_of[speaker], "speaker": speaker}


def _vidtimit_line(folder: Path, sound: Path, text: str) -> dict[str, Any] | None:
    pictures = sound.parent.parent / "video" / sound.stem
    names = sorted(path.relative_to(folder).as_posix() for path in pictures.glob("[0-9]*")) if pictures.is_dir() else []
    if not names:
        return None
    return {
        "file": names,
        "audio": sound.relative_to(folder).as_posix(),
        "fps": 25,
        "texts": [text],
        "transcript": text,
        "kind": "speech",
        "has_audio": True,
        "text_source": "human",
        "license": "VidTIMIT",
    }


def _timit_root(folder: Path) -> Path | None:
    """The folder that holds `train/dr1` and `test/dr1`."""
    found = first(folder, "train/dr[1-8]", "timit/train/dr[1-8]", "data/train/dr[1-8]", "*/timit/train/dr[1-8]")
    return found.parent.parent if found else None


def _timit(folder: Path) -> Lines:
    """Most sentences are read by seven people: what train reads, too, is left out of val, and of test."""
    root = _timit_root(folder)
    assert root is not None
    read = [_timit_line(folder, root, text_file) for text_file in sorted(root.glob(TIMIT_TEXTS))]
    lines = [line for line in read if line is not None]
    in_train = {normalised(line["transcript"]) for line in lines if line["split"] == "train"}
    for line in lines:
        known = line["split"] != "train" and normalised(line["transcript"]) in in_train
        yield line | ({"split": "unused"} if known else {})


def _timit_line(folder: Path, root: Path, text_file: Path) -> dict[str, Any] | None:
    sound = _timit_sound(text_file)
    words = text_file.read_text(encoding="latin-1").split(maxsplit=2)
    if sound is None or len(words) < 3:
        return None
    speaker, part = text_file.parent.name.lower(), text_file.relative_to(root).parts[0].lower()
    split = "test" if part == "test" else "val" if share_of(speaker) < 0.1 else "train"
    text = words[2].strip()
    return {
        "file": sound.relative_to(folder).as_posix(),
        "texts": [text],
        "transcript": text,
        "split": "unused" if text_file.stem.lower() in SHARED and split != "train" else split,
        "kind": "speech",
        "group": speaker,
        "has_audio": True,
        "text_source": "human",
        "license": "LDC93S1",
    }


def _timit_sound(text_file: Path) -> Path | None:
    """`X.WAV` is NIST SPHERE; some copies add `X.WAV.wav`, which every player reads."""
    return first(text_file.parent, f"{text_file.stem}.wav.wav", f"{text_file.stem}.wav")


VIDTIMIT = Adapter(
    "VidTIMIT",
    "Expected: {speaker}/video/{sentence}/001..., {speaker}/audio/{sentence}.wav, and TIMIT's prompts.txt.",
    _vidtimit_is,
    _vidtimit,
)
TIMIT = Adapter(
    "TIMIT",
    "Expected: {train,test}/dr1..8/{speaker}/{sentence}.wav and .txt.",
    lambda folder: _timit_root(folder) is not None,
    _timit,
)
