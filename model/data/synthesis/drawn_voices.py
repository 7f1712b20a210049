"""Voices of eSpeak NG that nobody has given a name: vocal tract, breath and tune drawn by chance.

Of named variants there are a hundred, and what hears only these knows these throats alone. A drawn voice is a variant
file (see eSpeak NG's docs/voices.md) that follows from its name, so that a name in a manifest says it again.
"""

import random
import re
from typing import Final, Literal

NAME: Final = re.compile(r"(train|val|test)-(woman|man)-\d+")
NUMBERS: Final = 1_000_000  # a voice with its accent and variant has at most 39 characters
TRACTS: Final = {"woman": (1.04, 1.32), "man": (0.82, 1.08)}  # formants against those of eSpeak's own voice
PITCHES: Final = {"woman": (120, 200), "man": (60, 115)}  # the lower end, Hz


def draw_name(random_source: random.Random, sex: Literal["woman", "man"], split: str) -> str:
    """The name of a new voice; those of two splits never meet."""
    return f"{split}-{sex}-{random_source.randrange(NUMBERS)}"


def variant_file(voice: str) -> str | None:
    """The variant file of a voice `accent+variant` whose variant is drawn; None for any other."""
    name = voice.partition("+")[2]
    found = NAME.fullmatch(name)
    if found is None:
        return None
    dice, sex = random.Random(name), found[2]
    lowest = dice.randint(*PITCHES[sex])
    lines = ["language variant", f"name {name}", f"gender {'female' if sex == 'woman' else 'male'}"]
    lines += [f"pitch {lowest} {round(lowest * dice.uniform(1.2, 1.8))}"]
    tract = dice.uniform(*TRACTS[sex])
    for formant in range(9):
        place = round(100 * tract * dice.uniform(0.93, 1.07))
        lines.append(f"formant {formant} {place} {dice.randint(60, 130)} {dice.randint(70, 190)}")
    lines += [f"{word} {dice.randint(*bounds)}" for word, bounds in _MANNERS.items() if dice.random() < 0.5]
    if dice.random() < 0.5:
        lines.append(f"tone 600 255 1600 {dice.randint(100, 255)} 3000 {dice.randint(60, 255)}")
    if dice.random() < 0.25:
        lines.append(f"breath {' '.join(str(dice.randint(0, 5)) for _ in range(8))}")
    if dice.random() < 0.15:
        lines.append(f"echo {dice.randint(20, 120)} {dice.randint(5, 30)}")
    if dice.random() < 0.2:
        lines.append(f"klatt {dice.randint(1, 6)}")
    return "\n".join(lines) + "\n"


_MANNERS: Final = {
    "flutter": (0, 20), "roughness": (0, 6), "voicing": (60, 150), "consonants": (60, 150), "intonation": (1, 4),
}  # fmt: skip
