"""Metal: drink cans, food tins, foil, crown caps and lids, aerosols."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import Array, ripple
from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, blob, box, circle, ellipse
from wisp.data.synthetic.solids import Turned, turn
from wisp.data.synthetic.surface import brand, graphics, hsv, near, often, step, white


def reflections(view: View, body: Turned) -> Array:
    """Light on a metal cylinder: the surroundings as bright and dark streaks along it."""
    streaks = ripple(view.rng, body.side * 2.6 + 9) * 0.45 + ripple(view.rng, body.side * 9 + 40, 1) * 0.08
    light: Array = body.lit(view, 0.12) * (1 + streaks) + 0.5 * body.streak(
        0.4 * np.sign(view.light[0]), 0.12
    )
    return light


def _lid(layer: Layer, view: View, body: Turned, steel: Colour, pulled: bool) -> None:
    """The top of a can: rings and a tab, or an open hole."""
    layer.add(body.top, steel)
    shine = 1 + 0.25 * np.cos(2 * np.arctan2(view.y, view.x) + 1)
    layer.shade(shine - 0.4 * step(np.abs(body.rim - 0.86) - 0.04, 0.06), body.top)
    layer.shade(1 - 0.75 * step(body.rim - 0.72, 0.06) if pulled else np.ones_like(view.x), body.top)


def can(rng: np.random.Generator) -> Sketch:
    """A drink can: necked ends, a printed side, a tab; often crushed."""
    radius, tilt = float(rng.uniform(0.36, 0.55)), float(rng.uniform(0.22, 0.45))
    crushed = float(rng.choice([0.0, rng.uniform(0.3, 1.0)], p=[0.65, 0.35]))
    steel = near(rng, 0.6, 0.03, 0.78, 0.04)
    base = often(rng, ((0.0, 0.85, 0.75), (0.6, 0.04, 0.75), (0.6, 0.04, 0.8)))
    printed = graphics(rng, base, white(rng) if rng.random() < 0.5 else None, busy=2)
    high = 0.97 - tilt * radius
    flat = float(rng.uniform(0.55, 1.0)) if crushed else 1.0

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        view.y = view.y / flat
        if crushed:
            view.x = view.x + crushed * 0.16 * ripple(view.rng, view.y * 2.2 + 17)
        knots = [(-high, radius * 0.74), (-high + 0.1, radius), (high - 0.12, radius), (high, radius * 0.8)]
        body = turn(view, knots, tilt=tilt, smooth=0.015)
        layer.add(body.cover, printed(body.side * 1.1, body.height / high))
        bare = np.maximum(body.band(view, high - 0.07, 1), body.band(view, -1, -high + 0.06))
        layer.add(bare, steel)
        layer.shade(reflections(view, body))
        if crushed:
            layer.shade(view.crumple(3.0, 0.5 * crushed), body.cover)
        _lid(layer, view, body, steel * 0.92, pulled=False)
        lift = view.y - high
        hole = view.cover(ellipse(view.x, lift + 0.3 * tilt * radius, radius * 0.3, radius * 0.24 * tilt))
        layer.add(hole * body.top, hsv(0, 0, 0.07))
        tab = view.cover(ellipse(view.x, lift - 0.15 * tilt * radius, radius * 0.2, radius * 0.3 * tilt))
        layer.add(tab * body.top, steel * 1.2)
        return layer

    return Sketch((radius, 0.97 * flat), paint, 0.35 * crushed)


def tin(rng: np.random.Generator) -> Sketch:
    """A food tin: ribbed steel, a paper label or none, the lid closed or bent open."""
    radius, tilt = float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.2, 0.5))
    tall = float(np.clip(rng.uniform(0.35, 0.9), 0.3, 1 - tilt * radius * 0.6))
    steel = near(rng, 0.11 if rng.random() < 0.3 else 0.6, 0.08, 0.72, 0.05)
    labelled, opened, ribs = rng.random() < 0.25, rng.random() < 0.5, float(rng.uniform(18, 30))
    printed = graphics(rng, brand(rng) if rng.random() < 0.6 else white(rng), busy=4)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        body = turn(view, [(-tall, radius), (tall, radius)], tilt=tilt)
        layer.add(body.cover, steel)
        layer.shade(1 + 0.18 * np.sin(body.height * ribs), body.band(view, -tall * 0.6, tall * 0.6))
        if labelled:
            layer.add(body.band(view, -tall * 0.85, tall * 0.85), printed(body.side, body.height / tall))
        for edge in (-tall * 0.93, tall * 0.93):
            layer.shade(1 - 0.35 * body.band(view, edge - 0.015, edge + 0.015))
        layer.shade(reflections(view, body))
        _lid(layer, view, body, steel, pulled=opened)
        return layer

    return Sketch((radius, tall + tilt * radius), paint, 0.1)


def foil(rng: np.random.Generator) -> Sketch:
    """Crumpled aluminium foil: sharp facets between black and white."""
    lobes, depth, wide = int(rng.integers(7, 14)), float(rng.uniform(0.1, 0.28)), float(rng.uniform(0.6, 1.0))
    count, tint = float(rng.uniform(2.5, 5.0)), near(rng, 0.6, 0.03, 0.66, 0.05)
    printed = graphics(rng, tint, busy=3) if rng.random() < 0.1 else None

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = view.cover(blob(view.rng, view.x, view.y / wide, lobes, depth) * wide)
        layer.add(outline, tint if printed is None else printed(view.x, view.y))
        layer.shade(np.clip(view.crumple(count, 1.15), 0.12, 1.6))
        glints = view.facets(count * 2)
        layer.shine(0.7 * (glints.tone > 0.86) * np.clip(glints.edge * 4, 0, 1))
        layer.shade(1 + 0.2 * view.noise(1.2, 2))
        return layer

    return Sketch((1.0, wide), paint, 0.6)


def cap(rng: np.random.Generator) -> Sketch:
    """A crown cap with its 21 teeth, or a plain jar lid; from outside or from inside."""
    flat, crown = float(rng.uniform(0.6, 1.0)), rng.random() < 0.65
    inside, steel = rng.random() < 0.35, near(rng, 0.12 if rng.random() < 0.4 else 0.6, 0.12, 0.7, 0.06)
    face = steel if rng.random() < 0.65 else brand(rng)
    printed = graphics(rng, face, busy=2)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        y = view.y / flat
        level, angle = np.sqrt(view.x**2 + y**2), np.arctan2(y, view.x)
        teeth = 0.045 * np.cos(21 * angle) if crown else np.zeros_like(level)
        disc = view.cover((level - 0.95 - teeth) * flat)
        layer.add(disc, face * 0.9)
        slope = (view.x * view.light[0] + y * view.light[1]) / np.maximum(level, 0.1)
        skirt = step(0.8 - level, 0.06)
        layer.shade(1 + (0.5 * slope + (0.3 * np.cos(21 * angle) if crown else 0)) * skirt, disc)
        plate = step(level - 0.78, 0.04)
        if inside:
            layer.add(disc * plate, near(view.rng, 0.1, 0.1, 0.6))
            layer.shade(1 - 0.5 * slope * step(np.abs(level - 0.7) - 0.08, 0.08), disc)
        else:
            layer.add(disc * plate, printed(view.x / 0.75, y / 0.75))
            layer.shade(1 + 0.3 * slope * step(np.abs(level - 0.74) - 0.04, 0.06), disc)
        layer.shine(0.45 * np.exp(-(((view.x * 0.8 + y * 0.5 - 0.3) / 0.14) ** 2)) * plate)
        layer.shade(1 + 0.12 * view.noise(3))
        return layer

    return Sketch((1.0, flat), paint)


def aerosol(rng: np.random.Generator) -> Sketch:
    """A spray can: a tall cylinder, a domed shoulder, a nozzle or a cap."""
    radius, tilt = float(rng.uniform(0.2, 0.3)), float(rng.uniform(0.05, 0.25))
    printed = graphics(rng, often(rng, ((0.6, 0.04, 0.75), (0.0, 0.8, 0.7), (0.62, 0.7, 0.6))), busy=2)
    capped, top = rng.random() < 0.5, brand(rng) if rng.random() < 0.5 else white(rng)
    steel = near(rng, 0.6, 0.03, 0.75, 0.04)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        body = turn(view, [(-0.93, radius), (0.5, radius), (0.66, radius * 0.55)], tilt=tilt, smooth=0.04)
        layer.add(body.cover, printed(body.side, body.height / 0.7))
        layer.add(np.maximum(body.band(view, 0.5, 1), body.band(view, -1, -0.88)), steel)
        layer.shade(reflections(view, body))
        if capped:
            head = turn(view, [(0.45, radius * 0.96), (0.88, radius * 0.93), (0.96, radius * 0.7)], tilt=tilt)
        else:
            head = turn(view, [(0.64, radius * 0.3), (0.95, radius * 0.3)], tilt=tilt)
        layer.add(head.cover, top * head.lit(view)[..., None])
        layer.add(head.top, top * 1.05)
        layer.shine(0.3 * head.streak(0.4, 0.15))
        if not capped:
            layer.add(view.cover(circle(view.x, view.y - 0.86, 0.025)), hsv(0, 0, 0.05))
            layer.add(view.cover(box(view.x, view.y - 0.64, radius * 0.5, 0.02)), steel * 0.6)
        return layer

    return Sketch((radius, 1.0), paint, 0.05)


FAMILIES = ((can, 0.54), (tin, 0.2), (foil, 0.16), (cap, 0.06), (aerosol, 0.04))
