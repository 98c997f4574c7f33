"""Glass: bottles, jars, tumblers, shards. Seen through: what lies behind is displaced and tinted."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.paint import Colour, Layer, Sketch, View, polygon
from wisp.data.synthetic.solids import Turned, turn
from wisp.data.synthetic.surface import brand, graphics, near, white


def tint(rng: np.random.Generator) -> Colour:
    """What the glass lets through: brown, green or (nearly) clear."""
    kind = rng.random()
    if kind < 0.42:
        return near(rng, 0.07, 0.85, 0.36, 0.05)
    if kind < 0.86:
        return near(rng, 0.34, 0.7, 0.42, 0.06)
    return near(rng, 0.42, 0.08, 0.85, 0.05)


def transparent(view: View, body: Turned, through: Colour, bend: float) -> Colour:
    """The colour of a clear body: displaced surroundings times its tint, darker where the wall is seen edge-on."""
    behind = view.through(-body.side * np.float32(bend), np.zeros_like(body.side))
    wall = 1 - 0.55 * np.abs(body.side) ** 5
    return (0.25 + 0.75 * behind) * through * wall[..., None]


def gloss(layer: Layer, view: View, body: Turned, strength: float) -> None:
    """The hard highlights of glass: a long one towards the light, a thin one at the other edge."""
    towards = 0.55 * np.sign(view.light[0])
    broken = np.clip(0.75 + 0.6 * view.noise(1.2, 2), 0, 1)
    layer.shine(strength * (body.streak(towards, 0.09) + 0.45 * body.streak(-towards * 1.45, 0.06)) * broken)


def bottle(rng: np.random.Generator) -> Sketch:
    """A wine, beer or lemonade bottle: straight body, shoulders, a long neck with a lip."""
    radius, neck = float(rng.uniform(0.21, 0.31)), float(rng.uniform(0.07, 0.1))
    shoulder, rise = float(rng.uniform(-0.1, 0.3)), float(rng.uniform(0.12, 0.42))
    through, strength = tint(rng), float(rng.uniform(0.45, 0.95))
    labelled, capped = rng.random() < 0.5, rng.random() < 0.35
    printed = graphics(rng, white(rng) if rng.random() < 0.8 else brand(rng), busy=2)
    foil, level = brand(rng), float(rng.uniform(-1.6, 0.2))
    low, high = sorted(rng.uniform(-0.8, shoulder - 0.05, 2))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        knots = [
            (-1.0, radius * 0.9),
            (-0.96, radius),
            (shoulder, radius),
            (min(shoulder + rise, 0.72), neck * 1.15),
        ]
        body = turn(view, [*knots, (0.92, neck), (0.93, neck * 1.3), (1.0, neck * 1.25)], smooth=0.035)
        layer.add(body.cover, transparent(view, body, through, 0.3))
        layer.shade(np.full(view.shape, 0.72, np.float32), body.band(view, -1, level))
        layer.shade(np.full(view.shape, 0.6, np.float32), body.band(view, -1, -0.93))
        if labelled:
            middle, half = (low + high) / 2, max((high - low) / 2, 0.12)
            face = printed(body.side, (body.height - middle) / half)
            layer.add(body.band(view, middle - half, middle + half), face * body.lit(view)[..., None])
        if capped:
            layer.add(body.band(view, 0.9, 1.01), foil * body.lit(view)[..., None])
        gloss(layer, view, body, strength)
        return layer

    return Sketch((radius, 1.0), paint)


def jar(rng: np.random.Generator) -> Sketch:
    """A preserving jar: short and wide, with or without its metal lid, empty or not."""
    radius, tall, tilt = (
        float(rng.uniform(0.5, 0.85)),
        float(rng.uniform(0.65, 0.85)),
        float(rng.uniform(0.1, 0.3)),
    )
    through, strength = near(rng, 0.4, 0.06, 0.88, 0.04), float(rng.uniform(0.45, 0.9))
    lid, lidded = (near(rng, 0.12, 0.5, 0.75) if rng.random() < 0.5 else brand(rng)), rng.random() < 0.7
    filled, content = rng.random() < 0.4, near(rng, rng.uniform(0, 0.2), 0.7, 0.5)
    labelled, printed = rng.random() < 0.5, graphics(rng, white(rng), busy=3)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        rim = radius * 0.82
        knots = [
            (-tall, radius * 0.92),
            (-tall + 0.06, radius),
            (tall - 0.32, radius),
            (tall - 0.2, rim),
            (tall, rim),
        ]
        body = turn(view, knots, tilt=tilt, smooth=0.05)
        layer.add(body.cover, transparent(view, body, through, 0.4))
        if filled:
            layer.add(0.85 * body.band(view, -tall, 0.3 * tall), content * body.lit(view, 0.6)[..., None])
        if labelled:
            layer.add(
                body.band(view, -tall * 0.6, tall * 0.3),
                printed(body.side, body.height * 2) * body.lit(view)[..., None],
            )
        layer.add(0.6 * body.top, through * 0.8)
        layer.shade(1 - 0.45 * np.exp(-(((body.rim - 0.9) / 0.1) ** 2)), body.top)
        if lidded:
            cap = turn(view, [(tall - 0.16, rim * 1.08), (tall + 0.02, rim * 1.08)], tilt=tilt)
            ridges = 1 + 0.12 * np.sin(np.arcsin(np.clip(cap.side, -1, 1)) * 40)
            layer.add(cap.cover, lid * (cap.lit(view, 0.35) * ridges)[..., None])
            layer.add(cap.top, lid * (1.05 + 0.2 * np.cos(2 * np.arctan2(view.y, view.x)))[..., None])
        layer.shade(np.full(view.shape, 0.7, np.float32), body.band(view, -tall - 0.1, -tall + 0.05))
        gloss(layer, view, body, strength)
        return layer

    return Sketch((radius, tall + tilt * radius), paint)


def tumbler(rng: np.random.Generator) -> Sketch:
    """A drinking glass or a stemmed glass, seen from slightly above."""
    radius, tilt = float(rng.uniform(0.42, 0.62)), float(rng.uniform(0.12, 0.35))
    through, strength = near(rng, 0.5, 0.05, 0.92, 0.03), float(rng.uniform(0.5, 0.95))
    stemmed, level = rng.random() < 0.4, float(rng.uniform(-1.0, 0.4))
    drink = near(rng, rng.choice([0.0, 0.1, 0.14]), 0.8, 0.6)

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        high = 1 - tilt * radius
        if stemmed:
            knots = [
                (-high, radius * 0.8),
                (-high + 0.05, 0.06),
                (-0.15, 0.06),
                (0.1, radius),
                (high, radius * 0.8),
            ]
        else:
            knots = [(-high, radius * 0.72), (high, radius)]
        body = turn(view, knots, tilt=tilt, smooth=0.05 if stemmed else 0.0)
        layer.add(body.cover, transparent(view, body, through, 0.35))
        if not stemmed:
            layer.shade(np.full(view.shape, 0.65, np.float32), body.band(view, -high - 0.1, -high + 0.1))
        layer.add(0.7 * body.band(view, -0.05 if stemmed else -high, level), drink)
        layer.add(body.top * 0.5, through)
        layer.shine(0.6 * np.exp(-(((body.rim - 0.95) / 0.06) ** 2)))
        gloss(layer, view, body, strength)
        return layer

    return Sketch((radius, 1.0), paint)


def shard(rng: np.random.Generator) -> Sketch:
    """Broken glass: sharp corners, bright edges, tinted in the middle."""
    corners = int(rng.integers(4, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners) * 0.3 + np.arange(corners) * 2 * np.pi / corners)
    radii = rng.uniform(0.5, 1.0, corners)
    points = [(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]
    through, strength = tint(rng), float(rng.uniform(0.4, 0.9))
    printed = graphics(rng, white(rng), busy=3) if rng.random() < 0.3 else None

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = polygon(view.x, view.y, points)
        piece = view.cover(outline)
        behind = view.through(0.08 * view.noise(2, 1), 0.08 * view.noise(2, 1))
        layer.add(piece, (0.2 + 0.8 * behind) * through)
        if printed is not None:
            layer.add(piece * view.cover(0.15 - view.x), printed(view.x, view.y))
        # A broken edge is a narrow face of its own: bright where it turns to the light, dark where it turns away.
        facing = view.x * view.light[0] + view.y * view.light[1]
        rim = np.exp(-(((outline + 0.05) / 0.045) ** 2))
        layer.shade(1 - 0.55 * rim * np.clip(-facing * 2 + 0.3, 0, 1))
        layer.shine(strength * rim * np.clip(facing * 1.5 + 0.15 + 0.4 * view.noise(2), 0, 1))
        layer.shade(1 + 0.25 * np.tanh((view.x * 0.7 + view.y * 0.5 + 0.15) * 8))
        glare = view.x * 0.6 + view.y - 0.2 + 0.2 * view.noise(1, 1)
        layer.shine(strength * 0.6 * np.exp(-((glare / 0.12) ** 2)))
        return layer

    return Sketch((1.0, 1.0), paint)


FAMILIES = ((bottle, 0.74), (jar, 0.12), (tumbler, 0.05), (shard, 0.09))
