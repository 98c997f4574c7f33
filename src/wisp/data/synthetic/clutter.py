"""What lies about: leaves, blades of grass, twigs and pebbles, behind an object or over it."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.noise import Array
from wisp.data.synthetic.paint import Colour, Layer, Pose, Sketch, View, blob, capsule, ellipse
from wisp.data.synthetic.placing import place
from wisp.data.synthetic.surface import near


def _leaf(rng: np.random.Generator) -> Sketch:
    wide, colour = (
        float(rng.uniform(0.3, 0.5)),
        near(rng, rng.choice([0.06, 0.1, 0.25, 0.3]), 0.6, rng.uniform(0.2, 0.6)),
    )

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        body = np.abs(view.x) - wide * np.clip(np.cos(view.y * np.pi / 2), 0, 1) ** 0.7
        layer.add(view.cover(np.maximum(body, np.abs(view.y) - 1)), colour)
        vein = np.minimum(np.abs(view.x), np.abs(np.abs(view.x) * 1.4 - (view.y * 4 % 1) * 0.25) + 0.03)
        layer.shade(1 - 0.35 * np.exp(-((vein / 0.03) ** 2)) + 0.15 * np.sign(view.x) * view.light[0])
        return layer

    return Sketch((wide, 1.0), paint, 0.4)


def _blade(rng: np.random.Generator) -> Sketch:
    hue, wide = rng.choice([0.12, 0.25, 0.28]), float(rng.uniform(0.03, 0.07))
    colour = near(rng, hue, 0.6, rng.uniform(0.35, 0.7))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        layer.add(
            view.cover(np.maximum(np.abs(view.x) - wide * (1 - view.y) / 2, np.abs(view.y) - 1)), colour
        )
        layer.shade(1 + 0.3 * np.sign(view.x) * view.light[0])
        return layer

    return Sketch((wide + 0.05, 1.0), paint, 0.8)


def _twig(rng: np.random.Generator) -> Sketch:
    thick, colour = float(rng.uniform(0.025, 0.06)), near(rng, 0.07, 0.35, rng.uniform(0.15, 0.45))
    fork = float(rng.uniform(-0.4, 0.4))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        stem = capsule(view.x, view.y, (0, -1), (0, 1), thick)
        branch = capsule(view.x, view.y, (0, 0), (fork, 0.6), thick * 0.7)
        layer.add(view.cover(np.minimum(stem, branch)), colour)
        layer.shade(1 + 0.35 * np.clip(view.x / thick, -1, 1) * view.light[0] + 0.15 * view.noise(6))
        return layer

    return Sketch((0.4, 1.0), paint, 0.3)


def _pebble(rng: np.random.Generator) -> Sketch:
    wide, colour = float(rng.uniform(0.6, 1.0)), near(rng, 0.09, 0.1, rng.uniform(0.25, 0.75))

    def paint(view: View) -> Layer:
        layer = Layer(view.shape)
        outline = np.minimum(
            blob(view.rng, view.x, view.y / wide, 7, 0.12) * wide, ellipse(view.x, view.y, 0.8, 0.8 * wide)
        )
        layer.add(view.cover(outline), colour)
        layer.shade(0.85 + 0.35 * (view.x * view.light[0] + view.y * view.light[1]) + 0.1 * view.noise(3))
        return layer

    return Sketch((1.0, wide), paint, 0.1)


_CLUTTER = (
    (_leaf, 0.17),
    (_blade, 0.13),
    (_twig, 0.22),
    (_pebble, 0.08),
)  # maker, size in shares of the object's


def scatter(
    rng: np.random.Generator,
    canvas: Colour,
    count: int,
    size: float,
    light: float,
    near_to: tuple[float, float, float],
) -> Array:
    """Throw leaves, blades, twigs and pebbles around (x, y) within a radius; returns their coverage."""
    covered = np.zeros(canvas.shape[:2], np.float32)
    kind = int(rng.integers(len(_CLUTTER)))  # what lies about in one place is mostly of one kind
    for _ in range(count):
        maker, share = _CLUTTER[kind if rng.random() < 0.7 else int(rng.integers(len(_CLUTTER)))]
        angle, radius = rng.uniform(0, 2 * np.pi), near_to[2] * np.sqrt(rng.random())
        centre = (near_to[0] + radius * np.cos(angle), near_to[1] + radius * np.sin(angle))
        thing = maker(rng)
        pose = Pose.random(rng, thing.softness)
        scale = size * share * float(rng.uniform(0.7, 1.6))
        covered = np.maximum(
            covered,
            place(rng, canvas, thing, centre=centre, scale=scale, pose=pose, light=light, shadow=0.35),
        )
    return covered
