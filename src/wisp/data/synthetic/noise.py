"""Cheap seeded noise: the raw material of every texture.

Value noise by bicubic interpolation of a random lattice (Pillow does the interpolation), summed over octaves (fractal
Brownian motion; Perlin, 1985), and cellular noise (Worley, 1996) for facets, pebbles and grains.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]  # float32 wherever it was cheap to keep

_TABLE = 64  # side of the random tables that unbounded noises repeat after


def fbm(rng: np.random.Generator, shape: tuple[int, int], cells: float, octaves: int = 3) -> Array:
    """Smooth noise of `shape` (height, width), roughly within -1..1, `cells` bumps along the longer side."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    weight = 1.0
    for _ in range(octaves):
        # more bumps than pixels would only average out
        across = [int(min(max(cells * side / max(shape), 1.0), side)) for side in (height, width)]
        lattice = rng.random((across[0] + 3, across[1] + 3), dtype=np.float32) * 2 - 1
        layer = Image.fromarray(lattice).resize(
            (width, height), Image.Resampling.BICUBIC, box=(1, 1, across[1] + 1, across[0] + 1)
        )
        total += weight * np.asarray(layer)
        weight *= 0.5
        cells *= 2
    return total


def speckle(rng: np.random.Generator, shape: tuple[int, int], spread: float) -> Array:
    """Independent normal noise per pixel with standard deviation `spread`."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)


def ripple(rng: np.random.Generator, along: Array, roughness: int = 2) -> Array:
    """One-dimensional smooth noise, roughly -1..1, at the coordinates `along` (one bump a unit)."""
    table = rng.random(_TABLE, dtype=np.float32) * 2 - 1
    total = np.zeros_like(along)
    weight = 1.0
    for octave in range(roughness):
        place = along * (2**octave) + 7.31 * octave
        low = np.floor(place)
        part = place - low
        index = low.astype(np.int32) % _TABLE
        part = part * part * (3 - 2 * part)
        total += weight * (table[index] * (1 - part) + table[(index + 1) % _TABLE] * part)
        weight *= 0.5
    return total


class Cells(NamedTuple):
    """Cellular noise at each pixel; all arrays have the shape of the coordinates.

    `tone`, `slope_x` and `slope_y` are constant within a cell (0..1 and -1..1 twice), `near` is the distance to the
    cell's point and `edge` the distance to the border, both in cells.
    """

    tone: Array
    slope_x: Array
    slope_y: Array
    near: Array
    edge: Array


def worley(rng: np.random.Generator, x: Array, y: Array, jitter: float = 0.9) -> Cells:
    """Cellular noise at the coordinates `x`, `y`, about one cell a unit square."""
    points = (rng.random((_TABLE, _TABLE, 2), dtype=np.float32) - 0.5) * jitter + 0.5
    random = rng.random((_TABLE * _TABLE, 3), dtype=np.float32)
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    part_x, part_y = x - column, y - row
    first = np.full(x.shape, 9.0, np.float32)
    second = first.copy()
    winner = np.zeros(x.shape, np.int32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            index_y, index_x = (row + down) % _TABLE, (column + right) % _TABLE
            point = points[index_y, index_x]
            distance = (point[..., 0] + right - part_x) ** 2 + (point[..., 1] + down - part_y) ** 2
            closer = distance < first
            second = np.where(closer, first, np.minimum(second, distance))
            winner = np.where(closer, index_y * _TABLE + index_x, winner)
            first = np.where(closer, distance, first)
    value = random[winner]
    near, far = np.sqrt(first), np.sqrt(second)
    return Cells(value[..., 0], value[..., 1] * 2 - 1, value[..., 2] * 2 - 1, near, (far - near) * 0.5)
