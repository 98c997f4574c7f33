"""Clothing: shirts, trousers, socks, gloves, flip-flops, rags."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wisp.data.synthetic.noise import Array, ripple
from wisp.data.synthetic.paint import (
    Colour,
    Layer,
    Sketch,
    View,
    blob,
    box,
    capsule,
    circle,
    ellipse,
    polygon,
)
from wisp.data.synthetic.surface import brand, graphics, hsv, near, step, white

Cloth = Callable[[View], Colour]


def cloth(rng: np.random.Generator) -> Cloth:
    """A fabric: plain, striped, checked, dotted or printed, with a visible weave where pixels allow."""
    kind = str(rng.choice(["plain", "stripes", "checks", "dots", "print"], p=[0.2, 0.46, 0.24, 0.06, 0.04]))
    base = _dye(rng)
    other = _dye(rng) if rng.random() < 0.6 else white(rng)
    angle, pitch = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])), float(rng.uniform(5, 16))
    duty, thread = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(50, 90))
    design = graphics(rng, base, busy=3)

    def paint(view: View) -> Colour:
        along = view.x * np.cos(angle) + view.y * np.sin(angle)
        across = view.y * np.cos(angle) - view.x * np.sin(angle)
        along = (along + 0.03 * view.noise(2, 2)).astype(np.float32)
        if kind == "print":
            colour = design(view.x * 1.6, view.y * 1.6)
        else:
            share = step(np.cos(along * pitch) - duty, 0.25)
            if kind == "plain":
                share = np.zeros_like(share)
            elif kind == "checks":
                share = 0.5 * share + 0.5 * step(np.cos(across * pitch) - duty, 0.25)
            elif kind == "dots":
                share = step(0.75 - np.cos(along * pitch) * np.cos(across * pitch), 0.2)
            colour = base + (other - base) * share[..., None]
        weave = (
            np.sin(view.x * thread)
            * np.sin(view.y * thread)
            * float(np.clip(1.3 - view.px * thread / 2.2, 0, 1))
        )
        fuzz = view.grain(0.035)
        woven: Colour = np.clip(colour * (1 + 0.14 * weave + fuzz)[..., None], 0, 1).astype(np.float32)
        return woven

    return paint


def _dye(rng: np.random.Generator) -> Colour:
    """The colour of a fabric: denim, black, grey, white, or dyed."""
    kind = rng.random()
    if kind < 0.36:
        return near(rng, 0.61, 0.5, 0.42, 0.08)
    if kind < 0.56:
        return near(rng, 0.6, 0.1, 0.16, 0.05)
    if kind < 0.66:
        return near(rng, 0.6, 0.05, 0.55, 0.1)
    if kind < 0.72:
        return white(rng)
    return near(rng, rng.uniform(), 0.55, 0.6, 0.12)


def folds(layer: Layer, view: View, depth: float) -> None:
    """Soft wide folds, as heavy cloth has them; no highlights."""
    wave = ripple(view.rng, view.x * 1.3 + view.y * 0.8 + 1.4 * view.noise(0.9, 2) + 20)
    layer.shade(1 + np.float32(depth) * (wave + 0.5 * view.noise(1.8, 2)))


def _garment(view: View, fabric: Cloth, outline: Array, depth: float) -> Layer:
    """Cut the fabric out, fold it, darken its hem."""
    layer = Layer(view.shape)
    layer.add(view.cover(outline + 0.015 * view.noise(4, 2)), fabric(view))
    folds(layer, view, depth)
    layer.shade(1 - 0.35 * np.exp(-(((outline + 0.015) / 0.025) ** 2)))
    layer.shade(1 - 0.15 * np.exp(-(((outline + 0.07) / 0.01) ** 2)))
    return layer


def shirt(rng: np.random.Generator) -> Sketch:
    """A T-shirt or a jumper lying flat: body, two sleeves, a neck."""
    fabric, sleeve = cloth(rng), float(rng.uniform(0.3, 0.9))
    drop, wide = float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.42, 0.55))
    badge = brand(rng) if rng.random() < 0.35 else None

    def paint(view: View) -> Layer:
        outline = polygon(
            view.x,
            view.y,
            [
                (-wide, -0.9),
                (wide, -0.9),
                (wide, 0.5),
                (0.5, 0.8),
                (0.2, 0.9),
                (-0.2, 0.9),
                (-0.5, 0.8),
                (-wide, 0.5),
            ],
        )
        for side in (-1, 1):
            tip = (side * (wide + 0.48 * sleeve), 0.5 - drop * sleeve * 1.6)
            outline = np.minimum(outline, capsule(view.x, view.y, (side * 0.42, 0.58), tip, 0.17))
        neck = ellipse(view.x, view.y - 0.92, 0.21, 0.16)
        outline = np.maximum(outline, -neck)
        layer = _garment(view, fabric, outline, 0.2)
        layer.shade(1 - 0.3 * step(np.abs(neck - 0.05) - 0.012, 0.02))
        if badge is not None:
            layer.add(view.cover(circle(view.x, view.y - 0.15, 0.2)) * layer.alpha, badge)
        return layer

    return Sketch((min(wide + 0.48 * sleeve + 0.15, 1.0), 0.95), paint, 0.5)


def trousers(rng: np.random.Generator) -> Sketch:
    """Trousers or shorts: a waistband and two legs."""
    fabric, long = cloth(rng), float(rng.uniform(0.2, 1.0))
    spread, waist = float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.3, 0.4))

    def paint(view: View) -> Layer:
        foot = 0.25 - 1.2 * long
        legs = [
            polygon(
                view.x,
                view.y,
                [
                    (0, 0.4),
                    (side * waist, 0.95),
                    (side * (waist + spread + 0.1), foot),
                    (side * (spread + 0.04), foot),
                ],
            )
            for side in (-1, 1)
        ]
        hips = polygon(
            view.x, view.y, [(-waist - 0.05, 0.35), (waist + 0.05, 0.35), (waist, 0.95), (-waist, 0.95)]
        )
        outline = np.minimum(np.minimum(*legs), hips)
        layer = _garment(view, fabric, outline, 0.22)
        layer.shade(1 - 0.3 * step(np.abs(view.y - 0.84) - 0.012, 0.02))
        layer.shade(1 - 0.3 * step(np.abs(view.x) - 0.012, 0.02) * (view.y > 0.3))
        layer.add(view.cover(circle(view.x, view.y - 0.9, 0.028)) * layer.alpha, hsv(0.11, 0.4, 0.8))
        return layer

    return Sketch((waist + spread + 0.12, 0.97), paint, 0.5)


def sock(rng: np.random.Generator) -> Sketch:
    """A sock: leg and foot, ribbed cuff, heel and toe in another colour."""
    fabric, contrast = cloth(rng), _dye(rng)
    foot, marked = float(rng.uniform(0.55, 0.8)), rng.random() < 0.6

    def paint(view: View) -> Layer:
        x = view.x + 0.25
        leg, heel = capsule(x, view.y, (0, 0.75), (0, -0.5), 0.25), (0.0, -0.62)
        toe = (foot, -0.7)
        outline = np.maximum(np.minimum(leg, capsule(x, view.y, heel, toe, 0.25)), view.y - 0.95)
        layer = _garment(view, fabric, outline, 0.16)
        if marked:
            ends = np.minimum(
                circle(x + 0.12, view.y + 0.78, 0.26), circle(x - toe[0] - 0.14, view.y - toe[1], 0.25)
            )
            layer.add(view.cover(ends) * layer.alpha, contrast)
        cuff = step(0.68 - view.y, 0.02)
        layer.shade(1 + (0.18 * np.sin(x * 55) * float(np.clip(1.4 - view.px * 30, 0, 1)) - 0.05) * cuff)
        layer.shade(1 - 0.3 * step(np.abs(view.y - 0.68) - 0.01, 0.02))
        return layer

    return Sketch((0.25 + foot * 0.6, 0.97), paint, 0.45)


def glove(rng: np.random.Generator) -> Sketch:
    """A glove: a palm, four fingers, a thumb, a cuff; wool, leather or a coated working glove."""
    fabric, coating = cloth(rng), brand(rng) if rng.random() < 0.4 else None
    spread = rng.normal(0, 0.05, 4)

    def paint(view: View) -> Layer:
        outline = np.minimum(
            box(view.x, view.y + 0.2, 0.38, 0.35, 0.12), box(view.x, view.y + 0.7, 0.3, 0.26, 0.05)
        )
        for finger in range(4):
            foot = -0.28 + finger * 0.187
            tip = (foot * 1.35 + float(spread[finger]), (0.68, 0.82, 0.8, 0.62)[finger])
            outline = np.minimum(outline, capsule(view.x, view.y, (foot, 0.05), tip, 0.105))
        outline = np.minimum(outline, capsule(view.x, view.y, (0.25, -0.3), (0.62, 0.12), 0.115))
        layer = _garment(view, fabric, outline, 0.14)
        if coating is not None:
            layer.add(step(-0.12 - view.y) * layer.alpha, coating)
            layer.shade(1 - 0.3 * np.exp(-(((outline + 0.02) / 0.03) ** 2)))
        layer.shade(1 - 0.25 * step(np.abs(view.y + 0.5) - 0.012, 0.02))
        return layer

    return Sketch((0.68, 0.95), paint, 0.4)


def flip_flop(rng: np.random.Generator) -> Sketch:
    """A flip-flop or an insole-like shoe from above: sole, footbed, a Y strap."""
    sole, bed = _dye(rng), _dye(rng)
    strap, lean = (
        (brand(rng) if rng.random() < 0.6 else near(rng, 0, 0, 0.1)),
        float(rng.uniform(-0.08, 0.08)),
    )

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        x = (view.x + lean * np.sin(view.y * 2)).astype(np.float32)
        width = 0.31 + 0.1 * np.sin(view.y * 2.2 + 0.3)
        outline = np.maximum(ellipse(x * 0.34 / width, view.y, 0.36, 1.0), np.abs(x) - 0.45)
        layer.add(view.cover(outline), sole * 0.75)
        layer.add(view.cover(outline + 0.05), bed)
        ribs = np.sin(view.y * 46) * float(np.clip(1.3 - view.px * 22, 0, 1))
        layer.shade(1 + 0.08 * ribs + 0.1 * view.noise(1.5, 2) + view.grain(0.02))
        post = (0.0, 0.55)
        for side in (-1, 1):
            arm = capsule(x, view.y, post, (side * 0.36, -0.1), 0.06)
            layer.shade(1 - 0.35 * step(arm - 0.04, 0.06))
            layer.add(view.cover(arm), strap * (0.85 + 2.5 * np.clip(-arm, 0, 0.06))[..., None])
        return layer

    return Sketch((0.42, 1.0), paint, 0.2)


def rag(rng: np.random.Generator) -> Sketch:
    """A bundle of cloth: what is left of a garment."""
    fabric, lobes = cloth(rng), int(rng.integers(5, 9))
    depth, wide = float(rng.uniform(0.12, 0.28)), float(rng.uniform(0.55, 1.0))

    def paint(view: View) -> Layer:
        outline = blob(view.rng, view.x, view.y / wide, lobes, depth) * wide
        # The pattern follows the folds: look the fabric up at displaced places.
        flat = View(
            view.x + 0.3 * view.noise(1.2, 2),
            view.y + 0.3 * view.noise(1.2, 2),
            view.px,
            view.light,
            view.behind,
            view.rng,
        )
        layer = Layer(view.shape)
        layer.add(view.cover(outline), fabric(flat))
        folds(layer, view, 0.32)
        layer.shade(
            np.clip(0.75 - outline * 1.5, 0.7, 1)
            * (1 + 0.2 * (view.x * view.light[0] + view.y * view.light[1]))
        )
        return layer

    return Sketch((1.0, wide), paint, 0.8)


FAMILIES = ((shirt, 0.32), (trousers, 0.16), (sock, 0.18), (glove, 0.18), (flip_flop, 0.08), (rag, 0.08))
