"""Drawing on numpy arrays: where each pixel lies on the object, signed distances, layers, light.

An object is described once in its own coordinates (x right, y up, the longer half side about 1). A pose bends, turns
and stretches those coordinates, so any pose is antialiased without supersampling: the coverage of a pixel is its
signed distance to the outline, in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from wisp.data.synthetic.noise import Array, Cells, fbm, worley

Colour = Array  # (3,) or (H, W, 3), RGB within 0..1


@dataclass(frozen=True)
class Pose:
    """How an object lies before the camera. `angle` in radians, the others are shares of the object's size."""

    angle: float = 0.0
    squeeze: float = 1.0
    squeeze_angle: float = 0.0
    taper: float = 0.0
    bend: float = 0.0
    wobble: float = 0.0
    mirror: bool = False

    @classmethod
    def random(cls, rng: np.random.Generator, softness: float) -> Pose:
        """Any rotation, often near upright; `softness` (0..1) scales bending and crumpling."""
        upright = rng.random() < 0.8
        return cls(
            angle=float(rng.normal(0, 0.15) if upright else rng.uniform(-np.pi, np.pi)),
            squeeze=float(rng.uniform(0.88, 1.0)),
            squeeze_angle=float(rng.uniform(0, np.pi)),
            taper=float(rng.normal(0, 0.06)),
            bend=float(rng.normal(0, 0.22 * softness)),
            wobble=float(rng.uniform(0, 0.02 + 0.1 * softness)),
            mirror=bool(rng.random() < 0.5),
        )

    def reach(self, half: tuple[float, float]) -> tuple[float, float]:
        """Half width and half height of the box around an object with half sides `half`, in object units."""
        cosine, sine = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        width, height = half[0] + 0.5 * abs(self.bend), half[1]
        return float(width * cosine + height * sine), float(width * sine + height * cosine)


