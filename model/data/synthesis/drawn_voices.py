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
PITCHES: Final = {"woman": (110, 210), "man": (50, 120)}  # the lower end, Hz
# Percent, at the most about as far as the named voices of training stray: where formants lie beside the tract's place,
# how high they rise, how wide they are.
PLACE: Final = (-20.0, 20.0)
HEIGHT: Final = (-70.0, 60.0)
WIDTH: Final = (-60.0, 80.0)
BANDS: Final = ((100, 800), (900, 1800), (1900, 3200), (3300, 5400))  # Hz, where the tone has its points


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
    strangeness = dice.random()  # how far all formants and the stress stray: near 0 a throat is an ordinary one
    lowest = dice.randint(*PITCHES[sex])
    lines = ["language variant", f"name {name}", f"gender {'female' if sex == 'woman' else 'male'}"]
    lines += [f"pitch {lowest} {round(lowest * dice.uniform(1.1, 1.9))}"]
    tract = dice.uniform(*TRACTS[sex])
    for formant in range(9):
        place, height, width = (100 + strangeness * dice.uniform(*bounds) for bounds in (PLACE, HEIGHT, WIDTH))
        lines.append(f"formant {formant} {round(tract * place)} {round(height)} {round(width)}")
    lines += [f"{word} {dice.randint(*bounds)}" for word, bounds in _MANNERS.items() if dice.random() < 0.5]
    if dice.random() < 0.5:
        lines.append(f"consonants {dice.randint(50, 160)} {dice.randint(50, 160)}")
    if dice.random() < 0.6:
        points = dice.sample(BANDS, dice.randint(2, 4))
        lines.append(f"tone {' '.join(f'{dice.randint(*band)} {dice.randint(20, 255)}' for band in sorted(points))}")
    if dice.random() < 0.3:
        lines.append(f"stressAmp {' '.join(str(dice.randint(16, 32)) for _ in range(8))}")
    if dice.random() < 0.3:
        lines.append(f"stressAdd {' '.join(str(round(strangeness * dice.uniform(-30, 120))) for _ in range(8))}")
    if dice.random() < 0.25:
        lines.append(f"breath {' '.join(str(dice.randint(0, 6)) for _ in range(8))}")
    if dice.random() < 0.2:
        lines.append(f"echo {dice.randint(20, 150)} {dice.randint(5, 30)}")
    if dice.random() < 0.2:
        lines.append(f"klatt {dice.randint(1, 6)}")
    return "\n".join(lines) + "\n"


_MANNERS: Final = {"flutter": (0, 20), "roughness": (0, 6), "voicing": (50, 220), "intonation": (1, 4)}
