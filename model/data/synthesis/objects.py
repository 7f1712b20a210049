"""Drawn things for scenes, in a unit square; `phase` 0 or 1 makes them shake, swing or flicker."""

import math

from model.data.synthesis.drawing import Canvas, Colour, shade

INK: Colour = (40, 38, 42)
WOOD: Colour = (146, 98, 58)


def bell(canvas: Canvas, colour: Colour, phase: int) -> None:
    lean = 0.07 if phase else -0.07
    canvas.line([(0.5, 0.08), (0.5, 0.2)], INK, 0.04)
    canvas.ellipse(0.5 + lean, 0.86, 0.06, 0.06, INK)
    canvas.polygon(
        [(0.42, 0.22), (0.58, 0.22), (0.68 + lean, 0.62), (0.8 + lean, 0.8), (0.2 + lean, 0.8), (0.32 + lean, 0.62)],
        colour,
    )
    canvas.ellipse(0.5, 0.25, 0.1, 0.09, colour)
    canvas.box(0.18 + lean, 0.77, 0.82 + lean, 0.84, shade(colour, 0.75), 0.03)
    canvas.line([(0.42, 0.3), (0.36 + lean, 0.66)], shade(colour, 1.6), 0.03)


def clock(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.ellipse(0.5, 0.5, 0.42, 0.42, colour)
    canvas.ellipse(0.5, 0.5, 0.35, 0.35, (250, 250, 244))
    for hour in range(12):
        angle = math.radians(hour * 30)
        canvas.ellipse(0.5 + 0.29 * math.sin(angle), 0.5 - 0.29 * math.cos(angle), 0.016, 0.016, INK)
    canvas.line([(0.5, 0.5), (0.62, 0.4)], INK, 0.035)
    canvas.line([(0.5, 0.5), (0.5, 0.26)], INK, 0.024)
    turned = math.radians(150 + 12 * phase)
    canvas.line([(0.5, 0.5), (0.5 + 0.26 * math.sin(turned), 0.5 - 0.26 * math.cos(turned))], (214, 40, 40), 0.012)
    canvas.ellipse(0.5, 0.5, 0.03, 0.03, INK)


def alarm_clock(canvas: Canvas, colour: Colour, phase: int) -> None:
    shake = 0.02 if phase else -0.02
    for side in (-1, 1):
        canvas.ellipse(0.5 + side * 0.22 + shake, 0.18, 0.14, 0.11, shade(colour, 0.7))
        canvas.line([(0.5 + side * 0.2, 0.82), (0.5 + side * 0.28, 0.94)], shade(colour, 0.6), 0.05)
    canvas.line([(0.5 + shake, 0.06), (0.5 + shake, 0.2)], INK, 0.03)
    body = canvas.layer()
    clock(body, colour, phase)
    canvas.picture.alpha_composite(body.picture, (0, int(0.03 * canvas.unit)))


def telephone(canvas: Canvas, colour: Colour, phase: int) -> None:
    lift = 0.04 if phase else 0.0
    canvas.polygon([(0.26, 0.46), (0.74, 0.46), (0.9, 0.88), (0.1, 0.88)], colour)
    canvas.ellipse(0.5, 0.67, 0.16, 0.15, shade(colour, 1.55))
    for hole in range(9):
        angle = math.radians(hole * 36 - 60)
        canvas.ellipse(0.5 + 0.11 * math.cos(angle), 0.67 + 0.1 * math.sin(angle), 0.022, 0.022, INK)
    canvas.curve((0.16, 0.36 - lift), (0.5, 0.2 - lift), (0.84, 0.36 - lift), shade(colour, 0.8), 0.09)
    for x in (0.15, 0.85):
        canvas.ellipse(x, 0.4 - lift, 0.1, 0.08, shade(colour, 0.8))


def drum(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.14, 0.46, 0.86, 0.84, colour)
    canvas.ellipse(0.5, 0.84, 0.36, 0.1, colour)
    for step in range(6):
        x = 0.16 + step * 0.136
        canvas.line([(x, 0.5), (min(0.84, x + 0.07), 0.88)], (246, 240, 220), 0.014)
    canvas.ellipse(0.5, 0.46, 0.36, 0.11, (246, 240, 226), 0.03, shade(colour, 0.65))
    down = 0.12 if phase else 0.0
    canvas.line([(0.1, 0.1), (0.38, 0.3 + down)], WOOD, 0.035)
    canvas.line([(0.9, 0.1), (0.62, 0.42 - down)], WOOD, 0.035)
    canvas.ellipse(0.38, 0.3 + down, 0.035, 0.035, (240, 220, 180))
    canvas.ellipse(0.62, 0.42 - down, 0.035, 0.035, (240, 220, 180))


def guitar(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.line([(0.5, 0.5), (0.5, 0.08)], (74, 46, 30), 0.075)
    canvas.box(0.43, 0.02, 0.57, 0.13, (50, 34, 24), 0.02)
    canvas.ellipse(0.5, 0.76, 0.24, 0.2, colour)
    canvas.ellipse(0.5, 0.53, 0.18, 0.15, colour)
    canvas.ellipse(0.5, 0.62, 0.085, 0.085, (40, 26, 20))
    canvas.box(0.4, 0.81, 0.6, 0.84, (50, 34, 24), 0.01)
    for string in range(4):
        x = 0.478 + string * 0.0147 + (0.004 if phase and string % 2 else 0)
        canvas.line([(x, 0.06), (x, 0.82)], (236, 236, 226), 0.005)


def piano(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.06, 0.24, 0.94, 0.86, colour, 0.02)
    canvas.box(0.02, 0.18, 0.98, 0.25, shade(colour, 0.75), 0.015)
    canvas.box(0.02, 0.56, 0.98, 0.69, (250, 250, 246))
    for key in range(1, 14):
        x = 0.02 + key * 0.0686
        canvas.line([(x, 0.56), (x, 0.69)], (160, 160, 160), 0.004)
        if key % 7 not in (0, 3):
            canvas.box(x - 0.018, 0.56, x + 0.018, 0.64, INK)
    pressed = 0.3 if phase else 0.57
    canvas.box(pressed, 0.65, pressed + 0.05, 0.69, (255, 210, 90))
    canvas.box(0.36, 0.32, 0.64, 0.5, (250, 246, 232), 0.01)
    for row in range(4):
        canvas.line([(0.39, 0.36 + row * 0.035), (0.61, 0.36 + row * 0.035)], (110, 110, 110), 0.005)
    for x in (0.1, 0.9):
        canvas.box(x - 0.03, 0.86, x + 0.03, 0.95, shade(colour, 0.6))


def trumpet(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.line([(0.08, 0.42), (0.74, 0.42)], colour, 0.05)
    canvas.box(0.24, 0.4, 0.66, 0.66, None, 0.11, 0.042, shade(colour, 0.85))
    canvas.polygon([(0.7, 0.4), (0.96, 0.22), (0.96, 0.62), (0.7, 0.45)], colour)
    canvas.ellipse(0.955, 0.42, 0.035, 0.2, shade(colour, 0.7))
    canvas.ellipse(0.07, 0.42, 0.03, 0.05, shade(colour, 0.7))
    for valve in range(3):
        top = 0.28 + (0.05 if (valve + phase) % 2 else 0)
        canvas.line([(0.38 + valve * 0.08, top), (0.38 + valve * 0.08, 0.64)], shade(colour, 1.3), 0.04)


def ball(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.ellipse(0.5, 0.55, 0.38, 0.38, colour)
    turned = 0.1 if phase else -0.1
    canvas.curve((0.5 + turned, 0.17), (0.2 + turned, 0.55), (0.5 + turned, 0.93), shade(colour, 1.7), 0.035)
    canvas.curve((0.12, 0.55), (0.5, 0.35 + turned), (0.88, 0.55), shade(colour, 1.7), 0.035)
    canvas.ellipse(0.36, 0.38, 0.07, 0.05, shade(colour, 1.5))


def door(canvas: Canvas, colour: Colour, phase: int) -> None:
    shake = 0.008 * phase
    canvas.box(0.22, 0.02, 0.78, 0.97, shade(colour, 0.55))
    canvas.box(0.27 + shake, 0.06, 0.73 + shake, 0.97, colour)
    for y in (0.12, 0.54):
        canvas.box(0.33 + shake, y, 0.67 + shake, y + 0.34, None, 0.01, 0.014, shade(colour, 0.7))
    canvas.ellipse(0.69 + shake, 0.52, 0.028, 0.028, (240, 206, 90))


def campfire(canvas: Canvas, colour: Colour, phase: int) -> None:
    reach = 0.08 if phase else 0.0
    for x, height, tone in ((0.38, 0.4, 0.9), (0.62, 0.36, 0.9), (0.5, 0.14, 1.0)):
        canvas.polygon(
            [(x - 0.17, 0.82), (x - 0.1, 0.55), (x, height + reach), (x + 0.1, 0.55), (x + 0.17, 0.82)],
            shade(colour, tone),
        )
    canvas.polygon([(0.4, 0.84), (0.46, 0.56), (0.5, 0.44 - reach * 0.5), (0.56, 0.58), (0.61, 0.84)], (255, 232, 130))
    canvas.line([(0.2, 0.92), (0.8, 0.8)], WOOD, 0.075)
    canvas.line([(0.2, 0.8), (0.8, 0.92)], shade(WOOD, 0.75), 0.075)


def umbrella(canvas: Canvas, colour: Colour, phase: int) -> None:
    sway = 0.015 if phase else -0.015
    canvas.line([(0.5, 0.14), (0.5, 0.86), (0.56, 0.92)], INK, 0.026)
    canvas.slice(0.5 + sway, 0.48, 0.44, 0.36, 180, 360, colour)
    for step in range(4):
        x = 0.17 + sway + step * 0.22
        canvas.slice(x, 0.48, 0.11, 0.05, 180, 360, shade(colour, 0.6))
    for side in (-1, 1):
        canvas.curve(
            (0.5 + sway, 0.12),
            (0.5 + sway + side * 0.2, 0.2),
            (0.5 + sway + side * 0.22, 0.46),
            shade(colour, 0.75),
            0.012,
        )
