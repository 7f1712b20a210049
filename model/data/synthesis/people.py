"""Who talks: drawn people with visible attributes, the words for them, and a voice each."""

import random
from dataclasses import dataclass
from typing import Literal

from model.data.synthesis.drawing import Colour
from model.data.synthesis.places import WALLS
from model.data.synthesis.sentences import Split
from model.data.synthesis.speech import Engine
from model.data.synthesis.voices import Sex, Voice, draw_voice, sexes

SKINS: tuple[Colour, ...] = (
    (250, 218, 196),
    (240, 196, 164),
    (224, 172, 134),
    (186, 130, 92),
    (140, 92, 62),
    (98, 64, 44),
)
HAIRS: dict[str, Colour] = {
    "black": (32, 28, 30),
    "brown": (96, 60, 36),
    "blond": (232, 196, 112),
    "red": (184, 72, 30),
    "grey": (150, 150, 154),
    "white": (232, 232, 228),
    "pink": (236, 120, 170),
    "blue": (60, 100, 200),
}
HAIR_SHARES = (22, 22, 18, 16, 10, 6, 3, 3)
STYLES: dict[Sex, tuple[str, ...]] = {
    "woman": ("long", "long", "curly", "short", "ponytail", "bun"),
    "man": ("short", "short", "curly", "long", "bald", "bald"),
}
BACKDROPS = (
    *(f"in front of a {colour} wall" for colour in WALLS),
    "on a beach",
    "in a forest",
    "in a city at night",
    "in front of snowy mountains",
    "in front of a bookshelf",
    "in front of a brick wall",
    "in a kitchen",
    "on a stage with red curtains",
)
SHIRTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white", "turquoise")
HATS = ("red", "blue", "green", "yellow", "black", "purple", "orange")
Gesture = Literal["still", "nodding", "swaying"]


def article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


@dataclass(frozen=True)
class Person:
    """Everything about one person that can be seen, and the voice."""

    sex: Sex
    skin: Colour
    hair: str
    style: str
    glasses: str
    beard: str
    hat: str
    hat_colour: str
    shirt: str
    pattern: str
    backdrop: str
    gesture: Gesture
    voice: Voice

    @property
    def hair_words(self) -> str:
        if self.style == "bald":
            return "a bald head"
        if self.style in {"ponytail", "bun"}:
            return f"{self.hair} hair in a {self.style}"
        return f"{self.style} {self.hair} hair"

    @property
    def features(self) -> list[str]:
        """What distinguishes the face, most striking first."""
        found = []
        if self.hat:
            found.append(f"{article(self.hat_colour)} {self.hat_colour} {self.hat}")
        if self.glasses:
            found.append("sunglasses" if self.glasses == "sunglasses" else f"{self.glasses} glasses")
        if self.beard:
            found.append(f"a {self.beard}")
        found.append(self.hair_words)
        return found

    @property
    def clothes(self) -> str:
        words = f"{self.pattern} {self.shirt} shirt".strip()
        return f"{article(words)} {words}"

    def seen(self, random_source: random.Random) -> list[str]:
        """Two descriptions: everything, and the way a passer-by would put it."""
        features = self.features
        listed = " and ".join(features[:2]) if len(features) < 3 else f"{', '.join(features[:-1])} and {features[-1]}"
        full = f"a {self.sex} with {listed} in {self.clothes} {self.backdrop}"
        moving = {"still": "talking", "nodding": "nodding and talking", "swaying": "swaying and talking"}[self.gesture]
        feature = random_source.choice(features)
        brief = f"a {self.sex} with {feature} {moving} {self.backdrop}"
        return [full, random_source.choice([brief, f"a {self.sex} in {self.clothes} with {feature} is {moving}"])]

    def says(self, sentence: str, random_source: random.Random) -> list[str]:
        """Texts that need both the picture and the sound."""
        feature = random_source.choice(self.features)
        return [
            f"the {self.sex} with {feature} says: {sentence}",
            f"a {self.sex} in {self.clothes} {self.backdrop} says {sentence}",
        ]


def draw_hair(random_source: random.Random, skin: Colour) -> str:
    """A hair colour that stands out from the skin, so that its owner does not look bald."""
    while True:
        hair = random_source.choices(list(HAIRS), HAIR_SHARES)[0]
        if sum(abs(a - b) for a, b in zip(HAIRS[hair], skin, strict=True)) > 110:
            return hair


def draw_person(random_source: random.Random, split: Split, sex: Sex, engine: Engine = "espeak") -> Person:
    skin, style = random_source.choice(SKINS), random_source.choice(STYLES[sex])
    hat = random_source.choice(["", "", "", "cap", "woolly hat", "straw hat"])
    return Person(
        sex=sex,
        skin=skin,
        hair=draw_hair(random_source, skin),
        style=style,
        glasses=random_source.choice(["", "", "", "round", "square", "sunglasses"]),
        beard=random_source.choice(["", "", "beard", "moustache"]) if sex == "man" else "",
        hat=hat,
        hat_colour="yellow" if hat == "straw hat" else random_source.choice(HATS),
        shirt=random_source.choice(SHIRTS),
        pattern=random_source.choice(["", "", "striped", "dotted", "checked"]),
        backdrop=random_source.choice(BACKDROPS),
        gesture=random_source.choice(["still", "nodding", "swaying"]),
        voice=draw_voice(random_source, split, sex, engine),
    )


def cast(count: int, split: Split, seed: int, engine: Engine = "espeak") -> list[Person]:
    """The people of a split, no two of whom look the same; 19 of 43 are women, as in VidTIMIT, where voices allow."""
    random_source = random.Random(f"cast {split} {seed}")
    people: list[Person] = []
    looks: set[tuple[str, ...]] = set()
    voiced = sexes(engine, split)
    while len(people) < count:
        wanted: Sex = "woman" if len(people) * 19 % 43 < 19 else "man"
        person = draw_person(random_source, split, wanted if wanted in voiced else voiced[0], engine)
        look = (person.sex, *person.features, person.clothes, person.backdrop)
        if look not in looks:
            looks.add(look)
            people.append(person)
    return people
