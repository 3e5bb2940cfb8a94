"""Small drawn scenes whose content is known exactly.

A scene is a ground of one colour and one or two figures on it. Everything about it is known, so its tags are
true, and a pixel rule can tell later whether a sample shows what its prompt asked for (judge.py).
Pictures are 8-bit sRGB, drawn at four times their size and reduced, so that edges are smooth.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]

FIGURE_COLOURS: dict[str, RGB] = {
    "red": (214, 28, 36),
    "orange": (245, 136, 16),
    "yellow": (248, 222, 40),
    "green": (32, 158, 60),
    "cyan": (48, 204, 214),
    "blue": (36, 64, 214),
    "purple": (134, 44, 186),
    "pink": (250, 136, 192),
}
"""The eight colours a figure can have, at least 26 apart in CIELAB (Delta E 76), for the pixel rule."""

GROUND_COLOURS: dict[str, RGB] = {
    "gray": (128, 128, 128),
    "brown": (88, 58, 40),
    "beige": (232, 220, 196),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
"""Grounds; black and white are pure, which a model without zero terminal SNR cannot make."""

PLAIN_GROUNDS = ("gray", "brown", "beige")
PLAIN_KINDS = ("circle", "square", "triangle", "star")
KINDS = (*PLAIN_KINDS, "heart", "ring", "cross", "crescent", "arrow")
PLACES: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "left": (0.27, 0.5),
    "right": (0.73, 0.5),
    "top": (0.5, 0.27),
    "bottom": (0.5, 0.73),
}
"""Place name -> centre of the figure as shares of width and height."""

SIZES: dict[str, float] = {"small": 0.16, "medium": 0.25, "big": 0.38}
"""Size name -> radius as a share of the shorter side."""

PICTURE_SIZES = ((160, 160), (192, 128), (128, 192), (144, 144), (224, 120), (120, 224), (176, 160))
WORDS = ("YES", "STOP", "HELLO", "ART", "GO", "SALE")
_SUPERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing in a scene: what it is, and where."""

    kind: str
    colour: str
    size: str = "medium"
    place: str = "center"
    facing: str | None = None
    """"left" or "right" for the kinds that are not their own mirror image (arrow, crescent), else None."""
    word: str | None = None
    """A word written on the figure."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A ground and one, two or (for a sequence) three figures."""

    width: int
    height: int
    ground: str
    figures: tuple[Figure, ...]
    layout: str = "single"
    """"single", "pair" or "sequence" (the same figure three times, growing from left to right)."""


def plain_scene(rng: random.Random, *, width: int = 96, height: int = 96) -> Scene:
    """One figure near the middle of a mild ground: what the demo's base model was pre-trained on."""
    figure = Figure(
        rng.choice(PLAIN_KINDS), rng.choice(list(FIGURE_COLOURS)), size=rng.choice(["medium", "big"])
    )
    return Scene(width, height, rng.choice(PLAIN_GROUNDS), (figure,))


def full_scene(rng: random.Random) -> Scene:
    """Any scene of the data set: more kinds, sizes, places, pure grounds, pairs, sequences and words."""
    width, height = rng.choice(PICTURE_SIZES)
    ground = rng.choice(list(GROUND_COLOURS))
    layout = rng.choices(["single", "pair", "sequence"], [0.8, 0.14, 0.06])[0]
    colours = rng.sample(list(FIGURE_COLOURS), 2)
    if layout == "single":
        size = rng.choices(list(SIZES), [0.2, 0.4, 0.4])[0]
        place = "center" if size == "big" else rng.choices(list(PLACES), [0.5, 0.15, 0.15, 0.1, 0.1])[0]
        return Scene(width, height, ground, (_figure(rng, colours[0], size, place),))
    width, height = (192, 128)
    if layout == "pair":
        pair = tuple(_figure(rng, c, "medium", p) for c, p in zip(colours, ("left", "right"), strict=True))
        return Scene(width, height, ground, pair, layout)
    kind = rng.choice(PLAIN_KINDS)
    row = tuple(
        Figure(kind, colours[0], size, p) for size, p in zip(SIZES, ("left", "center", "right"), strict=True)
    )
    return Scene(width, height, ground, row, layout)


