"""Plastic bags and film: carrier bags, bin bags, snack wrappers, clear film."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import Array, ripple
from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, blob, box, capsule, circle, ellipse
from wisp.data.synthetic.surface import brand, graphics, hsv, near, step, white


def film(rng: np.random.Generator) -> tuple[Colour, float]:
    """Colour and opacity of a bag: white, black, coloured or clear."""
    kind = rng.random()
    if kind < 0.6:
        return white(rng), float(rng.uniform(0.6, 0.95))
    if kind < 0.74:
        return near(rng, 0.6, 0.1, 0.1, 0.03), 0.97
    if kind < 0.84:
        return brand(rng), float(rng.uniform(0.7, 0.95))
    return near(rng, 0.55, 0.04, 0.9, 0.03), float(rng.uniform(0.2, 0.45))


def wrinkles(view: View, x: Array, y: Array, spokes: float) -> Array:
    """Folds that run away from the origin of `x`, `y` (a knot, a handle): roughly -1..1."""
    angle = np.arctan2(y, x) + 0.35 * view.noise(1.2, 2)
    return ripple(view.rng, angle * np.float32(spokes) + 20)


def drape(layer: Layer, view: View, folds: Array, strength: float, gloss: float) -> None:
    """Shade thin film: soft valleys, sharp bright ridges."""
    ridges = np.clip(1 - np.abs(folds) * 3, 0, 1) ** 2
    small = np.clip(1 - np.abs(view.noise(2.6, 2)) * 5, 0, 1) ** 2
    layer.shade(1 + np.float32(strength) * folds)
    layer.shine(gloss * (ridges * 0.6 + small * 0.5))


def carrier(rng: np.random.Generator) -> Sketch:
    """A carrier bag with two handles, full of folds, often printed."""
    wide, (colour, opacity) = float(rng.uniform(0.6, 0.85)), film(rng)
    printed, design = rng.random() < 0.25, graphics(rng, colour, busy=3)
    spokes, gloss = float(rng.uniform(4, 8)), float(rng.uniform(0.2, 0.5))
    spread, lobes = float(rng.uniform(0.3, 0.5)), int(rng.integers(8, 14))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        body = blob(view.rng, view.x / wide, (view.y + 0.28) / 0.72, lobes, 0.14) * 0.7
        for side in (-1, 1):
            foot = side * spread * wide
            bow = np.abs(ellipse(view.x - foot, view.y - 0.5, 0.2 * wide, 0.42)) - 0.065
            body = np.minimum(body, np.maximum(bow, 0.3 - view.y))
        sack = view.cover(body)
        if printed:
            colour_here = design(view.x / wide * 1.4, (view.y + 0.35) * 2)
        else:
            colour_here = np.broadcast_to(colour, (*view.shape, 3))
        behind = view.through(0.05 * view.noise(2, 2), 0.05 * view.noise(2, 2))
        layer.add(sack, behind + (colour_here - behind) * np.float32(opacity))
        drape(layer, view, wrinkles(view, view.x, view.y - 0.55, spokes), 0.3, gloss)
        layer.shade(1 + 0.2 * view.noise(1.2, 3))
        layer.shade(1 - 0.3 * np.exp(-(((body + 0.02) / 0.03) ** 2)))
        return layer

    return Sketch((wide, 1.0), paint, 0.8)


def sack(rng: np.random.Generator) -> Sketch:
    """A tied or crumpled bag: a bulging body that gathers into a knot."""
    lobes, depth, (colour, opacity) = int(rng.integers(7, 13)), float(rng.uniform(0.1, 0.22)), film(rng)
    knotted, spokes = rng.random() < 0.5, float(rng.uniform(4, 9))
    gloss, wide = float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.65, 1.0))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = blob(view.rng, view.x / wide, (view.y + 0.15) / 0.85, lobes, depth) * wide
        if knotted:
            knot = capsule(view.x, view.y, (0.0, 0.6), (0.05, 0.85), 0.08)
            ears = np.minimum(
                capsule(view.x, view.y, (0, 0.85), (-0.16, 0.97), 0.05),
                capsule(view.x, view.y, (0, 0.85), (0.18, 0.96), 0.05),
            )
            outline = np.minimum(outline, np.minimum(knot, ears))
        behind = view.through(0.06 * view.noise(2, 2), 0.06 * view.noise(2, 2))
        layer.add(view.cover(outline), behind + (colour - behind) * np.float32(opacity))
        drape(layer, view, wrinkles(view, view.x, view.y - 0.7, spokes), 0.35, gloss)
        bulge = view.x * view.light[0] + view.y * view.light[1]
        layer.shade(1 + 0.25 * bulge + 0.25 * view.noise(1.4, 3))
        layer.shine(gloss * (view.facets(2.4).tone > 0.9) * 0.5)
        return layer

    return Sketch((wide, 1.0), paint, 0.8)


def wrapper(rng: np.random.Generator) -> Sketch:
    """A crisps or sweets wrapper: zigzag sealed ends, glossy print, crinkles, sometimes silver inside."""
    wide, teeth = float(rng.uniform(0.4, 0.75)), float(rng.uniform(20, 40))
    design = graphics(rng, brand(rng) if rng.random() < 0.75 else white(rng), busy=5)
    torn, count, gloss = rng.random() < 0.4, float(rng.uniform(2, 4)), float(rng.uniform(0.2, 0.5))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        zigzag = 0.03 * np.abs((view.x * teeth) % 2 - 1)
        pinch = wide * (0.9 + 0.1 * np.abs(view.y) ** 3)
        outline = np.maximum(np.abs(view.x) - pinch, np.abs(view.y) + zigzag - 0.97)
        layer.add(view.cover(outline), design(view.x / wide, view.y / 0.8))
        sealed = step(0.84 - np.abs(view.y), 0.02)
        layer.shade(1 + 0.18 * np.sin(view.y * 90) * sealed * np.clip(1.5 - view.px * 30, 0, 1))
        layer.shade(1 - 0.25 * np.exp(-(((np.abs(view.y) - 0.84) / 0.02) ** 2)))
        if torn:
            mouth = ellipse(view.x - wide * 0.3, view.y - 0.85, wide * 0.5, 0.25)
            layer.add(view.cover(mouth + 0.04 * view.noise(5)) * layer.alpha, hsv(0.6, 0.03, 0.62))
        layer.shade(np.clip(view.crumple(count, 0.55), 0.45, 1.5))
        folds = ripple(view.rng, view.y * 2 + view.x * 0.7 + view.noise(1, 1) + 10)
        layer.shine(gloss * np.clip(1 - np.abs(folds) * 2.5, 0, 1) ** 2)
        return layer

    return Sketch((wide, 1.0), paint, 0.6)


def clear_film(rng: np.random.Generator) -> Sketch:
    """A piece of clear film or a freezer bag: only its highlights and folds give it away."""
    wide, tint = float(rng.uniform(0.5, 1.0)), near(rng, 0.55, 0.04, 0.95, 0.03)
    haze, gloss = float(rng.uniform(0.12, 0.35)), float(rng.uniform(0.4, 0.8))
    lobes, label = int(rng.integers(5, 9)), white(rng) if rng.random() < 0.3 else None

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = np.maximum(
            box(view.x, view.y, wide, 1.0, 0.05), blob(view.rng, view.x / wide, view.y, lobes, 0.15) - 0.12
        )
        behind = view.through(0.1 * view.noise(2, 2), 0.1 * view.noise(2, 2))
        piece = view.cover(outline + 0.04 * view.noise(3))
        layer.add(piece, behind + (tint - behind) * np.float32(haze))
        if label is not None:
            layer.add(piece * view.cover(box(view.x, view.y - 0.2, 0.3, 0.2)), label)
        folds = ripple(view.rng, view.x * 1.5 + 2 * view.noise(0.8, 2) + 10)
        across = ripple(view.rng, view.y * 2.2 + 1.5 * view.noise(0.8, 2) + 30)
        lines = np.clip(1 - np.abs(folds) * 5, 0, 1) ** 2 + np.clip(1 - np.abs(across) * 6, 0, 1) ** 2
        layer.shine(gloss * lines * np.clip(0.5 + view.noise(1, 2), 0, 1))
        layer.shade(1 + 0.12 * folds)
        layer.shine(0.3 * np.exp(-(((outline + 0.02) / 0.02) ** 2)))
        layer.shade(1 - 0.3 * np.exp(-((circle(view.x, view.y - 0.7, 0.2) / 0.1) ** 2)) * haze)
        return layer

    return Sketch((wide, 1.0), paint, 0.7)


FAMILIES = ((carrier, 0.5), (sack, 0.32), (wrapper, 0.1), (clear_film, 0.08))
