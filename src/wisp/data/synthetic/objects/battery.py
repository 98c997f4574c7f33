"""Batteries: round cells, button cells, nine-volt blocks, flat packs."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.paint import Layer, Sketch, View, box, circle, ellipse
from wisp.data.synthetic.solids import Cuboid, turn
from wisp.data.synthetic.surface import brand, graphics, hsv, near, often, step, white

_STEEL = hsv(0.6, 0.04, 0.72)
_LABELS = ((0.085, 0.75, 0.85), (0.12, 0.75, 0.85), (0.33, 0.7, 0.5))  # copper, gold, green


def cell(rng: np.random.Generator) -> Sketch:
    """A round cell (AAA to D): steel ends, a nub, a two-coloured label."""
    radius, tilt = float(rng.uniform(0.17, 0.34)), float(rng.uniform(0.05, 0.4))
    dark = hsv(rng.uniform(0, 1), rng.uniform(0, 0.3), rng.uniform(0.05, 0.12))
    bright = often(rng, _LABELS)
    lower, upper = (dark, bright) if rng.random() < 0.85 else (bright, white(rng))
    split, shine = float(rng.uniform(-0.3, 0.55)), float(rng.uniform(0.3, 0.8))
    printed = graphics(rng, lower, upper, busy=2)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        nub = turn(view, [(0.8, radius * 0.36), (1.0, radius * 0.36)], tilt=tilt)
        body = turn(
            view, [(-0.9, radius * 0.97), (-0.87, radius), (0.83, radius), (0.86, radius * 0.95)], tilt=tilt
        )
        layer.add(body.cover, printed(body.side, body.height))
        layer.add(body.band(view, split, 1), upper)
        layer.add(np.maximum(body.band(view, -1, -0.84), body.band(view, 0.8, 1)), _STEEL)
        if bright is upper:
            layer.add(body.band(view, split - 0.02, split + 0.02), white(view.rng))
        layer.shade(body.lit(view, 0.25))
        layer.shine(shine * body.streak(0.45 * np.sign(view.light[0]), 0.16) + 0.2 * body.streak(-0.7, 0.1))
        layer.add(body.top, _STEEL * 0.85)
        layer.shade(1.15 - 0.3 * step(np.abs(body.rim - 0.75) - 0.1), body.top)
        layer.add(nub.cover, (_STEEL * 0.95) * nub.lit(view, 0.3)[..., None])
        layer.add(nub.top, _STEEL * 1.15)
        return layer

    return Sketch((radius, 1.0), paint)


def button(rng: np.random.Generator) -> Sketch:
    """A button cell: a steel disc with a rim and engraved letters, seen at an angle."""
    flat, thick = float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.08, 0.22))
    ring, steel = float(rng.uniform(0.72, 0.85)), near(rng, 0.58, 0.06, 0.75, 0.05)
    pitch = float(rng.uniform(0.16, 0.26))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        edge = np.minimum(
            ellipse(view.x, view.y + thick, 1, flat), box(view.x, view.y + thick / 2, 1, thick / 2)
        )
        side = np.clip(view.x, -1, 1)
        layer.add(view.cover(edge), steel * (0.5 + 0.4 * np.exp(-(((side - 0.4) / 0.2) ** 2)))[..., None])
        face = view.cover(ellipse(view.x, view.y, 1, flat))
        level = np.sqrt(view.x**2 + (view.y / flat) ** 2)
        brushed = 0.9 + 0.18 * np.sin(3 * np.arctan2(view.y, view.x) + 2) + 0.05 * view.noise(6)
        layer.add(face, steel * brushed[..., None])
        slope = (view.x * view.light[0] + view.y * view.light[1]) / np.maximum(level, 0.1)
        layer.shade(1 + 0.35 * slope * step(np.abs(level - ring) - 0.03, 0.04), face)
        layer.shade(1 - 0.3 * slope * step(np.abs(level - 0.96) - 0.03, 0.04), face)
        u, v = view.x, view.y / flat
        plus = np.minimum(box(u, v - 0.45, 0.16, 0.035), box(u, v - 0.45, 0.035, 0.16))
        engraved = np.maximum(step(plus), step(box(u, v + 0.1, 0.45, 0.2)) * (np.sin(u * 3 / pitch) > -0.2))
        layer.shade(1 - 0.4 * engraved, face * (level < ring))
        return layer

    return Sketch((1.0, flat + thick / 2), paint)


def block(rng: np.random.Generator) -> Sketch:
    """A nine-volt block: two snap terminals on top of a two-coloured box."""
    solid = Cuboid(
        float(rng.uniform(0.42, 0.5)), 0.72, (float(rng.uniform(0.15, 0.35)), float(rng.uniform(0.15, 0.3)))
    )
    dark = hsv(rng.uniform(0, 1), rng.uniform(0, 0.3), rng.uniform(0.05, 0.12))
    bright = often(rng, _LABELS)
    split = float(rng.uniform(-0.1, 0.6))
    printed = graphics(rng, dark, bright, busy=3)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        front, side, top = solid.faces(view, 0.45)
        for face in (side, front):
            layer.add(face.cover, printed(face.u, face.v) * face.light)
            layer.add(face.cover * step(split - face.v), bright * face.light)
            layer.add(face.cover * step(np.abs(np.abs(face.v) - 0.97) - 0.03), _STEEL * face.light)
        layer.add(top.cover, hsv(0, 0, 0.13) * top.light)
        middle_x, middle_y = 0.0, solid.height
        for place, size in ((-0.5, 0.12), (0.5, 0.17)):
            x, y = view.x - middle_x - place * solid.width, view.y - middle_y
            base = view.cover(np.minimum(ellipse(x, y, size, size * 0.5), box(x, y - 0.07, size, 0.07)))
            layer.add(base, _STEEL * (0.75 + 0.3 * x / size)[..., None])
            layer.add(view.cover(ellipse(x, y - 0.14, size, size * 0.5)), _STEEL * 1.2)
            layer.add(view.cover(ellipse(x, y - 0.14, size * 0.5, size * 0.25)), hsv(0, 0, 0.25))
        layer.shine(0.25 * np.exp(-(((front.u - 0.5) / 0.15) ** 2)) * front.cover)
        return layer

    return Sketch((solid.half[0], 1.0), paint)


def pack(rng: np.random.Generator) -> Sketch:
    """A flat lithium pack: a rounded slab, a white label with text, golden contacts."""
    half_x, rounding = float(rng.uniform(0.55, 0.8)), float(rng.uniform(0.05, 0.15))
    body = near(rng, 0.6, 0.08, rng.choice([0.12, 0.2, 0.7]), 0.05)
    label, contacts = white(rng), int(rng.integers(3, 5))
    printed = graphics(rng, label, hsv(0, 0, 0.2), busy=3)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        layer.add(view.cover(box(view.x + 0.03, view.y + 0.04, half_x, 0.94, rounding)), body * 0.55)
        slab = view.cover(box(view.x - 0.02, view.y - 0.02, half_x, 0.94, rounding))
        layer.add(slab, body * (1 + 0.15 * (view.x * view.light[0] + view.y * view.light[1]))[..., None])
        u, v = view.x / (half_x * 0.85), (view.y + 0.08) / 0.75
        layer.add(view.cover(box(view.x, view.y + 0.08, half_x * 0.85, 0.75, 0.03)), printed(u, v))
        for contact in range(contacts):
            x = view.x - (contact - (contacts - 1) / 2) * 0.2
            layer.add(view.cover(box(x, view.y - 0.87, 0.06, 0.045)), hsv(0.12, 0.6, 0.85))
        layer.add(view.cover(circle(view.x - half_x * 0.6, view.y + 0.65, 0.07)), brand(view.rng))
        layer.shine(np.clip(0.25 * view.noise(0.8, 1), 0, 1))
        return layer

    return Sketch((half_x + 0.03, 0.97), paint)


FAMILIES = ((cell, 0.68), (button, 0.12), (block, 0.14), (pack, 0.06))
