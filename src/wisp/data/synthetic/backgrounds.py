"""Grounds that waste lies on: procedural textures, each a function of a generator, a size and a scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from wisp.data.synthetic.noise import Array, fbm, ripple, speckle, worley
from wisp.data.synthetic.paint import Colour
from wisp.data.synthetic.surface import brand, near

Ground = Callable[[np.random.Generator, tuple[int, int], float], Colour]

_AREA_A_MARK = 90.0  # square pixels a blade or leaf stands for at scale 1


def _flat(shape: tuple[int, int], colour: Colour) -> Colour:
    return np.broadcast_to(colour, (*shape, 3)).astype(np.float32)


def _turned(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> tuple[Array, Array]:
    """Coordinates in pixels / `scale`, turned by a random angle and moved by a random amount."""
    angle = rng.uniform(0, np.pi)
    row = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(scale)
    column = np.arange(shape[1], dtype=np.float32)[None, :] / np.float32(scale)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    shift = rng.uniform(50, 500, 2).astype(np.float32)
    return column * cosine + row * sine + shift[0], row * cosine - column * sine + shift[1]


def _byte(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(255 * min(max(float(part), 0), 1)) for part in colour)
    return red, green, blue


def _marks(shape: tuple[int, int], scale: float, most: int = 900) -> int:
    """How many blades or leaves fill the ground."""
    return int(min(max(shape[0] * shape[1] / (_AREA_A_MARK * scale**2), 12), most))


def grass(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Blades of grass over earth, green or dry."""
    hue, value = (rng.normal(0.26, 0.03), rng.uniform(0.35, 0.65)) if rng.random() < 0.7 else (0.14, 0.6)
    soil = near(rng, hue - 0.06, 0.5, value * 0.4)
    picture = Image.fromarray((_flat(shape, soil) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    lean = rng.uniform(-1.2, 1.2)
    for _ in range(_marks(shape, scale)):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0] * 1.1)
        angle, length = lean + rng.normal(0, 0.6), scale * rng.uniform(12, 34)
        dx, dy = np.sin(angle) * length, -np.cos(angle) * length
        colour = _byte(near(rng, hue, 0.6, value * rng.uniform(0.5, 1.35), 0.05))
        side = scale * rng.uniform(0.8, 2.2)
        draw.polygon([(x - side, y), (x + side, y), (x + dx, y + dy)], fill=colour)
    return np.asarray(picture, np.float32) / 255 * (1 + 0.2 * fbm(rng, shape, 3))[..., None]


