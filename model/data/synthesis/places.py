"""Where a scene happens: painted backgrounds, each seeded so that no two beaches are the same."""

import math
import random
from collections.abc import Callable

from model.data.synthesis.drawing import COLOURS, Canvas, Colour, blend, shade


def paint_sky(canvas: Canvas, random_source: random.Random, top: Colour, bottom: Colour, clouds: int = 3) -> None:
    canvas.gradient(top, bottom)
    white = blend(bottom, (255, 255, 255), 0.75)
    for _ in range(clouds):
        x, y, size = (
            random_source.uniform(0, canvas.aspect),
            random_source.uniform(0.06, 0.28),
            random_source.uniform(0.05, 0.09),
        )
        for step in (-1.3, -0.5, 0.4, 1.2):
            canvas.ellipse(x + step * size, y, size, size * (0.62 - abs(step) * 0.2), white)


def beach(canvas: Canvas, random_source: random.Random) -> None:
    paint_sky(canvas, random_source, (84, 170, 232), (206, 234, 246), 2)
    canvas.ellipse(random_source.uniform(0.15, canvas.aspect - 0.15), 0.16, 0.07, 0.07, (255, 240, 170))
    canvas.gradient((28, 110, 176), (74, 186, 204), 0.5, 0.72)
    for _ in range(12):
        x, y = random_source.uniform(0, canvas.aspect), random_source.uniform(0.53, 0.69)
        canvas.line([(x, y), (x + random_source.uniform(0.05, 0.14), y)], (146, 214, 226), 0.006)
    canvas.gradient((240, 220, 170), (222, 190, 128), 0.72, 1)
    canvas.line(
        [(x / 20, 0.72 + 0.008 * math.sin(x * 1.3)) for x in range(int(canvas.aspect * 20) + 2)], (250, 250, 244), 0.014
    )
    trunk = random_source.choice([0.1, canvas.aspect - 0.1])
    lean = 0.06 if trunk < 0.5 else -0.06
    canvas.curve((trunk, 0.86), (trunk, 0.6), (trunk + lean, 0.36), (126, 90, 56), 0.03)
    for angle in range(0, 360, 45):
        end = (trunk + lean + 0.17 * math.cos(math.radians(angle)), 0.4 + 0.08 * math.sin(math.radians(angle)))
        canvas.curve(
            (trunk + lean, 0.36), (trunk + lean + (end[0] - trunk - lean) * 0.6, 0.29), end, (44, 130, 64), 0.024
        )


