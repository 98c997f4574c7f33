"""Colours and printed graphics, shared by all classes so that a colour or a print alone does not tell the class."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np

from wisp.data.synthetic.noise import Array, ripple
from wisp.data.synthetic.paint import Colour

Print = Callable[[Array, Array], Colour]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of hue (turns), saturation and value."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0)), np.float32)


def near(
    rng: np.random.Generator, hue: float, saturation: float, value: float, spread: float = 0.06
) -> Colour:
    """A colour near the given hue, saturation and value."""
    return hsv(
        hue + rng.normal(0, spread * 0.4),
        float(np.clip(saturation + rng.normal(0, spread), 0, 1)),
        float(np.clip(value + rng.normal(0, spread), 0.03, 1)),
    )


def brand(rng: np.random.Generator) -> Colour:
    """A strong printing colour: mostly red, blue, green, orange; any hue happens."""
    hues = (0.0, 0.01, 0.06, 0.11, 0.15, 0.33, 0.4, 0.55, 0.6, 0.65, 0.8, 0.93)
    hue = float(rng.choice(hues)) + rng.normal(0, 0.012)
    return hsv(hue, rng.uniform(0.55, 0.95), rng.uniform(0.4, 0.95))


def often(
    rng: np.random.Generator, usual: Sequence[tuple[float, float, float]], share: float = 0.9
) -> Colour:
    """One of the class's usual colours (hue, saturation, value) with probability `share`, else any strong colour."""
    if rng.random() >= share:
        return brand(rng)
    hue, saturation, value = usual[int(rng.integers(len(usual)))]
    return near(rng, hue, saturation, value)


def white(rng: np.random.Generator) -> Colour:
    """A white as things have it: slightly tinted, slightly dark."""
    return hsv(rng.uniform(0, 1), rng.uniform(0, 0.06), rng.uniform(0.84, 0.97))


def kraft(rng: np.random.Generator) -> Colour:
    """The brown of unbleached paper and cardboard."""
    return near(rng, 0.085, 0.4, 0.68, 0.05)


def bright(colour: Colour) -> float:
    """Luma of a colour, 0..1."""
    return float(colour @ np.array([0.299, 0.587, 0.114], np.float32))


def step(distance: Array, soft: float = 0.03) -> Array:
    """1 where `distance` is negative, with a soft border."""
    share: Array = np.clip(0.5 - distance / np.float32(soft), 0, 1)
    return share


def text(rng: np.random.Generator, u: Array, v: Array, pitch: float) -> Array:
    """Lines of 'words' with `pitch` between lines: coverage 0..1."""
    words = (rng.random(256) < 0.72).astype(np.float32)
    lengths = rng.integers(5, 14, 64)
    row = np.floor(v / pitch)
    letter = np.floor(u / (pitch * 0.55)).astype(np.int32) + 41 * row.astype(np.int32)
    ragged = np.abs(u) < 0.5 + 0.04 * lengths[row.astype(np.int32) % 64]
    line = np.abs(v / pitch - row - 0.5) < 0.27
    ink: Array = words[letter % 256] * (line & ragged)
    return ink


def graphics(rng: np.random.Generator, base: Colour, accent: Colour | None = None, busy: int = 4) -> Print:
    """A printed design on coordinates within -1..1: bands, logo, swoosh, drawing and text over `base`."""
    accent = brand(rng) if accent is None else accent
    ink = hsv(0.6, 0.2, 0.12) if bright(base) > 0.5 else white(rng)
    second = brand(rng) if rng.random() < 0.5 else ink
    fade = float(rng.uniform(-0.15, 0.15))
    parts = [str(part) for part in rng.choice(["band", "logo", "swoosh", "text", "picture", "stripes"], busy)]
    seeds = rng.integers(0, 2**31, busy)
    colours = [(accent, second, ink)[i] for i in rng.integers(0, 3, busy)]
    colours[0] = accent

    def draw(u: Array, v: Array) -> Colour:
        result = base + (v * fade)[..., None]
        for part, seed, colour in zip(parts, seeds, colours, strict=True):
            own = np.random.default_rng(seed)
            at, size = own.uniform(-0.6, 0.6), own.uniform(0.15, 0.45)
            if part == "band":
                where = step(np.abs(v - at) - size * 0.6)
            elif part == "logo":
                where = step(np.sqrt((u - at * 0.4) ** 2 + (v - at) ** 2 * own.uniform(0.7, 2.5)) - size)
                inner = step(np.sqrt((u - at * 0.4) ** 2 + (v - at) ** 2) - size * 0.6)
                where = where * (1 - inner * own.integers(0, 2))
            elif part == "swoosh":
                where = step(
                    np.abs(v - at - size * np.sin(u * own.uniform(1, 3) + own.uniform(0, 6))) - size * 0.4
                )
            elif part == "text":
                box = (np.abs(u) < 0.8) & (np.abs(v - at) < size)
                where = text(own, u, v, own.uniform(0.09, 0.2)) * box
            elif part == "picture":
                wave = ripple(own, u * 2 + 31) * 0.3
                where = step(np.abs(v - at + wave) - size * (0.6 + 0.5 * ripple(own, u * 3 + 11)))
            else:
                where = step(np.abs(u * own.uniform(3, 6) % 2 - 1) - 0.4, 0.1) * step(
                    np.abs(v - at) - size * 0.5
                )
            result = result + (colour - result) * where[..., None]
        return np.clip(result, 0, 1)

    return draw