def _figure(rng: random.Random, colour: str, size: str, place: str) -> Figure:
    kind = rng.choice(KINDS)
    facing = rng.choice(["left", "right"]) if kind in ("arrow", "crescent") else None
    word = (
        rng.choice(WORDS)
        if kind in ("circle", "square") and size != "small" and rng.random() < 0.25
        else None
    )
    return Figure(kind, colour, size, place, facing, word)


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of a scene, mode RGB, (scene.width, scene.height)."""
    s = _SUPERSAMPLING
    image = Image.new("RGB", (scene.width * s, scene.height * s), GROUND_COLOURS[scene.ground])
    canvas = ImageDraw.Draw(image)
    for figure in scene.figures:
        radius = SIZES[figure.size] * min(scene.width, scene.height) * s
        if scene.layout == "sequence":
            radius *= 0.55
        x, y = (
            share * side * s
            for share, side in zip(PLACES[figure.place], (scene.width, scene.height), strict=True)
        )
        _draw_figure(canvas, figure, x, y, radius, GROUND_COLOURS[scene.ground])
    return image.resize((scene.width, scene.height), Image.Resampling.BOX)


def _draw_figure(
    canvas: ImageDraw.ImageDraw, figure: Figure, x: float, y: float, r: float, ground: RGB
) -> None:
    fill = FIGURE_COLOURS[figure.colour]
    box = (x - r, y - r, x + r, y + r)
    side = -1 if figure.facing == "left" else 1
    match figure.kind:
        case "circle":
            canvas.ellipse(box, fill=fill)
        case "ring":
            canvas.ellipse(box, fill=fill)
            canvas.ellipse((x - 0.55 * r, y - 0.55 * r, x + 0.55 * r, y + 0.55 * r), fill=ground)
        case "crescent":
            canvas.ellipse(box, fill=fill)
            dx = -0.5 * r * side
            canvas.ellipse((x - 0.8 * r + dx, y - 0.8 * r, x + 0.8 * r + dx, y + 0.8 * r), fill=ground)
        case "square":
            canvas.rectangle((x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), fill=fill)
        case _:
            canvas.polygon([(x + r * side * u, y + r * v) for u, v in _outline(figure.kind)], fill=fill)
    if figure.word is not None:
        font = ImageFont.load_default(size=max(1.0, 1.9 * r / len(figure.word)))
        dark = sum(fill) > 360
        canvas.text((x, y), figure.word, fill=(0, 0, 0) if dark else (255, 255, 255), font=font, anchor="mm")


def _outline(kind: str) -> list[tuple[float, float]]:
    """Corner points of a figure in a circle of radius 1, y pointing down."""
    match kind:
        case "triangle":
            return [(0.0, -1.0), (0.92, 0.72), (-0.92, 0.72)]
        case "star":
            radii = (1.0, 0.42)
            angles = (math.pi * k / 5 - math.pi / 2 for k in range(10))
            return [(radii[k % 2] * math.cos(a), radii[k % 2] * math.sin(a)) for k, a in enumerate(angles)]
        case "cross":
            a, b = 0.32, 0.95
            return [
                (-a, -b),
                (a, -b),
                (a, -a),
                (b, -a),
                (b, a),
                (a, a),
                (a, b),
                (-a, b),
                (-a, a),
                (-b, a),
                (-b, -a),
                (-a, -a),
            ]
        case "arrow":
            return [
                (1.0, 0.0),
                (0.2, -0.75),
                (0.2, -0.28),
                (-1.0, -0.28),
                (-1.0, 0.28),
                (0.2, 0.28),
                (0.2, 0.75),
            ]
        case "heart":
            angles = (2 * math.pi * k / 48 for k in range(48))
            return [((math.sin(a) ** 3), -_heart_height(a)) for a in angles]
        case _:
            raise AssertionError(f"no outline for {kind!r}")


def _heart_height(a: float) -> float:
    """The usual heart curve, scaled to the unit circle."""
    return (13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16.5
