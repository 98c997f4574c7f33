"""Plastic: clear drink bottles, household bottles, cups, trays, lids, cutlery and straws."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import ripple
from wisp.data.synthetic.objects.glass import transparent
from wisp.data.synthetic.paint import Layer, Sketch, View, box, capsule, circle, ellipse, polygon
from wisp.data.synthetic.solids import turn
from wisp.data.synthetic.surface import brand, graphics, hsv, near, often, step, white


def drink_bottle(rng: np.random.Generator) -> Sketch:
    """A PET bottle: ribs, a waist, short shoulders, a coloured screw cap, a label band; often dented."""
    radius, neck = float(rng.uniform(0.26, 0.36)), float(rng.uniform(0.1, 0.125))
    kind = rng.random()
    through = near(rng, 0.56, 0.2, 0.95, 0.04) if kind < 0.8 else near(rng, 0.33, 0.5, 0.6, 0.08)
    dent = float(rng.choice([0.0, rng.uniform(0.2, 1.0)], p=[0.6, 0.4]))
    cap, capped = often(rng, ((0.6, 0.8, 0.8), (0.55, 0.7, 0.85), (0.0, 0.0, 0.92))), rng.random() < 0.85
    printed, labelled = (
        graphics(rng, often(rng, ((0.58, 0.75, 0.8), (0.52, 0.6, 0.85))), white(rng), busy=2),
        rng.random() < 0.6,
    )
    ribs, low = float(rng.uniform(22, 38)), float(rng.uniform(-0.45, -0.1))
    milk = rng.random() < 0.08

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        if dent:
            view.x = view.x + dent * 0.09 * ripple(view.rng, view.y * 2.5 + 13)
        waist = radius * 0.88
        knots = [
            (-1.0, radius * 0.8),
            (-0.93, radius),
            (-0.5, radius),
            (-0.45, waist),
            (-0.4, radius),
            (0.4, radius),
        ]
        knots += [(0.78, neck * 1.1), (0.8, neck), (1.0, neck)]
        body = turn(view, knots, smooth=0.03)
        if milk:
            layer.add(body.cover, white(view.rng) * body.lit(view)[..., None])
        else:
            layer.add(body.cover, transparent(view, body, through, 0.2) * 0.85 + 0.12)
        ring = np.sin(body.height * ribs) * step(np.abs(body.height + 0.3) - 0.55, 0.1)
        layer.shade(1 + 0.16 * ring * np.clip(1.2 - view.px * 14, 0, 1), body.cover)
        if labelled:
            label = body.band(view, low, low + 0.42)
            layer.add(
                label, printed(body.side, (body.height - low - 0.21) / 0.21) * body.lit(view)[..., None]
            )
        glints = np.clip(view.noise(3, 2) + 0.2, 0, 1)
        layer.shine(0.5 * glints * (body.streak(0.5, 0.22) + body.streak(-0.6, 0.16)))
        if dent:
            layer.shade(view.crumple(2.6, 0.4 * dent), body.cover)
        if capped:
            lid = turn(view, [(0.84, neck * 1.25), (1.0, neck * 1.22)], tilt=0.12)
            ridges = 1 + 0.15 * np.sin(np.arcsin(lid.side) * 26)
            layer.add(lid.cover, cap * (lid.lit(view) * ridges)[..., None])
        else:
            layer.shade(np.full(view.shape, 0.75, np.float32), body.band(view, 0.86, 0.89))
        return layer

    return Sketch((radius, 1.0), paint, 0.4 * dent)


def household_bottle(rng: np.random.Generator) -> Sketch:
    """A detergent or shampoo bottle: opaque, softly shaded, flat, with a handle or a pump cap."""
    wide, shoulder = float(rng.uniform(0.36, 0.55)), float(rng.uniform(0.3, 0.5))
    colour = often(rng, ((0.57, 0.7, 0.85), (0.14, 0.8, 0.95), (0.9, 0.5, 0.9), (0.0, 0.0, 0.93)))
    cap = brand(rng) if rng.random() < 0.6 else white(rng)
    printed, handled = (
        graphics(rng, white(rng) if rng.random() < 0.5 else brand(rng), busy=4),
        rng.random() < 0.4,
    )

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        knots = [
            (-1.0, wide * 0.93),
            (-0.9, wide),
            (shoulder - 0.25, wide),
            (shoulder + 0.22, 0.16),
            (0.76, 0.15),
        ]
        body = turn(view, knots, smooth=0.12)
        layer.add(body.cover, colour * body.lit(view, 0.55)[..., None])
        label = view.cover(box(view.x, view.y + 0.32, wide * 0.72, 0.4, 0.08))
        layer.add(
            label, printed(view.x / (wide * 0.72), (view.y + 0.32) / 0.4) * body.lit(view, 0.7)[..., None]
        )
        if handled:
            hole = capsule(
                view.x, view.y, (wide * 0.5, shoulder - 0.32), (wide * 0.25, shoulder + 0.02), 0.055
            )
            layer.shade(1 - 0.35 * np.exp(-((hole / 0.05) ** 2)))
            layer.erase(view.cover(hole))
        head = turn(view, [(0.68, 0.19), (0.98, 0.16)], tilt=0.15, smooth=0.02)
        layer.add(head.cover, cap * head.lit(view)[..., None])
        layer.add(head.top, cap)
        layer.shine(0.3 * body.streak(0.55 * np.sign(view.light[0]), 0.14) + 0.25 * head.streak(0.4, 0.2))
        return layer

    return Sketch((wide, 1.0), paint, 0.15)


def cup(rng: np.random.Generator) -> Sketch:
    """A clear or white cup: ribbed, with a rim; sometimes a domed lid and a straw."""
    radius, tilt = float(rng.uniform(0.44, 0.6)), float(rng.uniform(0.12, 0.35))
    through = near(rng, 0.55, 0.04, 0.95, 0.03)
    clear, tinted = rng.random() < 0.75, brand(rng) if rng.random() < 0.4 else white(rng)
    straw, strawed, lidded = brand(rng), rng.random() < 0.4, rng.random() < 0.4
    ribs = float(rng.uniform(14, 26))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        high = (0.6 if strawed else 0.85) - tilt * radius * 0.5
        if strawed:
            rod = capsule(view.x, view.y, (-0.1, -0.6), (0.22, 1.0), 0.04)
            layer.add(view.cover(rod), straw * (0.9 + 3 * rod)[..., None])
        body = turn(view, [(-0.92, radius * 0.68), (high, radius)], tilt=tilt)
        if clear:
            layer.add(body.cover * 0.9, transparent(view, body, through, 0.1) * 0.75 + 0.2)
            layer.add(body.top * 0.4, through)
        else:
            layer.add(body.cover, tinted * body.lit(view, 0.55)[..., None])
            layer.add(body.top, tinted * 0.7)
        layer.shade(1 + 0.12 * np.sin(body.height * ribs), body.band(view, -0.8, high - 0.25))
        layer.shine(0.6 * np.exp(-(((body.rim - 0.95) / 0.05) ** 2)) * body.top)
        if lidded:
            dome = turn(
                view, [(high, radius * 1.04), (high + 0.12, radius), (high + 0.3, radius * 0.5)], smooth=0.08
            )
            layer.add(dome.cover * 0.55, through * (0.5 + 0.5 * dome.lit(view))[..., None])
            layer.shine(0.5 * dome.streak(0.4, 0.14))
        glints = np.clip(0.6 + view.noise(2, 2), 0, 1)
        layer.shine(0.5 * glints * (body.streak(0.55, 0.1) + 0.7 * body.streak(-0.65, 0.07)))
        return layer

    return Sketch((radius, 1.0), paint, 0.2)


def tray(rng: np.random.Generator) -> Sketch:
    """A food tray or tub from above: a flange, steep inner walls, ribs on the bottom."""
    wide, rounding = float(rng.uniform(0.55, 1.0)), float(rng.uniform(0.1, 0.45))
    clear = rng.random() < 0.5
    colour = white(rng) if rng.random() < 0.4 else (hsv(0, 0, 0.1) if rng.random() < 0.5 else brand(rng))
    ribs, depth = float(rng.uniform(8, 20)), float(rng.uniform(0.12, 0.25))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = box(view.x, view.y, wide, 1.0, rounding * wide)
        colour_here = (
            view.through(0.05 * view.noise(2), 0.05 * view.noise(2)) * 0.7 + 0.22 if clear else colour
        )
        layer.add(view.cover(outline), colour_here)
        inner = outline + 0.1
        wall = step(inner) * step(-(inner + depth))
        slope = (view.x / wide) * view.light[0] + view.y * view.light[1]
        layer.shade(1 - 0.55 * slope * wall)
        bottom = step(inner + depth)
        layer.shade(1 - 0.12 * bottom + 0.1 * np.sin(view.x * ribs) * bottom)
        layer.shade(1 - 0.3 * np.exp(-((inner / 0.02) ** 2)))
        layer.shine(0.5 * np.exp(-(((outline + 0.05) / 0.02) ** 2)) * np.clip(slope, 0, 1))
        layer.shine(0.4 * np.exp(-(((view.x + view.y * 0.4 - 0.2 + 0.1 * view.noise(1, 1)) / 0.1) ** 2)))
        return layer

    return Sketch((wide, 1.0), paint, 0.25)


def lid(rng: np.random.Generator) -> Sketch:
    """A screw cap or a cup lid: a disc with fine ridges on its side and rings on top."""
    flat, thick = float(rng.uniform(0.45, 1.0)), float(rng.uniform(0.05, 0.5))
    colour = brand(rng) if rng.random() < 0.65 else (white(rng) if rng.random() < 0.6 else hsv(0, 0, 0.1))
    ring, ridges = float(rng.uniform(0.5, 0.85)), float(rng.uniform(24, 44))
    thick *= 1.1 - flat

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        wall = np.minimum(
            ellipse(view.x, view.y + thick, 1, flat), box(view.x, view.y + thick / 2, 1, thick / 2)
        )
        side = np.clip(view.x, -1, 1)
        layer.add(view.cover(wall), colour * 0.7)
        layer.shade(1 + 0.2 * np.sin(np.arcsin(side) * ridges) + 0.3 * side * view.light[0])
        disc = view.cover(ellipse(view.x, view.y, 1, flat))
        layer.add(disc, colour)
        level = np.sqrt(view.x**2 + (view.y / flat) ** 2)
        slope = (view.x * view.light[0] + view.y * view.light[1]) / np.maximum(level, 0.1)
        layer.shade(1 + 0.3 * slope * step(np.abs(level - ring) - 0.04, 0.05), disc)
        layer.shade(1 - 0.25 * slope * step(np.abs(level - 0.94) - 0.03, 0.05), disc)
        layer.shine(0.3 * np.clip(view.noise(1.0, 1) * 0.6 + slope * level * 0.3, 0, 1) * disc)
        return layer

    return Sketch((1.0, flat + thick / 2), paint)


def cutlery(rng: np.random.Generator) -> Sketch:
    """A fork, a spoon, a knife or a bent straw."""
    kind, colour = (
        str(rng.choice(["fork", "spoon", "straw"])),
        white(rng) if rng.random() < 0.6 else brand(rng),
    )
    stripe, bend = brand(rng), float(rng.uniform(0.1, 0.3))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        if kind == "straw":
            knee = (0.0, 0.55)
            outline = np.minimum(
                capsule(view.x, view.y, (0.0, -0.95), knee, 0.05),
                capsule(view.x, view.y, knee, (bend, 0.95), 0.05),
            )
            layer.add(view.cover(outline), colour)
            layer.add(
                view.cover(outline) * step(np.abs((view.y * 8 + view.x * 8) % 2 - 1) - 0.4, 0.1) * 0.8, stripe
            )
            layer.shade(0.85 + 4 * np.clip(-outline, 0, 0.05))
            return layer
        handle = polygon(view.x, view.y, [(-0.09, -1), (0.09, -1), (0.055, 0.3), (-0.055, 0.3)])
        if kind == "spoon":
            head = ellipse(view.x, view.y - 0.6, 0.24, 0.38)
            outline = np.minimum(handle, head)
        else:
            head = box(view.x, view.y - 0.45, 0.2, 0.2, 0.15)
            prongs = np.minimum.reduce(
                [
                    capsule(view.x, view.y, (at, 0.45), (at, 0.96), 0.035)
                    for at in (-0.165, -0.055, 0.055, 0.165)
                ]
            )
            outline = np.minimum(np.minimum(handle, head), prongs)
        layer.add(view.cover(outline), colour)
        layer.shade(1 - 0.3 * np.exp(-(((outline + 0.02) / 0.03) ** 2)) + 0.2 * view.noise(1, 1))
        layer.shine(0.4 * np.exp(-((circle(view.x, view.y - 0.65, 0.12) / 0.05) ** 2)))
        return layer

    return Sketch((0.28, 1.0), paint, 0.2)


FAMILIES = (
    (drink_bottle, 0.54),
    (household_bottle, 0.16),
    (cup, 0.14),
    (tray, 0.08),
    (lid, 0.05),
    (cutlery, 0.03),
)
