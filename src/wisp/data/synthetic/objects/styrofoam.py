"""Expanded polystyrene: broken blocks, clamshells, meat trays, packing peanuts, cups."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import worley
from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, blob, box, capsule, polygon
from wisp.data.synthetic.solids import Cuboid, turn
from wisp.data.synthetic.surface import graphics, near, step, white


def foam(rng: np.random.Generator) -> Colour:
    """White, yellowed by the sun, or dyed."""
    kind = rng.random()
    if kind < 0.82:
        return white(rng)
    if kind < 0.94:
        return near(rng, 0.13, 0.2, 0.85, 0.05)
    return near(rng, rng.choice([0.55, 0.95, 0.12]), 0.35, 0.85, 0.05)


def beads(layer: Layer, view: View, per_unit: float, depth: float) -> None:
    """The grains of expanded foam, as long as they are larger than a pixel."""
    grains = worley(view.rng, view.x * np.float32(per_unit) + 40, view.y * np.float32(per_unit) + 40, 0.7)
    visible = float(np.clip(1.6 - view.px * per_unit * 1.6, 0.15, 1))
    layer.shade(
        1 + np.float32(depth * visible) * (np.minimum(grains.edge * 2.2, 0.5) - 0.35 + 0.25 * grains.tone)
    )


def block(rng: np.random.Generator) -> Sketch:
    """A packing block: granular faces, crumbled edges, cut-outs."""
    solid = Cuboid(
        float(rng.uniform(0.45, 0.8)),
        float(rng.uniform(0.3, 0.75)),
        (float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.15, 0.45))),
    )
    colour, grains, notch = foam(rng), float(rng.uniform(12, 26)), rng.random() < 0.5
    place, size = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.2, 0.4))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        crumbs = worley(view.rng, view.x * 9 + 20, view.y * 9 + 20)
        view.x = view.x + 0.05 * crumbs.slope_x
        view.y = view.y + 0.05 * crumbs.slope_y
        front, side, top = solid.faces(view, 0.4)
        for face in (side, top, front):
            layer.add(face.cover, colour * face.light)
        if notch:
            hole = step(np.maximum(np.abs(front.u - place) - size, np.abs(front.v - 0.5) - 0.5)) * front.cover
            layer.shade(1 - 0.3 * hole)
            layer.shade(1 - 0.15 * hole * step(front.u - place + size - 0.1))
        beads(layer, view, grains, 0.35)
        return layer

    return Sketch(solid.half, paint, 0.1)


def chunk(rng: np.random.Generator) -> Sketch:
    """A broken-off piece: irregular outline, a few large faces, grains."""
    lobes, depth, wide = (
        int(rng.integers(6, 11)),
        float(rng.uniform(0.1, 0.22)),
        float(rng.uniform(0.45, 0.95)),
    )
    colour, grains, faces = foam(rng), float(rng.uniform(10, 22)), float(rng.uniform(0.9, 1.6))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        grain = worley(view.rng, view.x * grains / 2 + 20, view.y * grains / 2 + 20)
        outline = blob(view.rng, view.x, view.y / wide, lobes, depth) * wide + 0.05 * grain.tone
        layer.add(view.cover(outline), colour)
        large = view.facets(faces, 0.04)
        lean = large.slope_x * view.light[0] + large.slope_y * view.light[1]
        layer.shade(0.95 + 0.22 * lean)
        beads(layer, view, grains, 0.4)
        layer.shade(np.clip(0.8 - outline * 2, 0.75, 1))
        return layer

    return Sketch((1.0, wide), paint, 0.15)


def clamshell(rng: np.random.Generator) -> Sketch:
    """A take-away box: open with two dished halves and a hinge, or closed, smooth and thick-walled."""
    opened, colour = rng.random() < 0.65, foam(rng)
    wide, rounding, dish = (
        float(rng.uniform(0.55, 0.75)),
        float(rng.uniform(0.08, 0.2)),
        float(rng.uniform(0.06, 0.12)),
    )
    tall, grains = (1.0 if opened else 0.7), float(rng.uniform(16, 28))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        halves = (-0.5, 0.5) if opened else (0.0,)
        for middle in halves:
            y = view.y - middle
            outline = box(view.x, y, wide, 0.49 if opened else 0.68, rounding)
            layer.add(view.cover(outline), colour)
            slope = (view.x / wide) * view.light[0] + y * 2 * view.light[1]
            sign = -1.0 if opened else 1.0
            wall = step(np.abs(outline + 0.08 + dish) - dish, 0.03)
            layer.shade(1 + sign * 0.32 * slope * wall)
            layer.shade(1 - 0.18 * np.exp(-(((outline + 0.07) / 0.02) ** 2)))
            if opened:
                layer.shade(1 - 0.12 * step(outline + 0.08 + 2 * dish))
            else:
                layer.shade(
                    1 - 0.25 * step(np.abs(y + 0.5) - 0.012, 0.02) * step(box(view.x, y, wide * 0.9, 0.7))
                )
                layer.shade(1 - 0.22 * step(box(view.x, y + 0.56, 0.16, 0.04, 0.03)))
        beads(layer, view, grains, 0.14)
        layer.shade(1 + 0.06 * view.noise(1.2, 2))
        return layer

    return Sketch((wide, tall), paint, 0.15)


def tray(rng: np.random.Generator) -> Sketch:
    """A meat tray: rounded, shallow, with an embossed grid on the bottom."""
    wide, colour = (
        float(rng.uniform(0.55, 0.9)),
        foam(rng) if rng.random() < 0.8 else near(rng, 0.6, 0.05, 0.14),
    )
    pitch, rounding = float(rng.uniform(8, 15)), float(rng.uniform(0.15, 0.3))
    bitten = rng.random() < 0.4

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = box(view.x, view.y, wide, 1.0, rounding)
        if bitten:
            outline = np.maximum(
                outline, -(blob(view.rng, (view.x - wide) * 2, (view.y - 0.9) * 2, 9, 0.3) * 0.5)
            )
        layer.add(view.cover(outline), colour)
        slope = (view.x / wide) * view.light[0] + view.y * view.light[1]
        inner = box(view.x, view.y, wide, 1.0, rounding) + 0.07
        layer.shade(1 - 0.45 * slope * step(np.abs(inner + 0.1) - 0.08, 0.05))
        bottom = step(inner + 0.2)
        grid = np.maximum(np.cos(view.x * pitch + view.y * pitch), np.cos(view.x * pitch - view.y * pitch))
        layer.shade(1 - 0.1 * bottom - 0.14 * bottom * np.clip(grid * 3 - 2, 0, 1))
        beads(layer, view, 24.0, 0.15)
        return layer

    return Sketch((wide, 1.0), paint, 0.15)


def peanuts(rng: np.random.Generator) -> Sketch:
    """A few packing peanuts: short thick S and C shapes."""
    count, colour = int(rng.integers(2, 6)), foam(rng)
    middles = rng.uniform(-0.62, 0.62, (count, 2))
    angles = rng.uniform(0, 2 * np.pi, count)
    size = float(rng.uniform(0.2, 0.3))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        for (middle_x, middle_y), angle in zip(middles, angles, strict=True):
            cosine, sine = np.cos(angle), np.sin(angle)
            x = ((view.x - middle_x) * cosine + (view.y - middle_y) * sine).astype(np.float32)
            y = ((view.y - middle_y) * cosine - (view.x - middle_x) * sine).astype(np.float32)
            y = y + 0.09 * np.sin(x * 9)
            body = capsule(x, y, (-size, 0), (size, 0), 0.16) + 0.025 * np.cos(x * 16)
            layer.add(view.cover(body - 0.02), colour * 0.55)
            light = 0.9 + 0.35 * np.clip(-body / 0.16, 0, 1) * (0.6 + y * 2 * view.light[1])
            layer.add(view.cover(body), colour * np.clip(light, 0.5, 1.05)[..., None])
        beads(layer, view, 18.0, 0.2)
        return layer

    return Sketch((1.0, 1.0), paint, 0.1)


def cup(rng: np.random.Generator) -> Sketch:
    """A foam cup: thick rim, matt, granular; sometimes with a printed band or a bite out of its rim."""
    radius, tilt, colour = float(rng.uniform(0.5, 0.66)), float(rng.uniform(0.15, 0.42)), foam(rng)
    printed, design = rng.random() < 0.1, graphics(rng, colour, busy=2)
    broken = rng.random() < 0.4

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        high = 0.98 - tilt * radius
        body = turn(view, [(-high, radius * 0.7), (high, radius)], tilt=tilt)
        layer.add(body.cover, design(body.side, body.height / high) if printed else colour)
        layer.shade(body.lit(view, 0.6))
        layer.add(body.top, colour)
        layer.add(body.top * step(body.rim - 0.8, 0.05), colour * 0.62)
        layer.shade(1 - 0.25 * view.light[0] * view.x / radius, body.top)
        beads(layer, view, 20.0, 0.3)
        if broken:
            layer.erase(
                view.cover(polygon(view.x, view.y + 0.05 * view.noise(5), [(0.1, 1.2), (1, 1.2), (1, 0.35)]))
            )
        return layer

    return Sketch((radius, 1.0), paint, 0.1)


FAMILIES = ((block, 0.3), (chunk, 0.28), (clamshell, 0.2), (tray, 0.1), (peanuts, 0.06), (cup, 0.06))
