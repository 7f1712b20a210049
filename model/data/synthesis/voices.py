"""The voices that speak: eSpeak variants by sex, kept apart so that val and test voices are never heard in training."""

import random
from dataclasses import dataclass
from typing import Literal

from model.data.synthesis.sentences import Split
from model.data.synthesis.speech import Utterance

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


@dataclass(frozen=True)
class Voice:
    """One speaker's way of speaking; the same variant at another pitch and pace is another speaker."""

    sex: Sex
    accent: str
    variant: str
    rate: int
    pitch: int
    range: int

    def says(self, sentence: str) -> Utterance:
        return Utterance(sentence, f"{self.accent}+{self.variant}", self.rate, self.pitch, self.range)

    @property
    def heard(self) -> list[str]:
        """What a listener would say of it, the words aside."""
        pace = " quickly" if self.rate >= 185 else " slowly" if self.rate <= 140 else ""
        return [f"a {self.sex} speaking{pace}", f"the voice of a {self.sex} with {ACCENTS[self.accent]}"]


def draw_voice(random_source: random.Random, split: Split, sex: Sex | None = None) -> Voice:
    """A random voice of a split."""
    sexes: tuple[Sex, Sex] = ("woman", "man")
    chosen: Sex = random_source.choice(sexes) if sex is None else sex
    return Voice(
        sex=chosen,
        accent=random_source.choice(list(ACCENTS)),
        variant=random_source.choice(VARIANTS[split][chosen]),
        rate=random_source.randint(130, 200),
        pitch=random_source.randint(32, 68),
        range=random_source.randint(25, 75),
    )
