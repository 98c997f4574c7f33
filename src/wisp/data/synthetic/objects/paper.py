"""Paper and cardboard: sheets, crumpled balls, cups, boxes, tubes, bags."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import ripple
from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, blob, box, polygon
from wisp.data.synthetic.solids import Cuboid, turn
from wisp.data.synthetic.surface import brand, graphics, hsv, kraft, near, step, text, white

_SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def stock(rng: np.random.Generator) -> Colour:
    """The colour of paper: white, newsprint, kraft; coloured paper is rare."""
    kind = rng.random()
    if kind < 0.4:
        return white(rng)
    if kind < 0.52:
        return near(rng, 0.12, 0.1, 0.78, 0.03)
    return kraft(rng) if kind < 0.96 else near(rng, rng.uniform(), 0.35, 0.85)


def sheet(rng: np.random.Generator) -> Sketch:
    """A sheet: a page, a newspaper, a receipt, a flyer; folded, with torn or curled corners."""
    wide = float(rng.choice([0.3, 0.7, 0.75, 0.95])) * float(rng.uniform(0.9, 1.05))
    corners = [(sx * wide * rng.uniform(0.8, 1), sy * rng.uniform(0.85, 1)) for sx, sy in _SQUARE]
    base, printed = stock(rng), rng.random() < 0.2
    design = graphics(rng, base, busy=5)
    pitch, folds = float(rng.uniform(0.05, 0.11)), int(rng.integers(0, 4))
    creases = [(rng.uniform(0, np.pi), rng.uniform(-0.5, 0.5), rng.uniform(0.06, 0.22)) for _ in range(folds)]
    crumple = float(rng.choice([0.05, 0.16]))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        torn = 0.02 * view.noise(9)
        page = view.cover(polygon(view.x, view.y, corners) + torn)
        if printed:
            layer.add(page, design(view.x / wide, view.y))
        else:
            layer.add(page, base)
            ink = text(view.rng, view.x / wide, view.y, pitch) * step(box(view.x, view.y, wide * 0.85, 0.85))
            layer.add(page * ink * 0.7, hsv(0.6, 0.1, 0.2))
        for angle, offset, depth in creases:
            line = view.x * np.cos(angle) + view.y * np.sin(angle) - offset
            lean = np.cos(angle) * view.light[0] + np.sin(angle) * view.light[1]
            layer.shade(1 + np.float32(depth) * (np.tanh(line * 6) * lean - np.exp(-((line / 0.03) ** 2))))
        layer.shade(view.crumple(2.0, crumple) * (1 + 0.07 * view.noise(0.8, 2)))
        return layer

    return Sketch((wide, 1.0), paint, 0.5)


def ball(rng: np.random.Generator) -> Sketch:
    """Crumpled paper: a tissue, a napkin, a ball of newspaper."""
    lobes, depth, wide = (
        int(rng.integers(6, 12)),
        float(rng.uniform(0.1, 0.25)),
        float(rng.uniform(0.55, 1.0)),
    )
    base, count = stock(rng), float(rng.uniform(1.6, 3.4))
    printed = graphics(rng, base, busy=4) if rng.random() < 0.15 else None
    contrast = float(rng.uniform(0.4, 0.7))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = blob(view.rng, view.x, view.y / wide, lobes, depth) * wide
        outline = outline + 0.04 * view.facets(3).tone
        layer.add(view.cover(outline), base if printed is None else printed(view.x * 1.2, view.y * 1.2))
        layer.shade(np.clip(view.crumple(count, contrast), 0.35, 1.25))
        round_light = 1 + 0.25 * (view.x * view.light[0] + view.y * view.light[1])
        layer.shade(round_light * np.clip(0.75 - outline * 1.2, 0.75, 1))
        return layer

    return Sketch((1.0, wide), paint, 0.7)


def cup(rng: np.random.Generator) -> Sketch:
    """A paper cup: tapered, a rolled rim, often printed, a sleeve or a lid."""
    radius, tilt = float(rng.uniform(0.5, 0.66)), float(rng.uniform(0.15, 0.42))
    base = white(rng) if rng.random() < 0.45 else (kraft(rng) if rng.random() < 0.75 else brand(rng))
    printed, sleeve = graphics(rng, base, busy=2), kraft(rng)
    lidded, sleeved = rng.random() < 0.35, rng.random() < 0.3
    lid = white(rng) if rng.random() < 0.6 else hsv(0, 0, 0.12)
    inside = float(rng.uniform(0.5, 0.85))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        high = 0.98 - tilt * radius
        body = turn(view, [(-high, radius * 0.68), (high, radius)], tilt=tilt, smooth=0.0)
        layer.add(body.cover, printed(body.side, body.height / high))
        if sleeved:
            layer.add(body.band(view, -high * 0.45, high * 0.4), sleeve)
            layer.shade(1 + 0.06 * np.sin(body.side * 40), body.band(view, -high * 0.45, high * 0.4))
        layer.shade(body.lit(view, 0.5))
        layer.shade(np.full(view.shape, 0.8, np.float32), body.band(view, -1.2, -high + 0.04))
        layer.add(body.top, white(view.rng) * inside)
        layer.shade(1 + 0.3 * (view.x / radius * -view.light[0]) - 0.25 * (view.y > high), body.top)
        layer.add(body.top * step(0.9 - body.rim, 0.06), white(view.rng))
        if lidded:
            top = turn(view, [(high - 0.1, radius * 1.05), (high + 0.06, radius * 0.92)], tilt=tilt)
            layer.add(top.cover, lid * top.lit(view)[..., None])
            layer.add(top.top, lid * 0.95)
            layer.shade(1 - 0.25 * step(np.abs(top.rim - 0.8) - 0.06, 0.06), top.top)
        return layer

    return Sketch((radius, 1.0), paint, 0.3)


def carton(rng: np.random.Generator) -> Sketch:
    """A cardboard box, closed or open, with tape and print; also small packs (cigarettes, tea)."""
    solid = Cuboid(
        float(rng.uniform(0.4, 0.85)),
        float(rng.uniform(0.4, 0.8)),
        (float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.2, 0.5))),
    )
    small = rng.random() < 0.2
    base = (brand(rng) if rng.random() < 0.6 else white(rng)) if small else kraft(rng)
    design = graphics(rng, base, hsv(0.06, 0.5, 0.25) if not small else None, busy=4 if small else 2)
    opened, taped = not small and rng.random() < 0.45, not small and rng.random() < 0.5

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        front, side, top = solid.faces(view, 0.45)
        for face in (side, top, front):
            layer.add(face.cover, design(face.u, face.v) * face.light)
        if opened:
            layer.add(top.cover, base * 0.35)
            flap = view.cover(
                polygon(view.x + solid.depth[0] / 2, view.y + solid.depth[1] / 2 - solid.height, _flap(solid))
            )
            layer.add(flap, base * 0.92)
            layer.shade(1 + 0.1 * view.noise(2), flap)
        elif taped:
            layer.add(top.cover * step(np.abs(top.u) - 0.12), near(view.rng, 0.1, 0.45, 0.75))
        if not small:
            layer.shade(1 + 0.05 * np.sin(view.x * 70) * np.clip(1 - view.px * 40, 0, 1))
        layer.shade(1 + 0.08 * view.noise(2))
        return layer

    return Sketch(solid.half, paint, 0.12)


def _flap(solid: Cuboid) -> list[tuple[float, float]]:
    """The front flap of an open box, hanging down, relative to the middle of the front's upper edge."""
    width = solid.width
    return [(-width, 0), (width, 0), (width * 0.85, -0.32), (-width * 0.95, -0.28)]


