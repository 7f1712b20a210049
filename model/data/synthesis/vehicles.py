"""Drawn vehicles for scenes, in a unit square, facing right; `phase` 0 or 1 turns wheels and blades."""

import math

from model.data.synthesis.drawing import Canvas, Colour, shade

GLASS: Colour = (186, 222, 240)
TYRE: Colour = (30, 30, 34)


def wheel(canvas: Canvas, x: float, y: float, size: float, phase: int) -> None:
    canvas.ellipse(x, y, size, size, TYRE)
    canvas.ellipse(x, y, size * 0.55, size * 0.55, (190, 194, 200))
    for angle in (0, 90):
        turned = math.radians(angle + 45 * phase)
        dx, dy = size * 0.5 * math.cos(turned), size * 0.5 * math.sin(turned)
        canvas.line([(x - dx, y - dy), (x + dx, y + dy)], (90, 94, 100), size * 0.14)


def car(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.polygon([(0.22, 0.58), (0.34, 0.4), (0.64, 0.4), (0.78, 0.58)], colour)
    canvas.polygon([(0.27, 0.57), (0.36, 0.435), (0.48, 0.435), (0.48, 0.57)], GLASS)
    canvas.polygon([(0.51, 0.57), (0.51, 0.435), (0.625, 0.435), (0.725, 0.57)], GLASS)
    canvas.box(0.05, 0.56, 0.95, 0.8, colour, 0.07)
    canvas.box(0.05, 0.72, 0.95, 0.76, shade(colour, 0.75))
    canvas.ellipse(0.92, 0.63, 0.025, 0.03, (255, 240, 170))
    canvas.box(0.05, 0.6, 0.085, 0.66, (200, 30, 30), 0.01)
    canvas.line([(0.53, 0.62), (0.58, 0.62)], shade(colour, 0.6), 0.014)
    for x in (0.25, 0.75):
        wheel(canvas, x, 0.82, 0.105, phase)


def bus(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.03, 0.26, 0.97, 0.84, colour, 0.06)
    for step in range(5):
        canvas.box(0.08 + step * 0.145, 0.34, 0.2 + step * 0.145, 0.54, GLASS, 0.02)
    canvas.box(0.82, 0.34, 0.955, 0.58, GLASS, 0.02)
    canvas.box(0.03, 0.62, 0.97, 0.66, shade(colour, 1.5))
    canvas.ellipse(0.94, 0.74, 0.022, 0.026, (255, 240, 170))
    for x in (0.22, 0.76):
        wheel(canvas, x, 0.84, 0.095, phase)


def truck(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.02, 0.28, 0.64, 0.8, (232, 232, 228), 0.02)
    for step in range(4):
        canvas.line([(0.08 + step * 0.15, 0.3), (0.08 + step * 0.15, 0.78)], (206, 206, 204), 0.008)
    canvas.box(0.65, 0.4, 0.97, 0.8, colour, 0.05)
    canvas.polygon([(0.77, 0.58), (0.77, 0.45), (0.89, 0.45), (0.945, 0.58)], GLASS)
    canvas.box(0.02, 0.77, 0.97, 0.82, shade(colour, 0.6))
    for x in (0.16, 0.34, 0.8):
        wheel(canvas, x, 0.84, 0.09, phase)


def fire_engine(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.02, 0.42, 0.7, 0.8, colour, 0.02)
    canvas.box(0.68, 0.36, 0.97, 0.8, colour, 0.05)
    canvas.polygon([(0.76, 0.56), (0.76, 0.42), (0.9, 0.42), (0.95, 0.56)], GLASS)
    canvas.box(0.02, 0.64, 0.97, 0.68, (250, 220, 60))
    for y in (0.3, 0.37):
        canvas.line([(0.04, y), (0.66, y)], (220, 220, 224), 0.018)
    for step in range(8):
        canvas.line([(0.08 + step * 0.08, 0.3), (0.08 + step * 0.08, 0.37)], (220, 220, 224), 0.014)
    canvas.box(0.75, 0.29, 0.84, 0.36, (60, 120, 255) if phase else (30, 50, 120), 0.02)
    for x in (0.2, 0.8):
        wheel(canvas, x, 0.83, 0.1, phase)


def police_car(canvas: Canvas, colour: Colour, phase: int) -> None:
    car(canvas, colour, phase)
    canvas.box(0.36, 0.58, 0.64, 0.76, (240, 240, 240))
    canvas.box(0.42, 0.35, 0.5, 0.4, (230, 40, 40) if phase else (100, 20, 20), 0.01)
    canvas.box(0.5, 0.35, 0.58, 0.4, (30, 50, 130) if phase else (50, 110, 255), 0.01)


def tractor(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.42, 0.5, 0.9, 0.72, colour, 0.04)
    canvas.box(0.2, 0.24, 0.5, 0.3, colour, 0.02)
    canvas.box(0.24, 0.29, 0.46, 0.66, GLASS)
    for x in (0.24, 0.46):
        canvas.line([(x, 0.28), (x, 0.68)], shade(colour, 0.7), 0.022)
    canvas.line([(0.76, 0.5), (0.76, 0.32)], (60, 60, 64), 0.026)
    for step in range(3):
        canvas.line([(0.58 + step * 0.08, 0.55), (0.58 + step * 0.08, 0.68)], shade(colour, 0.6), 0.016)
    wheel(canvas, 0.3, 0.72, 0.2, phase)
    wheel(canvas, 0.8, 0.8, 0.12, phase)


def train(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.box(0.03, 0.3, 0.4, 0.78, colour, 0.02)
    canvas.box(0.09, 0.37, 0.22, 0.54, GLASS, 0.01)
    canvas.box(0.25, 0.37, 0.36, 0.54, GLASS, 0.01)
    canvas.box(0.01, 0.25, 0.43, 0.31, shade(colour, 0.6), 0.02)
    canvas.box(0.4, 0.46, 0.9, 0.76, shade(colour, 0.85), 0.1)
    canvas.polygon([(0.74, 0.46), (0.71, 0.26), (0.87, 0.26), (0.84, 0.46)], shade(colour, 0.6))
    canvas.box(0.54, 0.39, 0.62, 0.48, (232, 190, 70), 0.03)
    canvas.polygon([(0.86, 0.74), (0.99, 0.92), (0.84, 0.92)], (80, 80, 86))
    for step in range(3):
        shift, size = 0.07 * step + 0.03 * phase, 0.04 + 0.02 * step
        canvas.ellipse(0.78 - shift, 0.2 - 0.05 * step, size, size * 0.8, (226, 228, 232))
    for x, size in ((0.14, 0.1), (0.34, 0.1), (0.54, 0.085), (0.74, 0.085)):
        wheel(canvas, x, 0.93 - size, size, phase)


def sailboat(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.line([(0.48, 0.1), (0.48, 0.72)], (110, 76, 46), 0.022)
    canvas.polygon([(0.51, 0.12), (0.86, 0.62), (0.51, 0.62)], (250, 250, 246))
    canvas.polygon([(0.45, 0.2), (0.45, 0.62), (0.2, 0.62)], shade(colour, 1.4))
    canvas.polygon([(0.08, 0.7), (0.94, 0.7), (0.78, 0.9), (0.22, 0.9)], colour)
    canvas.box(0.08, 0.69, 0.94, 0.73, shade(colour, 0.7), 0.01)
    canvas.polygon([(0.48, 0.1), (0.6, 0.13 + 0.02 * phase), (0.48, 0.17)], (220, 40, 40))


def aeroplane(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.polygon([(0.1, 0.5), (0.04, 0.26), (0.14, 0.26), (0.26, 0.46)], shade(colour, 0.75))
    canvas.box(0.07, 0.44, 0.93, 0.6, colour, 0.08)
    canvas.polygon([(0.8, 0.455), (0.9, 0.5), (0.78, 0.51)], GLASS)
    for step in range(7):
        canvas.ellipse(0.26 + step * 0.075, 0.5, 0.016, 0.02, GLASS)
    canvas.polygon([(0.42, 0.54), (0.62, 0.54), (0.36, 0.82), (0.26, 0.82)], shade(colour, 0.65))
    canvas.box(0.42, 0.66, 0.54, 0.71, (90, 94, 104), 0.02)
    canvas.ellipse(0.06, 0.47, 0.012, 0.012, (255, 60, 60) if phase else (120, 20, 20))


def helicopter(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.line([(0.12, 0.46), (0.44, 0.52)], shade(colour, 0.8), 0.05)
    canvas.polygon([(0.08, 0.34), (0.16, 0.34), (0.18, 0.5), (0.1, 0.5)], colour)
    canvas.ellipse(0.6, 0.54, 0.26, 0.17, colour)
    canvas.slice(0.66, 0.53, 0.19, 0.13, 270, 90, GLASS)
    canvas.line([(0.6, 0.38), (0.6, 0.28)], (60, 60, 66), 0.026)
    reach = 0.36 if phase else 0.18
    canvas.line([(0.6 - reach, 0.27), (0.6 + reach, 0.27)], (60, 60, 66), 0.018)
    canvas.line([(0.38, 0.82), (0.84, 0.82)], (60, 60, 66), 0.022)
    for x in (0.5, 0.7):
        canvas.line([(x, 0.68), (x, 0.82)], (60, 60, 66), 0.018)


def balloon(canvas: Canvas, colour: Colour, phase: int) -> None:
    canvas.curve((0.5, 0.7), (0.46 + 0.08 * phase, 0.82), (0.5, 0.97), (90, 90, 96), 0.01)
    canvas.ellipse(0.5, 0.38, 0.27, 0.33, colour)
    canvas.polygon([(0.46, 0.75), (0.54, 0.75), (0.5, 0.69)], shade(colour, 0.7))
    canvas.ellipse(0.4, 0.26, 0.05, 0.09, shade(colour, 1.6))
