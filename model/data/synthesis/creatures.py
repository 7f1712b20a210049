"""Drawn animals and people for scenes, in a unit square, facing right; `phase` 0 or 1 moves legs and wings."""

from model.data.synthesis.drawing import Canvas, Colour, shade

INK: Colour = (28, 26, 30)
BEAK: Colour = (244, 164, 40)


def eye(canvas: Canvas, x: float, y: float, size: float = 0.018) -> None:
    canvas.ellipse(x, y, size, size, (250, 250, 250))
    canvas.ellipse(x + size * 0.25, y, size * 0.6, size * 0.6, INK)


def legs(
    canvas: Canvas, places: tuple[float, ...], top: float, colour: Colour, phase: int, width: float = 0.06
) -> None:
    for index, x in enumerate(places):
        step = (0.05 if (index + phase) % 2 else -0.05) if phase >= 0 else 0
        canvas.line([(x, top), (x + step, 0.93)], shade(colour, 0.8 if index % 2 else 1), width)


def dog(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.curve((0.2, 0.55), (0.08, 0.5), (0.1 + 0.05 * phase, 0.34), colour, 0.05)
    legs(canvas, (0.26, 0.34, 0.6, 0.68), 0.68, colour, phase)
    canvas.box(0.18, 0.5, 0.74, 0.74, colour, 0.11)
    canvas.line([(0.68, 0.58), (0.76, 0.42)], colour, 0.16)
    canvas.ellipse(0.77, 0.36, 0.13, 0.12, colour)
    canvas.box(0.8, 0.34, 0.97, 0.45, shade(colour, 1.15), 0.05)
    canvas.ellipse(0.955, 0.365, 0.025, 0.022, INK)
    canvas.polygon([(0.66, 0.28), (0.72, 0.26), (0.72, 0.46), (0.65, 0.46)], shade(colour, 0.7))
    eye(canvas, 0.82, 0.32)
    canvas.line([(0.7, 0.5), (0.8, 0.52)], (200, 40, 40), 0.035)


def cat(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.curve((0.2, 0.62), (0.02, 0.6), (0.1, 0.28 + 0.06 * phase), colour, 0.045)
    legs(canvas, (0.26, 0.33, 0.58, 0.65), 0.74, colour, phase, 0.05)
    canvas.box(0.18, 0.56, 0.7, 0.77, colour, 0.1)
    for x in (0.3, 0.4, 0.5):
        canvas.line([(x, 0.57), (x + 0.02, 0.66)], shade(colour, 0.7), 0.022)
    canvas.polygon([(0.62, 0.42), (0.63, 0.22), (0.73, 0.33)], colour)
    canvas.polygon([(0.77, 0.33), (0.88, 0.22), (0.88, 0.42)], colour)
    canvas.ellipse(0.755, 0.45, 0.145, 0.13, colour)
    for side in (-1, 1):
        canvas.ellipse(0.765 + side * 0.055, 0.43, 0.027, 0.033, (190, 220, 80))
        canvas.ellipse(0.765 + side * 0.055, 0.43, 0.009, 0.028, INK)
        for row in (0, 1):
            canvas.line(
                [(0.765 + side * 0.05, 0.5 + row * 0.02), (0.765 + side * 0.17, 0.48 + row * 0.045)],
                (240, 240, 240),
                0.007,
            )
    canvas.polygon([(0.745, 0.475), (0.785, 0.475), (0.765, 0.5)], (224, 120, 130))


def hoofed(canvas: Canvas, colour: Colour, phase: int, face: Colour) -> None:
    """The body that cows and sheep share."""
    legs(canvas, (0.26, 0.34, 0.6, 0.68), 0.68, face, phase)
    canvas.box(0.15, 0.42, 0.74, 0.74, colour, 0.13)
    canvas.ellipse(0.82, 0.42, 0.1, 0.13, face)


def cow(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.curve((0.16, 0.5), (0.08, 0.55), (0.09 + 0.03 * phase, 0.72), colour, 0.025)
    hoofed(canvas, colour, phase, shade(colour, 0.92))
    patch = (250, 250, 250) if sum(colour) < 500 else INK
    for x, y, size in ((0.3, 0.54, 0.09), (0.55, 0.5, 0.07), (0.47, 0.64, 0.05)):
        canvas.ellipse(x, y, size, size * 0.75, patch)
    canvas.ellipse(0.5, 0.76, 0.06, 0.04, (240, 170, 170))
    for side in (-1, 1):
        canvas.curve(
            (0.82 + side * 0.06, 0.31), (0.82 + side * 0.12, 0.28), (0.82 + side * 0.11, 0.2), (226, 214, 190), 0.025
        )
        canvas.ellipse(0.82 + side * 0.12, 0.36, 0.05, 0.025, shade(colour, 0.8))
    canvas.ellipse(0.83, 0.52, 0.085, 0.055, (240, 180, 176))
    eye(canvas, 0.79, 0.38)
    eye(canvas, 0.87, 0.38)


def sheep(canvas: Canvas, colour: Colour, phase: int) -> None:
    hoofed(canvas, colour, phase, INK)
    for x, y in (
        (0.2, 0.48),
        (0.32, 0.42),
        (0.45, 0.4),
        (0.58, 0.42),
        (0.7, 0.47),
        (0.2, 0.62),
        (0.7, 0.62),
        (0.35, 0.7),
        (0.52, 0.71),
    ):
        canvas.ellipse(x, y, 0.095, 0.09, shade(colour, 0.97))
    canvas.ellipse(0.8, 0.31, 0.08, 0.06, colour)
    canvas.ellipse(0.72, 0.4, 0.05, 0.025, INK)
    eye(canvas, 0.85, 0.4)


def rooster(canvas: Canvas, colour: Colour, phase: int) -> None:
    for step, tone in enumerate((0.6, 0.8, 1.0, 1.2)):
        canvas.curve((0.34, 0.62), (0.1, 0.5 - step * 0.08), (0.14 + step * 0.06, 0.24), shade(colour, tone), 0.055)
    for x in (0.46, 0.54):
        canvas.line([(x, 0.78), (x, 0.93), (x + 0.06, 0.94)], BEAK, 0.022)
    canvas.ellipse(0.5, 0.62, 0.21, 0.18, colour)
    canvas.line([(0.62, 0.56), (0.68, 0.34)], colour, 0.15)
    canvas.ellipse(0.69, 0.3, 0.085, 0.085, colour)
    for step in range(3):
        canvas.ellipse(0.645 + step * 0.045, 0.21, 0.03, 0.045, (214, 34, 40))
    canvas.polygon([(0.76, 0.27), (0.87, 0.31 - 0.03 * phase), (0.76, 0.34)], BEAK)
    canvas.ellipse(0.755, 0.385, 0.025, 0.05, (214, 34, 40))
    canvas.ellipse(0.46, 0.62, 0.12, 0.09, shade(colour, 0.75))
    eye(canvas, 0.71, 0.28)


def frog(canvas: Canvas, colour: Colour, phase: int) -> None:
    lift = 0.03 * phase
    for side in (-1, 1):
        canvas.ellipse(0.5 + side * 0.26, 0.78, 0.14, 0.13, shade(colour, 0.85))
        canvas.line([(0.5 + side * 0.2, 0.92), (0.5 + side * 0.4, 0.93)], shade(colour, 0.7), 0.05)
    canvas.ellipse(0.5, 0.72 - lift, 0.27, 0.2, colour)
    canvas.ellipse(0.5, 0.79 - lift, 0.19, 0.12, shade(colour, 1.45))
    canvas.ellipse(0.5, 0.53 - lift, 0.23, 0.15, colour)
    for side in (-1, 1):
        canvas.ellipse(0.5 + side * 0.13, 0.4 - lift, 0.075, 0.075, colour)
        eye(canvas, 0.5 + side * 0.13, 0.39 - lift, 0.05)
    canvas.curve((0.34, 0.56 - lift), (0.5, 0.66 - lift), (0.66, 0.56 - lift), INK, 0.014)


def bird(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.polygon([(0.32, 0.52), (0.06, 0.42), (0.1, 0.56)], shade(colour, 0.75))
    canvas.ellipse(0.48, 0.52, 0.24, 0.14, colour)
    canvas.ellipse(0.52, 0.57, 0.16, 0.08, shade(colour, 1.4))
    canvas.ellipse(0.72, 0.44, 0.11, 0.1, colour)
    canvas.polygon([(0.81, 0.41), (0.95, 0.45), (0.81, 0.48)], BEAK)
    tip = (0.3, 0.12) if phase else (0.26, 0.88)
    canvas.polygon([(0.36, 0.5), tip, (0.6, 0.5)], shade(colour, 0.8))
    eye(canvas, 0.755, 0.42, 0.022)


def duck(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.polygon([(0.2, 0.62), (0.06, 0.5), (0.14, 0.74)], colour)
    canvas.ellipse(0.43, 0.7, 0.3, 0.17, colour)
    canvas.line([(0.62, 0.66), (0.68, 0.46)], colour, 0.13)
    canvas.ellipse(0.7, 0.42, 0.105, 0.1, shade(colour, 0.9))
    canvas.box(0.77, 0.41, 0.93, 0.475 + 0.015 * phase, BEAK, 0.03)
    canvas.ellipse(0.4, 0.68 - 0.01 * phase, 0.18, 0.1, shade(colour, 0.82))
    eye(canvas, 0.735, 0.39, 0.022)


def butterfly(canvas: Canvas, colour: Colour, phase: int) -> None:
    wide = 0.26 if phase else 0.14
    for side in (-1, 1):
        canvas.ellipse(0.5 + side * wide, 0.38, wide, 0.22, colour)
        canvas.ellipse(0.5 + side * wide * 0.8, 0.66, wide * 0.75, 0.16, shade(colour, 0.8))
        canvas.ellipse(0.5 + side * wide, 0.38, wide * 0.45, 0.1, shade(colour, 1.55))
        canvas.curve((0.5, 0.28), (0.5 + side * 0.06, 0.16), (0.5 + side * 0.1, 0.12), INK, 0.012)
    canvas.box(0.475, 0.27, 0.525, 0.78, INK, 0.025)


def whale(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.polygon([(0.2, 0.6), (0.02, 0.38 + 0.05 * phase), (0.1, 0.6), (0.03, 0.7)], colour)
    canvas.ellipse(0.52, 0.64, 0.4, 0.23, colour)
    canvas.slice(0.54, 0.66, 0.37, 0.2, 15, 165, shade(colour, 1.6))
    canvas.polygon([(0.5, 0.74), (0.42, 0.92), (0.62, 0.78)], shade(colour, 0.8))
    eye(canvas, 0.8, 0.58, 0.026)
    for side in (-1, 1):
        canvas.curve(
            (0.62, 0.42), (0.62 + side * 0.02, 0.22), (0.62 + side * (0.1 + 0.03 * phase), 0.28), (190, 226, 244), 0.024
        )


def person(canvas: Canvas, colour: Colour, phase: int, skirt: bool) -> None:
    """A whole person walking; `colour` is the shirt's."""
    skin, trousers = (226, 178, 142), (52, 58, 92)
    swing = 0.09 if phase else 0.02
    for side in (-1, 1):
        canvas.line([(0.5, 0.6), (0.5 + side * swing, 0.91)], skin if skirt else trousers, 0.075)
        canvas.line([(0.5 + side * swing, 0.93), (0.56 + side * swing, 0.93)], INK, 0.045)
    if skirt:
        canvas.polygon([(0.42, 0.54), (0.58, 0.54), (0.66, 0.74), (0.34, 0.74)], shade(colour, 0.8))
        canvas.box(0.4, 0.11, 0.56, 0.33, (96, 56, 30), 0.07)
    canvas.line([(0.5, 0.36), (0.5 - swing * 1.3, 0.56)], shade(colour, 0.75), 0.06)
    canvas.box(0.405, 0.31, 0.595, 0.62, colour, 0.07)
    canvas.line([(0.5, 0.37), (0.5 + swing * 1.3, 0.56)], shade(colour, 0.85), 0.06)
    canvas.ellipse(0.5 + swing * 1.3, 0.58, 0.032, 0.032, skin)
    canvas.ellipse(0.51, 0.21, 0.085, 0.1, skin)
    canvas.slice(0.5, 0.18, 0.095, 0.1, 150, 345, (96, 56, 30) if skirt else (40, 32, 30))
    canvas.ellipse(0.555, 0.21, 0.011, 0.014, INK)


def man(canvas: Canvas, colour: Colour, phase: int) -> None:
    person(canvas, colour, phase, skirt=False)


def woman(canvas: Canvas, colour: Colour, phase: int) -> None:
    person(canvas, colour, phase, skirt=True)