def leaves(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Fallen leaves over dark earth."""
    picture = Image.fromarray((_flat(shape, near(rng, 0.08, 0.4, 0.2)) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(_marks(shape, scale * 2.2, 400)):
        x, y, angle = rng.uniform(0, shape[1]), rng.uniform(0, shape[0]), rng.uniform(0, 2 * np.pi)
        length, wide = scale * rng.uniform(12, 30), rng.uniform(0.25, 0.5)
        tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        outline = np.array(
            [(-1, 0), (-0.5, wide), (0.2, wide * 0.9), (1, 0), (0.2, -wide * 0.9), (-0.5, -wide)]
        )
        points = (outline * length) @ tilt.T + (x, y)
        colour = near(rng, rng.choice([0.05, 0.08, 0.11, 0.2]), 0.6, rng.uniform(0.25, 0.7), 0.06)
        draw.polygon(
            [(float(px), float(py)) for px, py in points], fill=_byte(colour), outline=_byte(colour * 0.6)
        )
        ends = [(float(px), float(py)) for px, py in points[[0, 3]]]
        draw.line(ends, fill=_byte(colour * 0.7), width=max(int(scale), 1))
    return np.asarray(picture, np.float32) / 255 * (1 + 0.15 * fbm(rng, shape, 4))[..., None]


def asphalt(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Grey road: chippings, stains, sometimes a crack or a painted line."""
    x, y = _turned(rng, shape, 5 * scale)
    stones = worley(rng, x, y)
    value = rng.uniform(0.22, 0.6)
    light = value * (0.8 + 0.45 * stones.tone * np.clip(stones.edge * 3, 0, 1)) + speckle(rng, shape, 0.03)
    light = light * (1 + 0.15 * fbm(rng, shape, 3))
    result = light[..., None] * near(rng, 0.6, 0.05, 1.0, 0.02)
    if rng.random() < 0.3:
        crack = np.abs(y - y.mean() + 3 * fbm(rng, shape, 4)) < 0.35
        result = result * (1 - 0.6 * crack[..., None])
    elif rng.random() < 0.15:
        line = np.clip(6 - np.abs(x - x.mean()), 0, 1) * (stones.tone > 0.15)
        result = result + (0.85 - result) * (0.9 * line)[..., None]
    return result


def sand(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Sand with ripples and grains."""
    x, _ = _turned(rng, shape, 30 * scale)
    waves = ripple(rng, x + 0.8 * fbm(rng, shape, 4))
    light = 1 + 0.1 * waves + 0.08 * fbm(rng, shape, 12 / scale) + speckle(rng, shape, 0.06)
    return near(rng, 0.11, 0.3, rng.uniform(0.55, 0.85)) * light[..., None]


def soil(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Earth with clods and small stones."""
    x, y = _turned(rng, shape, 9 * scale)
    clods = worley(rng, x, y)
    light = 0.75 + 0.35 * fbm(rng, shape, 9 / scale, 4) + 0.3 * (clods.edge - 0.2) + speckle(rng, shape, 0.05)
    colour = near(rng, 0.07, 0.4, rng.uniform(0.25, 0.5)) * light[..., None]
    stones = (clods.tone > 0.9) * np.clip((clods.edge - 0.1) * 8, 0, 1)
    result: Colour = colour + (near(rng, 0.1, 0.08, 0.6) - colour) * stones[..., None]
    return result


def gravel(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Pebbles of mixed greys, lit from one side."""
    x, y = _turned(rng, shape, 14 * scale)
    stones = worley(rng, x, y)
    bulge = np.clip(stones.edge * 3.5, 0, 1)
    light = (0.45 + 0.5 * stones.tone) * (0.35 + 0.65 * bulge) + 0.12 * stones.slope_x * bulge
    warm = near(rng, 0.09, 0.1, 0.95) - 0.12 * (stones.slope_y > 0.4)[..., None] * np.array(
        [0, 0.4, 1], np.float32
    )
    result: Colour = (light + speckle(rng, shape, 0.03))[..., None] * warm
    return result


def wood(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Planks: grain along, a tone each, dark seams."""
    x, y = _turned(rng, shape, 60 * scale)
    plank = np.floor(y)
    tone = 1 + 0.16 * ripple(rng, plank * 3.7 + 5, 1)
    grain = ripple(rng, y * 22 + 3 * ripple(rng, x * 0.8 + plank * 11) + plank * 9)
    seam = np.clip(1 - np.abs(y - plank - 0.5) * 2, 0, 1) < 0.06
    light = tone * (1 + 0.14 * grain) * (1 - 0.55 * seam) + speckle(rng, shape, 0.015)
    result: Colour = near(rng, 0.07, 0.5, rng.uniform(0.35, 0.75), 0.08) * light[..., None]
    return result


def water(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """A puddle, a canal, the sea: waves and glitter."""
    x, y = _turned(rng, shape, 28 * scale)
    waves = ripple(rng, y + 1.2 * fbm(rng, shape, 5) + 0.3 * np.sin(x)) + 0.5 * ripple(
        rng, y * 3 + 2 * fbm(rng, shape, 8)
    )
    colour = near(rng, rng.choice([0.45, 0.55, 0.6, 0.12]), 0.45, rng.uniform(0.25, 0.6), 0.08)
    glitter = np.clip(waves - 0.75, 0, 1) * 1.6
    return colour * (1 + 0.3 * waves)[..., None] + glitter[..., None] * 0.6


def tiles(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Tiles or paving stones with joints."""
    x, y = _turned(rng, shape, rng.uniform(40, 90) * scale)
    row = np.floor(y)
    x = x + 0.5 * (row % 2) * float(rng.integers(0, 2))
    column = np.floor(x)
    joint = np.maximum(np.abs(x - column - 0.5), np.abs(y - row - 0.5))
    tone = 1 + 0.1 * ripple(rng, column * 7.3 + row * 13.7 + 3, 1)
    light = tone + 0.07 * fbm(rng, shape, 10) + speckle(rng, shape, 0.015)
    colour = near(rng, rng.choice([0.04, 0.1, 0.55]), rng.uniform(0.02, 0.35), rng.uniform(0.4, 0.85))
    return colour * (light * np.where(joint > 0.475, 0.6, 1))[..., None]


def concrete(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """Smooth pale concrete with stains."""
    light = (
        1 + 0.1 * fbm(rng, shape, 5, 4) + 0.05 * fbm(rng, shape, 40 / scale, 2) + speckle(rng, shape, 0.02)
    )
    return near(rng, 0.1, 0.06, rng.uniform(0.5, 0.85)) * light[..., None]


def table(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """A plain surface indoors: a board, a table, a carpet in any colour, unevenly lit."""
    colour = near(rng, 0.1, 0.05, rng.uniform(0.6, 0.95)) if rng.random() < 0.6 else brand(rng) * 0.8
    weave = speckle(rng, shape, float(rng.choice([0.01, 0.05])))
    return colour * (1 + 0.08 * fbm(rng, shape, 2 / scale, 2) + weave)[..., None]


GROUNDS: tuple[tuple[Ground, float], ...] = (
    (grass, 0.16),
    (leaves, 0.06),
    (asphalt, 0.18),
    (sand, 0.09),
    (soil, 0.1),
    (gravel, 0.04),
    (wood, 0.08),
    (water, 0.06),
    (tiles, 0.07),
    (concrete, 0.12),
    (table, 0.06),
)


def ground(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Colour:
    """A random ground of `shape` (height, width): (H, W, 3) within 0..1. `scale` 1 suits crops of about 100 pixels."""
    weights = np.array([weight for _, weight in GROUNDS])
    chosen = GROUNDS[int(rng.choice(len(GROUNDS), p=weights / weights.sum()))][0]
    colour: Colour = np.clip(chosen(rng, shape, scale), 0, 1).astype(np.float32)
    # A little out of focus and out of light: what was photographed stands out from the ground.
    flat: Colour = colour.mean(axis=(0, 1))
    return (flat + (colour - flat) * np.float32(rng.uniform(0.4, 0.9))) * np.float32(0.9)
