"""Drawn people: a body and a head in layers, so that only the mouth, the lids and the head's place change by frame."""

import random
from functools import lru_cache

import numpy as np
from PIL import Image

from model.data.synthesis.drawing import COLOURS, Canvas, Colour, blend, grain, shade
from model.data.synthesis.people import HAIRS, Person
from model.data.synthesis.places import paint

MOUTHS = 6
X, Y = 0.5, 0.41  # the middle of the face
RX, RY = 0.155, 0.2
INK: Colour = (52, 36, 34)


def texture(size: int, colour: Colour, pattern: str) -> Canvas:
    """The cloth of a shirt."""
    cloth = Canvas(size, size)
    other = shade(colour, 1.65) if sum(colour) < 500 else shade(colour, 0.55)
    cloth.box(0, 0, 1, 1, colour)
    if pattern == "striped":
        for row in range(20):
            cloth.box(0, row * 0.06, 1, row * 0.06 + 0.026, other)
    elif pattern == "dotted":
        for row in range(16):
            for column in range(16):
                cloth.ellipse(column * 0.065 + (row % 2) * 0.032, 0.55 + row * 0.05, 0.013, 0.013, other)
    elif pattern == "checked":
        for step in range(16):
            cloth.box(step * 0.08, 0, step * 0.08 + 0.022, 1, other)
            cloth.box(0, step * 0.08, 1, step * 0.08 + 0.022, other)
    return cloth


def draw_body(person: Person, size: int) -> Image.Image:
    """Shoulders, neck and the hair that falls behind them."""
    canvas, half = Canvas(size, size), 0.3 if person.sex == "woman" else 0.36
    shadow, hair = shade(person.skin, 0.82), HAIRS[person.hair]
    mask = canvas.layer()
    mask.box(X - half, 0.72, X + half, 1.3, (0, 0, 0), 0.16)
    mask.polygon([(X - 0.09, 0.68), (X + 0.09, 0.68), (X + half * 0.75, 0.75), (X - half * 0.75, 0.75)], (0, 0, 0))
    canvas.fill_through(mask, texture(size, COLOURS[person.shirt], person.pattern))
    folds = canvas.layer()
    for side in (-1, 1):
        folds.line([(X + side * half * 0.66, 0.86), (X + side * half * 0.62, 1)], (0, 0, 0), 0.012)
    canvas.glaze(folds, 0.25)
    canvas.box(X - 0.062, 0.52, X + 0.062, 0.73, shadow, 0.03)
    canvas.slice(X, 0.69, 0.1, 0.075, 0, 180, shadow)
    collar = shade(COLOURS[person.shirt], 0.75)
    for side in (-1, 1):
        canvas.polygon([(X + side * 0.1, 0.675), (X + side * 0.02, 0.775), (X + side * 0.115, 0.755)], collar)
    if person.style in {"long", "ponytail"}:
        strand = shade(hair, 0.85)
        sides = (-1, 1) if person.style == "long" else (1,)
        for side in sides:
            canvas.curve((X + side * 0.155, 0.45), (X + side * 0.21, 0.62), (X + side * 0.17, 0.8), strand, 0.075)
    return canvas.image()


def draw_hair_behind(canvas: Canvas, person: Person, hair: Colour) -> None:
    if person.style == "long":
        canvas.box(X - RX - 0.035, Y - 0.16, X + RX + 0.035, Y + 0.24, shade(hair, 0.8), 0.12)
    elif person.style == "curly":
        for angle in range(150, 400, 18):
            x, y = X + 0.185 * np.cos(np.radians(angle)), Y - 0.05 + 0.2 * np.sin(np.radians(angle))
            canvas.ellipse(float(x), float(y), 0.06, 0.06, shade(hair, 0.85))
    elif person.style == "bun":
        canvas.ellipse(X, Y - RY - 0.04, 0.075, 0.07, shade(hair, 0.9))
    elif person.style == "ponytail":
        canvas.ellipse(X + RX * 0.95, Y - 0.06, 0.05, 0.07, shade(hair, 0.85))