def forest(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((150, 200, 160), (70, 128, 76))
    for depth in range(3):
        tone = blend((120, 168, 122), (34, 86, 46), depth / 2)
        for _ in range(7 - depth):
            x, width = random_source.uniform(0, canvas.aspect), 0.015 + 0.014 * depth
            canvas.box(x - width, 0, x + width, 0.82, blend((132, 110, 84), (74, 50, 34), depth / 2))
            for _ in range(6):
                canvas.ellipse(
                    x + random_source.uniform(-0.12, 0.12),
                    random_source.uniform(0, 0.34),
                    0.11,
                    0.08,
                    shade(tone, random_source.uniform(0.85, 1.15)),
                )
    canvas.gradient((84, 132, 62), (52, 92, 42), 0.74, 1)
    for _ in range(60):
        x, y = random_source.uniform(0, canvas.aspect), random_source.uniform(0.76, 1)
        canvas.line([(x, y), (x + 0.008, y - 0.03)], (110, 162, 76), 0.005)


def buildings(canvas: Canvas, random_source: random.Random, walls: list[Colour], lit: Colour, share: float) -> None:
    x = -0.05
    while x < canvas.aspect:
        width, top = random_source.uniform(0.16, 0.28), random_source.uniform(0.12, 0.42)
        wall = random_source.choice(walls)
        canvas.box(x, top, x + width, 0.74, wall)
        for row in range(int((0.7 - top) / 0.075)):
            for column in range(int(width / 0.055)):
                left, upper = x + 0.018 + column * 0.055, top + 0.03 + row * 0.075
                glow = lit if random_source.random() < share else shade(wall, 0.7)
                canvas.box(left, upper, left + 0.03, upper + 0.042, glow)
        x += width + random_source.uniform(0, 0.02)


def road(canvas: Canvas, surface: Colour, stripe: Colour) -> None:
    canvas.box(0, 0.72, canvas.aspect, 0.77, shade(surface, 1.35))
    canvas.box(0, 0.77, canvas.aspect, 1, surface)
    for step in range(int(canvas.aspect / 0.2) + 1):
        canvas.box(step * 0.2, 0.905, step * 0.2 + 0.1, 0.92, stripe)


def city_street(canvas: Canvas, random_source: random.Random) -> None:
    paint_sky(canvas, random_source, (122, 184, 232), (214, 232, 240), 2)
    walls: list[Colour] = [(196, 120, 92), (206, 188, 156), (150, 162, 176), (222, 206, 178), (168, 104, 92)]
    buildings(canvas, random_source, walls, (226, 240, 246), 0.75)
    road(canvas, (88, 90, 96), (236, 232, 214))


def city_at_night(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((10, 12, 40), (46, 40, 88))
    for _ in range(40):
        canvas.ellipse(
            random_source.uniform(0, canvas.aspect), random_source.uniform(0, 0.4), 0.003, 0.003, (250, 250, 230)
        )
    moon = random_source.uniform(0.2, canvas.aspect - 0.2)
    canvas.ellipse(moon, 0.14, 0.06, 0.06, (250, 244, 208))
    canvas.ellipse(moon + 0.03, 0.125, 0.05, 0.05, (17, 18, 50))
    buildings(canvas, random_source, [(26, 28, 52), (36, 34, 62), (20, 24, 44)], (252, 214, 110), 0.45)
    road(canvas, (34, 35, 46), (196, 180, 96))


def snowy_mountains(canvas: Canvas, random_source: random.Random) -> None:
    paint_sky(canvas, random_source, (96, 156, 220), (216, 232, 246), 2)
    for depth in range(2):
        x = random_source.uniform(-0.1, 0.1)
        while x < canvas.aspect + 0.2:
            height, half = random_source.uniform(0.34, 0.52) - 0.1 * depth, random_source.uniform(0.26, 0.36)
            rock, peak = blend((134, 150, 178), (96, 108, 134), depth), 0.76 - height
            canvas.polygon([(x - half, 0.78), (x, peak), (x + half, 0.78)], rock)
            canvas.polygon([(x, peak), (x + half, 0.78), (x + half * 0.2, 0.78)], shade(rock, 0.86))
            cap = [(x, peak), (x + half * 0.36, peak + height * 0.36), (x + half * 0.14, peak + height * 0.29)]
            cap += [
                (x - half * 0.04, peak + height * 0.4),
                (x - half * 0.17, peak + height * 0.28),
                (x - half * 0.36, peak + height * 0.36),
            ]
            canvas.polygon(cap, (250, 252, 255))
            x += random_source.uniform(0.3, 0.5)
    canvas.gradient((238, 244, 252), (206, 220, 238), 0.74, 1)
    for _ in range(5):
        x = random_source.uniform(0, canvas.aspect)
        for row in range(3):
            canvas.polygon(
                [
                    (x - 0.045 + row * 0.01, 0.77 - row * 0.045),
                    (x, 0.68 - row * 0.05),
                    (x + 0.045 - row * 0.01, 0.77 - row * 0.045),
                ],
                (38, 84, 66),
            )


def desert(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((250, 176, 96), (252, 222, 160))
    canvas.ellipse(random_source.uniform(0.2, canvas.aspect - 0.2), 0.3, 0.09, 0.09, (255, 246, 206))
    for depth in range(3):
        tone = blend((226, 166, 98), (196, 126, 66), depth / 2)
        x = random_source.uniform(-0.2, 0.2)
        while x < canvas.aspect + 0.3:
            canvas.ellipse(
                x, 0.86 + depth * 0.06, 0.42, 0.26 - depth * 0.03, shade(tone, random_source.uniform(0.96, 1.04))
            )
            x += 0.5
    canvas.gradient((206, 140, 78), (186, 116, 58), 0.82, 1)
    for x in (random_source.uniform(0.08, 0.2), canvas.aspect - random_source.uniform(0.08, 0.2)):
        for points in (
            [(x, 0.84), (x, 0.56)],
            [(x - 0.05, 0.62), (x - 0.05, 0.7), (x, 0.7)],
            [(x + 0.05, 0.6), (x + 0.05, 0.67), (x, 0.67)],
        ):
            canvas.line(points, (58, 128, 74), 0.034)


def meadow(canvas: Canvas, random_source: random.Random) -> None:
    paint_sky(canvas, random_source, (98, 176, 240), (214, 238, 250), 4)
    for depth in range(3):
        tone = blend((150, 200, 110), (92, 164, 66), depth / 2)
        for step in range(4):
            canvas.ellipse(
                step * 0.55 + random_source.uniform(-0.2, 0.2),
                0.86 + depth * 0.06,
                0.48,
                0.24 - depth * 0.02,
                shade(tone, random_source.uniform(0.95, 1.05)),
            )
    canvas.gradient((104, 174, 70), (70, 138, 52), 0.8, 1)
    for _ in range(45):
        x, y = random_source.uniform(0, canvas.aspect), random_source.uniform(0.8, 0.99)
        canvas.ellipse(x, y, 0.007, 0.007, COLOURS[random_source.choice(["yellow", "white", "pink", "red"])])


def sea(canvas: Canvas, random_source: random.Random) -> None:
    paint_sky(canvas, random_source, (100, 176, 236), (222, 238, 246), 3)
    canvas.gradient((34, 104, 170), (16, 66, 124), 0.58, 1)
    for _ in range(34):
        x, y = random_source.uniform(0, canvas.aspect), random_source.uniform(0.62, 0.98)
        canvas.curve((x, y), (x + 0.04, y - 0.022), (x + 0.08, y), (130, 190, 226), 0.006)


def living_room(canvas: Canvas, random_source: random.Random) -> None:
    wall = random_source.choice([(226, 212, 188), (196, 212, 206), (214, 200, 212), (204, 214, 226)])
    canvas.gradient(wall, shade(wall, 0.93))
    canvas.gradient((170, 122, 80), (140, 96, 60), 0.74, 1)
    for step in range(int(canvas.aspect * 8)):
        canvas.line([(step / 8, 0.745), (step / 8 - 0.05, 1)], (126, 86, 54), 0.004)
    canvas.box(0, 0.725, canvas.aspect, 0.745, shade(wall, 1.4))
    sofa = COLOURS[random_source.choice(["turquoise", "purple", "grey", "orange"])]
    left = canvas.aspect * 0.5 - 0.3
    canvas.box(left, 0.46, left + 0.6, 0.72, shade(sofa, 0.85), 0.05)
    canvas.box(left - 0.05, 0.55, left + 0.65, 0.78, sofa, 0.05)
    canvas.box(left + 0.08, 0.5, left + 0.22, 0.62, shade(sofa, 1.4), 0.03)
    canvas.box(left + 0.14, 0.14, left + 0.46, 0.38, (250, 248, 240), 0.005, 0.016, (112, 76, 46))
    canvas.polygon(
        [(left + 0.17, 0.35), (left + 0.27, 0.22), (left + 0.33, 0.29), (left + 0.38, 0.24), (left + 0.43, 0.35)],
        (104, 150, 120),
    )
    lamp = canvas.aspect - 0.14
    canvas.line([(lamp, 0.4), (lamp, 0.76)], (70, 60, 52), 0.012)
    canvas.polygon(
        [(lamp - 0.1, 0.42), (lamp - 0.055, 0.27), (lamp + 0.055, 0.27), (lamp + 0.1, 0.42)], (250, 226, 150)
    )


def kitchen(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((236, 240, 238), (222, 228, 226))
    for row in range(9):
        canvas.line([(0, 0.06 + row * 0.08), (canvas.aspect, 0.06 + row * 0.08)], (204, 214, 212), 0.004)
    for column in range(int(canvas.aspect / 0.1) + 1):
        canvas.line([(column * 0.1, 0), (column * 0.1, 0.7)], (204, 214, 212), 0.004)
    front = COLOURS[random_source.choice(["turquoise", "green", "blue", "orange"])]
    canvas.box(0, 0.16, canvas.aspect, 0.19, (150, 104, 64))
    for _ in range(8):
        x, tone = (
            random_source.uniform(0.05, canvas.aspect - 0.05),
            COLOURS[random_source.choice(["red", "yellow", "white", "blue", "green"])],
        )
        canvas.box(x - 0.028, 0.08, x + 0.028, 0.16, tone, 0.012)
    canvas.box(0, 0.7, canvas.aspect, 0.74, (186, 148, 104))
    canvas.box(0, 0.74, canvas.aspect, 1, shade(front, 1.2))
    for column in range(int(canvas.aspect / 0.3) + 1):
        canvas.box(column * 0.3 + 0.015, 0.77, column * 0.3 + 0.285, 0.98, shade(front, 1.05), 0.01)
        canvas.ellipse(column * 0.3 + 0.25, 0.87, 0.012, 0.012, (240, 230, 200))


def bookshelf(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((96, 62, 38), (74, 46, 28))
    for row in range(5):
        floor, x = 0.19 + row * 0.2, 0.02
        while x < canvas.aspect - 0.03:
            width, height = random_source.uniform(0.022, 0.05), random_source.uniform(0.115, 0.16)
            tone = shade(COLOURS[random_source.choice(list(COLOURS))], random_source.uniform(0.6, 0.95))
            canvas.box(x, floor - height, x + width - 0.003, floor, tone, 0.003)
            canvas.box(x + 0.004, floor - height * 0.8, x + width - 0.007, floor - height * 0.7, shade(tone, 1.4))
            x += width + (0.03 if random_source.random() < 0.06 else 0)
        canvas.box(0, floor, canvas.aspect, floor + 0.025, (134, 90, 56))


def brick_wall(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((206, 196, 186), (196, 186, 176))
    for row in range(14):
        for column in range(-1, int(canvas.aspect / 0.15) + 1):
            left = column * 0.15 + (0.075 if row % 2 else 0)
            tone = shade((170, 82, 62), random_source.uniform(0.86, 1.12))
            canvas.box(left + 0.004, row * 0.073 + 0.004, left + 0.146, row * 0.073 + 0.068, tone, 0.005)


def stage(canvas: Canvas, random_source: random.Random) -> None:
    canvas.gradient((150, 22, 34), (110, 12, 24))
    for step in range(int(canvas.aspect * 11) + 1):
        x = step / 11 + random_source.uniform(-0.008, 0.008)
        canvas.box(x, 0, x + 0.03, 0.8, (176, 32, 44))
        canvas.box(x + 0.05, 0, x + 0.066, 0.8, (92, 8, 20))
    canvas.gradient((178, 126, 80), (140, 94, 56), 0.78, 1)
    canvas.box(0, 0, canvas.aspect, 0.07, (212, 166, 60))
    for step in range(int(canvas.aspect * 8) + 1):
        canvas.slice(step / 8 + 0.06, 0.07, 0.07, 0.05, 0, 180, (212, 166, 60))


PLACES: dict[str, Callable[[Canvas, random.Random], None]] = {
    "on a beach": beach,
    "in a forest": forest,
    "on a city street": city_street,
    "in a city at night": city_at_night,
    "in front of snowy mountains": snowy_mountains,
    "in a desert": desert,
    "in a green meadow": meadow,
    "on the sea": sea,
    "in a living room": living_room,
    "in a kitchen": kitchen,
    "in front of a bookshelf": bookshelf,
    "in front of a brick wall": brick_wall,
    "on a stage with red curtains": stage,
}
WALLS = ("blue", "green", "yellow", "pink", "grey", "white", "orange", "purple", "turquoise")


def paint(place: str, width: int, height: int, random_source: random.Random) -> Canvas:
    """A named place, or `in front of a COLOUR wall`."""
    canvas = Canvas(width, height)
    if place in PLACES:
        PLACES[place](canvas, random_source)
        return canvas
    colour = COLOURS[place.split()[-2]]
    canvas.gradient(shade(colour, 1.25), shade(colour, 0.95))
    return canvas
