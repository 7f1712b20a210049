"""Drawing in units of the frame's height, three times too large and then reduced, so that edges are smooth."""

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLING = 3
Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (206, 44, 44),
    "orange": (240, 132, 36),
    "yellow": (246, 206, 50),
    "green": (56, 148, 72),
    "blue": (48, 98, 200),
    "purple": (128, 66, 168),
    "pink": (242, 140, 176),
    "brown": (122, 78, 46),
    "black": (34, 34, 40),
    "white": (242, 242, 240),
    "grey": (134, 138, 144),
    "turquoise": (50, 178, 176),
}


def shade(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter above (towards white)."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    part = factor - 1
    return blend(colour, (255, 255, 255), part)


def blend(first: Colour, second: Colour, part: float) -> Colour:
    red, green, blue = (int(a + (b - a) * part) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


class Canvas:
    """A transparent picture; x runs from 0 to `aspect`, y from 0 to 1."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.unit = height * OVERSAMPLING
        self.aspect = width / height
        self.picture = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING))
        self.draw = ImageDraw.Draw(self.picture)

    def scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.unit, y * self.unit) for x, y in points]

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour | None, line: float = 0, ink: Colour | None = None
    ) -> None:
        bounds = self.scaled([(x - rx, y - ry), (x + rx, y + ry)])
        self.draw.ellipse(bounds, fill=fill, outline=ink, width=round(line * self.unit))

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self.draw.polygon(self.scaled(points), fill=fill)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None,
        radius: float = 0,
        line: float = 0,
        ink: Colour | None = None,
    ) -> None:
        self.draw.rounded_rectangle(
            self.scaled([(x0, y0), (x1, y1)]), radius * self.unit, fill=fill, outline=ink, width=round(line * self.unit)
        )

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line with round ends and joints."""
        scaled, thickness = self.scaled(points), width * self.unit
        self.draw.line(scaled, fill=fill, width=max(1, round(thickness)), joint="curve")
        for x, y in (scaled[0], scaled[-1]):
            self.draw.ellipse([x - thickness / 2, y - thickness / 2, x + thickness / 2, y + thickness / 2], fill=fill)

    def curve(self, start: Point, middle: Point, end: Point, fill: Colour, width: float) -> None:
        """A quadratic curve through the control point."""
        steps = np.linspace(0, 1, 17)
        points = [
            (
                float((1 - t) ** 2 * start[0] + 2 * t * (1 - t) * middle[0] + t**2 * end[0]),
                float((1 - t) ** 2 * start[1] + 2 * t * (1 - t) * middle[1] + t**2 * end[1]),
            )
            for t in steps
        ]
        self.line(points, fill, width)

    def slice(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """The part of an ellipse cut by a chord, angles in degrees clockwise from three o'clock."""
        self.draw.chord(self.scaled([(x - rx, y - ry), (x + rx, y + ry)]), start, end, fill=fill)

    def gradient(self, top: Colour, bottom: Colour, y0: float = 0, y1: float = 1) -> None:
        """Fill the rows from y0 to y1 with a vertical blend."""
        width, first, last = self.picture.width, round(y0 * self.unit), round(y1 * self.unit)
        parts = np.linspace(0, 1, max(1, last - first))[:, None]
        rows = (np.array(top) * (1 - parts) + np.array(bottom) * parts).astype(np.uint8)
        block = np.repeat(rows[:, None, :], width, axis=1)
        self.picture.paste(Image.fromarray(block), (0, first))

    def glaze(self, layer: "Canvas", strength: float) -> None:
        """Lay another canvas of this size over this one, partly transparent."""
        faint = layer.picture.getchannel("A").point(lambda value: int(value * strength))
        layer.picture.putalpha(faint)
        self.picture.alpha_composite(layer.picture)

    def layer(self) -> "Canvas":
        return Canvas(*self.size)

    def fill_through(self, mask: "Canvas", texture: "Canvas") -> None:
        """Put `texture` where `mask` is drawn."""
        self.picture.paste(texture.picture, (0, 0), mask.picture.getchannel("A"))

    def image(self) -> Image.Image:
        """The picture at its true size, with transparency."""
        return self.picture.reduce(OVERSAMPLING)


def grain(image: Image.Image, random_source: random.Random, strength: float = 2.5) -> np.ndarray:
    """An opaque picture as H, W, 3 uint8 with a little film grain."""
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    generator = np.random.default_rng(random_source.getrandbits(32))
    noise = generator.standard_normal(pixels.shape[:2], dtype=np.float32)[:, :, None] * strength
    return np.asarray(np.clip(pixels + noise, 0, 255), np.uint8)