def draw_hair_front(canvas: Canvas, person: Person, hair: Colour) -> None:
    """What grows over the forehead."""
    if person.style == "bald":
        return
    top = Y - 0.055
    canvas.slice(X, top, RX + 0.018, RY - 0.015, 180, 360, hair)
    canvas.slice(X, top + 0.005, RX * 0.86, 0.1, 180, 360, person.skin)
    if person.style in {"long", "bun", "ponytail"}:
        canvas.slice(X - 0.06, top - 0.01, 0.105, 0.115, 150, 330, hair)
    elif person.style == "curly":
        for angle in range(185, 360, 16):
            x, y = X + 0.14 * np.cos(np.radians(angle)), Y - 0.09 + 0.12 * np.sin(np.radians(angle))
            canvas.ellipse(float(x), float(y), 0.042, 0.042, shade(hair, 1.0 if angle % 32 else 1.08))
    else:
        for step in range(5):
            x = X - 0.1 + step * 0.05
            canvas.slice(x, top - 0.045, 0.045, 0.055, 10, 190, hair)
        for side in (-1, 1):
            canvas.box(
                X + side * (RX - 0.004) - 0.012, top - 0.01, X + side * (RX - 0.004) + 0.012, top + 0.06, hair, 0.01
            )


def draw_eyes(canvas: Canvas, person: Person, closed: bool) -> None:
    brow = INK if person.style == "bald" else shade(HAIRS[person.hair], 0.7)
    iris = ((70, 110, 150), (90, 62, 40), (74, 116, 74))[sum(person.skin) % 3]
    for side in (-1, 1):
        x, y = X + side * 0.066, Y - 0.015
        canvas.curve((x - 0.036, y - 0.05), (x, y - 0.068), (x + 0.036, y - 0.05), brow, 0.012)
        if closed:
            canvas.curve((x - 0.03, y), (x, y + 0.018), (x + 0.03, y), INK, 0.008)
            continue
        canvas.ellipse(x, y, 0.032, 0.021, (252, 252, 250))
        canvas.ellipse(x, y, 0.0175, 0.0185, iris)
        canvas.ellipse(x, y, 0.009, 0.0095, (18, 16, 18))
        canvas.ellipse(x + 0.006, y - 0.007, 0.0042, 0.0042, (255, 255, 255))
        canvas.curve(
            (x - 0.033, y - 0.004), (x, y - 0.032), (x + 0.033, y - 0.004), INK, 0.008 if person.sex == "man" else 0.012
        )


def draw_mouth(canvas: Canvas, person: Person, opening: int) -> None:
    """From closed (0) to wide open (MOUTHS - 1)."""
    lips: Colour = blend(person.skin, (196, 58, 70), 0.7 if person.sex == "woman" else 0.4)
    y, width, height = Y + 0.115, 0.05 - 0.002 * opening, 0.008 * opening
    if opening == 0:
        canvas.curve((X - width, y), (X, y + 0.016), (X + width, y), lips, 0.014)
        return
    canvas.ellipse(X, y + height * 0.4, width + 0.01, height + 0.012, lips)
    canvas.ellipse(X, y + height * 0.4, width, height + 0.002, (72, 20, 26))
    if opening > 1:
        canvas.slice(X, y + height * 0.4, width * 0.86, height, 200, 340, (250, 250, 246))
        canvas.slice(X, y + height * 0.55, width * 0.6, height * 0.8, 20, 160, (206, 92, 98))


def draw_beard(canvas: Canvas, person: Person, hair: Colour) -> None:
    tone = shade(INK if person.style == "bald" else hair, 0.9)
    if person.beard == "beard":
        canvas.slice(X, Y + 0.03, RX, RY * 0.94, -2, 182, tone)
        canvas.ellipse(X, Y + 0.035, RX * 0.78, 0.075, person.skin)
        canvas.ellipse(X, Y + 0.118, 0.07, 0.04, blend(person.skin, tone, 0.35))
    if person.beard:
        for side in (-1, 1):
            canvas.curve((X, Y + 0.082), (X + side * 0.045, Y + 0.075), (X + side * 0.068, Y + 0.106), tone, 0.022)


def draw_glasses(canvas: Canvas, person: Person) -> None:
    frame: Colour = (30, 30, 36) if person.glasses != "round" else (120, 72, 30)
    lenses = canvas.layer()
    for side in (-1, 1):
        x, y = X + side * 0.068, Y - 0.013
        tint: Colour = (16, 16, 20) if person.glasses == "sunglasses" else (210, 230, 245)
        if person.glasses == "round":
            lenses.ellipse(x, y, 0.052, 0.052, tint)
            canvas.ellipse(x, y, 0.054, 0.054, None, 0.009, frame)
        else:
            lenses.box(x - 0.055, y - 0.038, x + 0.055, y + 0.042, tint, 0.018)
            canvas.box(x - 0.057, y - 0.04, x + 0.057, y + 0.044, None, 0.018, 0.01, frame)
        canvas.line([(x + side * 0.055, y - 0.012), (X + side * RX, y - 0.02)], frame, 0.008)
    canvas.curve((X - 0.016, Y - 0.018), (X, Y - 0.03), (X + 0.016, Y - 0.018), frame, 0.009)
    canvas.glaze(lenses, 0.94 if person.glasses == "sunglasses" else 0.22)


