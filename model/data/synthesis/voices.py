"""The voices that speak, by engine, split and sex: val and test voices are never heard in training.

Of Festival nothing is heard in training, so that the test has an unseen engine. Its kal and slt are the same people as
flite's, which is why flite speaks with two voices only.
"""

import random
from dataclasses import dataclass
from typing import Literal

from model.data.synthesis.drawn_voices import draw_name
from model.data.synthesis.sentences import Split
from model.data.synthesis.speech import USUAL_RATE, Utterance
from model.data.synthesis.speech import Engine as Engine

Sex = Literal["woman", "man"]
ACCENTS = {
    "gmw/en": "a British accent",
    "gmw/en-US": "an American accent",
    "gmw/en-GB-scotland": "a Scottish accent",
    "gmw/en-GB-x-rp": "a posh English accent",
}
VARIANTS: dict[Split, dict[Sex, list[str]]] = {
    "train": {
        "woman": "f1 f3 f5 Andrea Annie anika aunty grandma linda shelby".split(),
        "man": (
            "m1 m2 m3 m5 m8 adam Andy announcer antonio Alex caleb croak Denis Diogo ed edward edward2 Gene Gene2 "
            "grandpa gustave Henrique Hugo ian iven iven4 Jacky klatt3 klatt4 klatt6 marcelo max Marco Michael Mike "
            "michel miguel paul quincy Reed rob robert sandro Storm travis Tweaky victor RicishayMax kaukovalta Nguyen"
        ).split(),
    },
    "val": {"woman": ["f2", "belinda"], "man": ["m6", "pablo", "boris", "Lee"]},
    "test": {
        "woman": ["f4", "steph", "steph2", "steph3", "Alicia"],
        "man": ["m4", "m7", "david", "norbert", "Mario", "benjamin", "pedro", "john"],
    },
}
SPEAKERS: dict[Engine, dict[Split, dict[Sex, list[str]]]] = {
    "espeak": VARIANTS,
    "flite": {"train": {"man": ["awb", "rms"]}},
    "festival": {"test": {"woman": ["cmu_us_slt_arctic_hts"], "man": ["kal_diphone", "ked_diphone"]}},
}
OWN_ACCENTS = {"awb": "gmw/en-GB-scotland"}  # all other voices of flite and Festival are American
STEADY = {"cmu_us_slt_arctic_hts"}  # ignores the pace asked for


@dataclass(frozen=True)
class Voice:
    """One speaker's way of speaking; the same variant at another pitch and pace is another speaker."""

    sex: Sex
    accent: str
    variant: str
    rate: int
    pitch: int
    range: int
    engine: Engine = "espeak"

    def says(self, sentence: str) -> Utterance:
        name = f"{self.accent}+{self.variant}" if self.engine == "espeak" else self.variant
        return Utterance(sentence, name, self.rate, self.pitch, self.range, self.engine)

    @property
    def fields(self) -> dict[str, str]:
        """Who speaks, for the manifest."""
        return {"engine": self.engine, "voice": self.says("").voice}

    @property
    def heard(self) -> list[str]:
        """What a listener would say of it, the words aside."""
        pace = " quickly" if self.rate >= 185 else " slowly" if self.rate <= 140 else ""
        return [f"a {self.sex} speaking{pace}", f"the voice of a {self.sex} with {ACCENTS[self.accent]}"]


def sexes(engine: Engine, split: Split) -> list[Sex]:
    """Those an engine has voices of in a split; none where the whole engine is kept out of it."""
    return list(SPEAKERS[engine].get(split, {}))


def draw_voice(
    random_source: random.Random,
    split: Split,
    sex: Sex | None = None,
    engine: Engine = "espeak",
    *,
    unnamed: bool = False,
) -> Voice:
    """A random voice of a split; `unnamed`, one that eSpeak has no name for."""
    chosen: Sex = random_source.choice(sexes(engine, split)) if sex is None else sex
    accent = random_source.choice(list(ACCENTS))
    known = SPEAKERS[engine][split][chosen]
    variant = draw_name(random_source, chosen, split) if unnamed else random_source.choice(known)
    rate = random_source.randint(130, 200)
    return Voice(
        sex=chosen,
        accent=accent if engine == "espeak" else OWN_ACCENTS.get(variant, "gmw/en-US"),
        variant=variant,
        rate=USUAL_RATE if variant in STEADY else rate,
        pitch=random_source.randint(32, 68),
        range=random_source.randint(25, 75),
        engine=engine,
    )