@dataclass
class View:
    """The pixels under an object: their object coordinates and what lies behind them.

    `x`, `y`: (H, W) object coordinates; `px`: size of a pixel in object units; `light`: unit vector towards the
    light, in object coordinates; `behind`: (H, W, 3) the picture so far, for what is transparent.
    """

    x: Array
    y: Array
    px: float
    light: tuple[float, float]
    behind: Colour
    rng: np.random.Generator = field(repr=False)

    @classmethod
    def of(
        cls,
        behind: Colour,
        *,
        centre: tuple[float, float],
        scale: float,
        pose: Pose,
        light: float,
        rng: np.random.Generator,
    ) -> View:
        """Look at the pixels `behind` with an object at `centre` (x, y in pixels), `scale` pixels a unit.

        `light` is the direction towards the light in the picture, in radians, counter-clockwise from the right.
        """
        height, width = behind.shape[:2]
        right = (np.arange(width, dtype=np.float32)[None, :] + 0.5 - centre[0]) / scale
        up = -(np.arange(height, dtype=np.float32)[:, None] + 0.5 - centre[1]) / scale
        cosine, sine = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
        x, y = right * cosine + up * sine, up * cosine - right * sine
        if pose.mirror:
            x = -x
        # Foreshortening: a stretch of the coordinates along one direction.
        along_x, along_y = np.float32(np.cos(pose.squeeze_angle)), np.float32(np.sin(pose.squeeze_angle))
        along = (x * along_x + y * along_y) * np.float32(1 / pose.squeeze - 1)
        x, y = x + along * along_x, y + along * along_y
        if pose.wobble:
            cells = 2.5 * max(height, width) / scale
            x = x + fbm(rng, (height, width), cells, 2) * np.float32(pose.wobble)
            y = y + fbm(rng, (height, width), cells, 2) * np.float32(pose.wobble)
        x = x * (1 + np.float32(pose.taper) * y) + np.float32(pose.bend) * (y * y - 0.3)
        angle = light - pose.angle
        towards = (float(-np.cos(angle) if pose.mirror else np.cos(angle)), float(np.sin(angle)))
        return cls(x.astype(np.float32), y.astype(np.float32), 1 / scale, towards, behind, rng)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x.shape[0], self.x.shape[1]

    def cover(self, distance: Array) -> Array:
        """Coverage (0..1) of each pixel by the shape with this signed distance (negative inside)."""
        coverage: Array = np.clip(0.5 - distance / np.float32(self.px), 0, 1)
        return coverage

    def noise(self, bumps: float, octaves: int = 3) -> Array:
        """Smooth noise with `bumps` bumps a unit, roughly -1..1."""
        return fbm(self.rng, self.shape, bumps * max(self.shape) * self.px, octaves)

    def grain(self, spread: float) -> Array:
        """Per-pixel noise around 0: surface grain."""
        return self.rng.standard_normal(self.shape, dtype=np.float32) * np.float32(spread)

    def facets(self, count: float, raggedness: float = 0.1) -> Cells:
        """Cells with `count` facets a unit, their borders made ragged by noise."""
        x = (self.x + self.noise(3, 2) * np.float32(raggedness)) * np.float32(count)
        y = (self.y + self.noise(3, 2) * np.float32(raggedness)) * np.float32(count)
        return worley(self.rng, x, y)

    def crumple(self, count: float, depth: float) -> Array:
        """Shading (around 1) of a crumpled surface: flat facets under one light, bright creases."""
        large, small = self.facets(count), self.facets(count * 2.3)
        lean = large.slope_x * self.light[0] + large.slope_y * self.light[1]
        lean = lean + 0.5 * (small.slope_x * self.light[0] + small.slope_y * self.light[1])
        crease = np.exp(-((large.edge / 0.06) ** 2))
        shading: Array = 1 + np.float32(depth) * (lean * 0.7 + crease * 0.25 - 0.1)
        return shading

    def through(self, shift_x: Array, shift_y: Array) -> Colour:
        """What lies behind, displaced by a shift in object units: a cheap refraction."""
        height, width = self.shape
        rows = np.arange(height)[:, None] + (shift_y / self.px).astype(np.int32)
        columns = np.arange(width)[None, :] + (shift_x / self.px).astype(np.int32)
        return self.behind[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


class Layer:
    """A picture with transparency (premultiplied), painted from back to front."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.colour: Colour = np.zeros((*shape, 3), np.float32)
        self.alpha: Array = np.zeros(shape, np.float32)

    def add(self, coverage: Array, colour: Colour) -> None:
        """Paint `colour` over what is there."""
        share = coverage[..., None]
        self.colour = self.colour * (1 - share) + colour * share
        self.alpha = self.alpha + (1 - self.alpha) * coverage

    def shade(self, factor: Array, where: Array | None = None) -> None:
        """Multiply the colour by `factor`, inside `where` (0..1) only if given."""
        if where is not None:
            factor = 1 + (factor - 1) * where
        self.colour = self.colour * factor[..., None]

    def shine(self, amount: Array) -> None:
        """Add white light, as a highlight does."""
        self.colour = self.colour + (amount * self.alpha)[..., None]

    def erase(self, coverage: Array) -> None:
        """Cut a hole."""
        self.colour = self.colour * (1 - coverage[..., None])
        self.alpha = self.alpha * (1 - coverage)


class Sketch(NamedTuple):
    """An object whose random choices are made: its half sides in object units, its softness, how to paint it."""

    half: tuple[float, float]
    paint: Callable[[View], Layer]
    softness: float = 0.0


# Signed distances: negative inside, in object units.


def circle(x: Array, y: Array, radius: float) -> Array:
    """Distance to a circle around the origin."""
    return np.sqrt(x * x + y * y) - np.float32(radius)


def ellipse(x: Array, y: Array, radius_x: float, radius_y: float) -> Array:
    """Approximate distance to an ellipse around the origin."""
    level = np.sqrt((x / radius_x) ** 2 + (y / radius_y) ** 2)
    return (level - 1) * np.float32(min(radius_x, radius_y))


def box(x: Array, y: Array, half_x: float, half_y: float, rounding: float = 0.0) -> Array:
    """Distance to a rectangle around the origin with corners of radius `rounding`."""
    beyond_x = np.abs(x) - np.float32(half_x - rounding)
    beyond_y = np.abs(y) - np.float32(half_y - rounding)
    outside = np.sqrt(np.maximum(beyond_x, 0) ** 2 + np.maximum(beyond_y, 0) ** 2)
    distance: Array = outside + np.minimum(np.maximum(beyond_x, beyond_y), 0) - np.float32(rounding)
    return distance


def capsule(x: Array, y: Array, start: Sequence[float], end: Sequence[float], radius: float) -> Array:
    """Distance to a thick line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return np.sqrt((x - start[0] - along * dx) ** 2 + (y - start[1] - along * dy) ** 2) - np.float32(radius)


def polygon(x: Array, y: Array, points: Sequence[tuple[float, float]]) -> Array:
    """Distance to a simple polygon (even-odd rule for the sign)."""
    nearest = np.full(x.shape, 1e9, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
        if dy:
            inside ^= ((ay > y) != (by > y)) & (x < dx * (y - ay) / dy + ax)
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance)


def blob(rng: np.random.Generator, x: Array, y: Array, lobes: int, depth: float) -> Array:
    """Distance to an irregular closed outline of mean radius 1 - `depth`, at most about 1."""
    corners = rng.uniform(-1, 1, lobes).astype(np.float32)
    angle = np.arctan2(y, x) * np.float32(lobes / (2 * np.pi)) + lobes
    low = np.floor(angle).astype(np.int32)
    part = angle - low
    part = part * part * (3 - 2 * part)
    radius = corners[low % lobes] * (1 - part) + corners[(low + 1) % lobes] * part
    distance: Array = np.sqrt(x * x + y * y) - (1 - depth + depth * radius)
    return distance
