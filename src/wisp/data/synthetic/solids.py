"""Bodies of revolution and boxes: where their surfaces lie in the picture and how light falls on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wisp.data.synthetic.noise import Array
from wisp.data.synthetic.paint import View, ellipse

_SAMPLES = 256


@dataclass(frozen=True)
class Turned:
    """A visible body of revolution around the y axis.

    `cover`: its side; `top`: the ellipse that closes it above, `rim` its level (0 in the middle, 1 on the edge);
    `height`: the y of the surface point seen (bands and rings are functions of it); `side`: -1..1 from the left to the
    right outline.
    """

    cover: Array
    top: Array
    rim: Array
    height: Array
    side: Array

    def lit(self, view: View, ambient: float = 0.45) -> Array:
        """Diffuse light on the side, 0..about 1.1."""
        depth = np.sqrt(np.clip(1 - self.side**2, 0, 1))
        return np.float32(ambient) + np.float32(1.1 - ambient) * np.clip(
            self.side * view.light[0] * 0.65 + depth * 0.75, 0, 1
        )

    def streak(self, at: float, width: float) -> Array:
        """A highlight along the body at `side` = `at`."""
        light: Array = np.exp(-(((self.side - at) / width) ** 2)) * self.cover
        return light

    def band(self, view: View, low: float, high: float) -> Array:
        """Coverage of the side between two heights."""
        middle, half = (low + high) / 2, (high - low) / 2
        return view.cover(np.abs(self.height - middle) - half) * self.cover


def turn(
    view: View, knots: Sequence[tuple[float, float]], *, tilt: float = 0.0, smooth: float = 0.02
) -> Turned:
    """Turn the outline through `knots` (height, radius; heights rising) around the y axis.

    `tilt` is how far one looks from above (the axis ratio of circles around the axis); `smooth` rounds the outline.
    """
    heights = np.array([knot[0] for knot in knots], np.float32)
    radii = np.array([knot[1] for knot in knots], np.float32)
    low, high = float(heights[0]), float(heights[-1])
    grid = np.linspace(low, high, _SAMPLES, dtype=np.float32)
    table: Array = np.interp(grid, heights, radii).astype(np.float32)
    reach = int(smooth / (high - low) * _SAMPLES)
    if reach > 0:
        kernel = np.ones(2 * reach + 1, np.float32) / (2 * reach + 1)
        table = np.convolve(np.pad(table, reach, mode="edge"), kernel, "valid")
    slope = np.gradient(table, grid)

    def sample(values: Array, where: Array) -> Array:
        return np.interp(where, grid, values).astype(np.float32)

    radius = sample(table, view.y)
    height = view.y + np.float32(tilt) * np.sqrt(np.maximum(radius**2 - view.x**2, 0))
    radius = np.maximum(sample(table, height), 1e-3)
    outline = (np.abs(view.x) - radius) / np.sqrt(1 + np.minimum(sample(slope, height) ** 2, 9))
    ends = np.abs(height - (low + high) / 2) - (high - low) / 2
    if tilt:
        ends = ends * np.float32(0.7)  # the ends are curved there; steeper than one unit a unit
    side = np.clip(view.x / radius, -1, 1)
    lid = max(float(table[-1]), 1e-3)
    flat = max(tilt * lid, 1e-3)
    rim = np.sqrt((view.x / lid) ** 2 + ((view.y - high) / flat) ** 2)
    top = view.cover(ellipse(view.x, view.y - high, lid, flat)) if tilt else np.zeros_like(view.x)
    return Turned(view.cover(np.maximum(outline, ends)), top, rim, height, side)


class Face(NamedTuple):
    """One visible side of a box: its coverage, its own coordinates (-1..1 inside) and its light."""

    cover: Array
    u: Array
    v: Array
    light: float


@dataclass(frozen=True)
class Cuboid:
    """A box in oblique projection: front half sides `width`, `height`; `depth` is the vector to the back (x, y > 0)."""

    width: float
    height: float
    depth: tuple[float, float]

    @property
    def half(self) -> tuple[float, float]:
        """Half sides of its picture."""
        return self.width + self.depth[0] / 2, self.height + self.depth[1] / 2

    def faces(self, view: View, contrast: float = 0.35) -> tuple[Face, Face, Face]:
        """Front, right side and top, centred on the origin; `contrast` between the lightest and the darkest."""
        dx, dy = self.depth
        x, y = view.x + dx / 2, view.y + dy / 2
        front = view.cover(np.maximum(np.abs(x) - self.width, np.abs(y) - self.height))
        back = (x - self.width) / dx
        side_v = y - back * dy
        side = view.cover(np.maximum(np.abs(back - 0.5) * dx - dx / 2, (np.abs(side_v) - self.height) * 0.8))
        up = (y - self.height) / dy
        top_u = x - up * dx
        top = view.cover(np.maximum(np.abs(up - 0.5) * dy - dy / 2, (np.abs(top_u) - self.width) * 0.8))
        lights = [1.0, 1.0 + contrast * view.light[0], 1.0 + contrast * view.light[1]]
        scale = 1 / max(1.0, *lights)
        # A little less light on the front keeps an edge to see when both others face the light alike.
        lights[0] -= 0.12 * contrast
        return (
            Face(front, x / self.width, y / self.height, lights[0] * scale),
            Face(side, back * 2 - 1, side_v / self.height, lights[1] * scale),
            Face(top, top_u / self.width, up * 2 - 1, lights[2] * scale),
        )