def draw_hat(canvas: Canvas, person: Person) -> None:
    colour = COLOURS[person.hat_colour]
    if person.hat == "cap":
        canvas.slice(X, Y - 0.085, RX + 0.025, 0.17, 180, 360, colour)
        canvas.slice(X - 0.02, Y - 0.088, RX + 0.05, 0.05, 180, 360, shade(colour, 0.75))
        canvas.ellipse(X, Y - 0.252, 0.014, 0.01, shade(colour, 0.75))
    elif person.hat == "woolly hat":
        canvas.slice(X, Y - 0.1, RX + 0.022, 0.18, 180, 360, colour)
        for step in range(-3, 4):
            canvas.curve(
                (X + step * 0.045, Y - 0.12),
                (X + step * 0.035, Y - 0.2),
                (X + step * 0.018, Y - 0.26),
                shade(colour, 0.85),
                0.007,
            )
        canvas.box(X - RX - 0.03, Y - 0.14, X + RX + 0.03, Y - 0.08, shade(colour, 1.25), 0.028)
        canvas.ellipse(X, Y - 0.285, 0.042, 0.04, shade(colour, 1.4))
    elif person.hat == "straw hat":
        straw: Colour = (232, 200, 120)
        canvas.ellipse(X, Y - 0.105, RX + 0.14, 0.045, shade(straw, 0.86))
        canvas.slice(X, Y - 0.11, RX - 0.005, 0.17, 180, 360, straw)
        canvas.box(X - RX + 0.006, Y - 0.15, X + RX - 0.006, Y - 0.112, (150, 66, 52), 0.005)


def draw_head(person: Person, size: int, opening: int, closed: bool) -> Image.Image:
    """The head with one mouth and open or closed eyes."""
    canvas, hair = Canvas(size, size), HAIRS[person.hair]
    draw_hair_behind(canvas, person, hair)
    for side in (-1, 1):
        canvas.ellipse(X + side * RX, Y, 0.028, 0.042, shade(person.skin, 0.88))
    canvas.ellipse(X, Y - 0.02, RX, RY - 0.02, person.skin)
    canvas.ellipse(X, Y + 0.045, RX * 0.9, RY * 0.8, person.skin)
    soft = canvas.layer()
    for side in (-1, 1):
        soft.ellipse(X + side * 0.092, Y + 0.065, 0.034, 0.024, (230, 90, 90))
    canvas.glaze(soft, 0.22)
    draw_hair_front(canvas, person, hair)
    draw_beard(canvas, person, hair)
    draw_eyes(canvas, person, closed)
    canvas.curve((X + 0.004, Y + 0.005), (X + 0.03, Y + 0.06), (X - 0.01, Y + 0.062), shade(person.skin, 0.76), 0.008)
    draw_mouth(canvas, person, opening)
    if person.glasses:
        draw_glasses(canvas, person)
    draw_hat(canvas, person)
    return canvas.image()


class Portrait:
    """One person before one backdrop, ready to be drawn frame by frame."""

    def __init__(self, person: Person, size: int, random_source: random.Random) -> None:
        self.person, self.size = person, size
        backdrop = grain(paint(person.backdrop, size, size, random_source).image(), random_source)
        self.ground = Image.fromarray(backdrop)
        body = draw_body(person, size)
        self.ground.paste(body, (0, 0), body)
        self.head = lru_cache(maxsize=None)(self._head)
        self.frame = lru_cache(maxsize=400)(self._frame)

    def forget(self) -> None:
        """Give the kept pictures back: they and this portrait hold each other."""
        self.head.cache_clear()
        self.frame.cache_clear()

    def _head(self, opening: int, closed: bool) -> Image.Image:
        return draw_head(self.person, self.size, opening, closed)

    def _frame(self, opening: int, closed: bool, right: int, down: int) -> np.ndarray:
        """size, size, 3 = result.shape; the head is moved by whole pixels."""
        head, picture = self.head(opening, closed), self.ground.copy()
        picture.paste(head, (right, down), head)
        return np.asarray(picture)