def flat(rng: np.random.Generator) -> Sketch:
    """A flattened piece of corrugated cardboard: torn edge, fluting, remains of print."""
    wide, base = float(rng.uniform(0.5, 0.95)), kraft(rng)
    corners = [(sx * wide * rng.uniform(0.7, 1), sy * rng.uniform(0.7, 1)) for sx, sy in _SQUARE]
    design, fold = graphics(rng, base, hsv(0.05, 0.5, 0.22), busy=2), float(rng.uniform(-0.5, 0.5))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = polygon(view.x, view.y, corners) + 0.05 * view.noise(3)
        shadowed = polygon(view.x + 0.03, view.y + 0.04, corners)
        layer.add(view.cover(shadowed), base * 0.6)
        layer.add(view.cover(outline), design(view.x / wide, view.y))
        fluting = np.sin(view.y * 60) * np.clip(1 - view.px * 35, 0, 1)
        layer.shade(1 + 0.06 * fluting + 0.12 * np.tanh((view.x - fold) * 8) * view.light[0])
        layer.shade(1 - 0.35 * np.exp(-(((view.x - fold) / 0.025) ** 2)) + 0.1 * view.noise(1.5))
        return layer

    return Sketch((wide, 1.0), paint, 0.3)


def tube(rng: np.random.Generator) -> Sketch:
    """A cardboard tube: spiral seam, hollow end."""
    radius, tilt, base = float(rng.uniform(0.3, 0.55)), float(rng.uniform(0.25, 0.5)), kraft(rng)
    pitch = float(rng.uniform(3, 6))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        high = 0.98 - tilt * radius
        body = turn(view, [(-high, radius), (high, radius)], tilt=tilt)
        layer.add(body.cover, base * body.lit(view, 0.4)[..., None])
        seam = np.abs((body.height * pitch + body.side * 1.2) % 2 - 1)
        layer.shade(1 - 0.2 * step(seam - 0.08, 0.08), body.cover)
        layer.add(body.top, base * 0.95)
        layer.add(body.top * step(body.rim - 0.88, 0.05), base * 0.35)
        layer.shade(1 - 0.6 * view.light[0] * view.x / radius, body.top * step(body.rim - 0.88, 0.05))
        layer.shade(1 + 0.06 * view.noise(4))
        return layer

    return Sketch((radius, 1.0), paint, 0.3)


def bag(rng: np.random.Generator) -> Sketch:
    """A paper bag: side folds, a zigzag or folded mouth, stiff wrinkles."""
    wide, base = float(rng.uniform(0.5, 0.75)), kraft(rng) if rng.random() < 0.85 else white(rng)
    design = graphics(rng, base, busy=2)
    teeth, open_mouth = float(rng.uniform(14, 24)), rng.random() < 0.5

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        zigzag = 0.03 * np.abs((view.x * teeth) % 2 - 1) + 0.05 * ripple(view.rng, view.x * 2 + 9)
        layer.add(view.cover(box(view.x, view.y + zigzag, wide, 0.95)), design(view.x / wide, view.y))
        pleat = np.abs(view.x) / wide
        layer.shade(1 - 0.22 * step(np.abs(pleat - 0.72) - 0.015, 0.03) - 0.12 * (pleat > 0.72))
        layer.shade(1 - 0.3 * np.exp(-(((view.y + 0.62) / 0.02) ** 2)))
        layer.shade(view.crumple(1.8, 0.35))
        if open_mouth:
            layer.add(view.cover(box(view.x, view.y - 0.84, wide * 0.8, 0.06, 0.05)), base * 0.4)
        return layer

    return Sketch((wide, 1.0), paint, 0.5)


FAMILIES = ((sheet, 0.3), (ball, 0.17), (cup, 0.15), (carton, 0.16), (flat, 0.09), (tube, 0.04), (bag, 0.09))
