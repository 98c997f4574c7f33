"""Drink cartons: gable-top milk cartons, juice bricks with a straw, flattened ones."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, box, capsule, circle, ellipse, polygon
from wisp.data.synthetic.solids import Cuboid
from wisp.data.synthetic.surface import Print, brand, graphics, hsv, near, often, step, white


def _design(rng: np.random.Generator) -> tuple[Colour, Print]:
    """White with a coloured print, as milk has it, or fully coloured, as juice has it."""
    base = white(rng) if rng.random() < 0.72 else often(rng, ((0.09, 0.85, 0.9), (0.3, 0.7, 0.6)))
    accent = often(rng, ((0.6, 0.8, 0.75), (0.58, 0.7, 0.85)))
    return base, graphics(rng, base, accent, busy=3)


def gable(rng: np.random.Generator) -> Sketch:
    """A gable-top carton: two visible sides, a roof that folds up to a flat ridge, sometimes a screw cap."""
    solid = Cuboid(
        float(rng.uniform(0.32, 0.42)), 0.55, (float(rng.uniform(0.18, 0.34)), float(rng.uniform(0.05, 0.12)))
    )
    base, design = _design(rng)
    cap, capped, slab = brand(rng), rng.random() < 0.5, float(rng.uniform(0.1, 0.16))
    roof = base if rng.random() < 0.4 else often(rng, ((0.6, 0.8, 0.75), (0.58, 0.7, 0.85)))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        view.y = view.y + 0.2
        front, side, _ = solid.faces(view, 0.5)
        dx, dy = solid.depth
        for face in (side, front):
            layer.add(face.cover, design(face.u, face.v) * face.light)
        left, right, eave = -solid.width - dx / 2, solid.width - dx / 2, solid.height - dy / 2
        ridge = eave + 0.38
        # The near slope of the roof; its far end is the triangle over the side, folded inwards.
        slope = [(left, eave), (right, eave), (right + dx / 2, ridge), (left + dx / 2, ridge)]
        triangle = [(right, eave), (right + dx, eave + dy), (right + dx / 2, ridge)]
        layer.add(view.cover(polygon(view.x, view.y, triangle)), roof * side.light * 0.8)
        layer.add(view.cover(polygon(view.x, view.y, slope)), roof * min(front.light * 1.08, 1))
        inner = [(right, eave), (right + dx / 2, ridge), (right - 0.25 * solid.width, ridge)]
        layer.shade(np.full(view.shape, 0.93, np.float32), view.cover(polygon(view.x, view.y, inner)))
        middle = (left + right + dx) / 2
        top = view.cover(box(view.x - middle, view.y - ridge - slab / 2, solid.width, slab / 2))
        layer.add(top, roof * 0.95)
        layer.shade(1 - 0.3 * step(np.abs(view.y - ridge) - 0.008, 0.02), np.maximum(top, front.cover))
        layer.shade(1 - 0.12 * step(np.abs(view.y - ridge - slab * 0.6) - 0.01, 0.02), top)
        if capped:
            x, y = view.x - (left + right + dx / 2) / 2, view.y - (eave + ridge) / 2
            layer.add(view.cover(box(x, y - 0.02, 0.13, 0.07, 0.03)), cap * 0.75)
            layer.add(view.cover(ellipse(x, y - 0.09, 0.13, 0.07)), cap)
        layer.shade(1 + 0.05 * view.noise(1.5))
        layer.shine(0.12 * np.exp(-(((front.u + 0.5) / 0.2) ** 2)) * front.cover)
        return layer

    return Sketch((solid.half[0], 0.97), paint, 0.1)


def brick(rng: np.random.Generator) -> Sketch:
    """A juice brick: glossy print, triangular ears, a straw or its wrapper or a cap on top."""
    solid = Cuboid(
        float(rng.uniform(0.36, 0.52)),
        float(rng.uniform(0.6, 0.72)),
        (float(rng.uniform(0.15, 0.34)), float(rng.uniform(0.12, 0.26))),
    )
    _, design = _design(rng)
    extra, straw = str(rng.choice(["straw", "cap", "none"], p=[0.5, 0.25, 0.25])), brand(rng)
    straw_colour = white(rng) if rng.random() < 0.6 else straw
    lean = float(rng.uniform(-0.15, 0.2))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        view.y = view.y + 0.14
        front, side, top = solid.faces(view, 0.5)
        for face in (side, top, front):
            layer.add(face.cover, design(face.u, face.v) * face.light)
        ear = np.abs(side.u) + side.v * 1.5
        layer.shade(1 - 0.15 * step(np.abs(ear - 1.2) - 0.04, 0.05), side.cover)
        layer.shade(1 - 0.2 * step(np.abs(top.v) - 0.06, 0.05), top.cover)
        at = (0.1, solid.height)
        if extra == "straw":
            knee = (at[0] + lean, at[1] + 0.26)
            for start, end in ((at, knee), (knee, (knee[0] + 0.2, knee[1] + 0.07))):
                line = capsule(view.x, view.y, start, end, 0.033)
                layer.add(view.cover(line), straw_colour * (0.85 + 3 * line * view.light[0])[..., None])
            layer.add(view.cover(circle(view.x - at[0], view.y - at[1], 0.03)), hsv(0, 0, 0.15))
        elif extra == "cap":
            layer.add(view.cover(box(view.x - at[0], view.y - at[1] - 0.03, 0.13, 0.06, 0.03)), straw * 0.8)
            layer.add(view.cover(ellipse(view.x - at[0], view.y - at[1] - 0.09, 0.13, 0.05)), straw)
        layer.shine(0.18 * np.exp(-(((front.u + front.v * 0.3 - 0.4) / 0.16) ** 2)) * front.cover)
        layer.shade(1 + 0.05 * view.noise(1.5))
        return layer

    return Sketch((solid.half[0], 1.0), paint, 0.12)


def flattened(rng: np.random.Generator) -> Sketch:
    """A trodden carton: its print, the folds of its ends, the grey aluminium inside where it is torn."""
    wide = float(rng.uniform(0.5, 0.72))
    _, design = _design(rng)
    torn, crumple = rng.random() < 0.4, float(rng.uniform(0.25, 0.5))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        body = view.cover(box(view.x, view.y, wide * (1 - 0.1), 0.97, 0.04))
        layer.add(body, design(view.x / wide, view.y / 0.7))
        for end in (1, -1):
            ears = np.abs(np.abs(view.x) / wide - (end * view.y - 0.55) * 1.6)
            layer.shade(1 - 0.28 * step(ears - 0.05, 0.06) * (end * view.y > 0.55))
            layer.shade(1 - 0.3 * np.exp(-(((view.y * end - 0.55) / 0.025) ** 2)))
        layer.shade(1 - 0.3 * np.exp(-(((view.x - wide * 0.45) / 0.03) ** 2)))
        if torn:
            flap = view.cover(polygon(view.x, view.y, [(wide, 1), (wide, 0.35), (wide * 0.2, 1)]))
            layer.add(flap * layer.alpha, near(view.rng, 0.6, 0.03, 0.7))
        layer.shade(view.crumple(1.8, crumple))
        layer.shine(0.2 * np.clip(view.noise(1.5, 2) - 0.3, 0, 1))
        return layer

    return Sketch((wide, 1.0), paint, 0.4)


FAMILIES = ((gable, 0.48), (brick, 0.38), (flattened, 0.14))
