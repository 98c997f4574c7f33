"""The camera: light, optics, sensor, file."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from wisp.data.synthetic.noise import fbm
from wisp.data.synthetic.paint import Colour


def illuminate(rng: np.random.Generator, canvas: Colour) -> Colour:
    """Exposure, colour of the light, uneven light, sometimes the edge of a hard shadow."""
    height, width = canvas.shape[:2]
    exposure = float(np.exp(rng.normal(0.0, 0.12)))
    warmth = rng.normal(0, 0.04)
    tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    ramp = across + np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    light = exposure * (1 + np.float32(rng.uniform(0, 0.25)) * ramp)
    if rng.random() < 0.15:
        border = ramp + 0.25 * fbm(rng, (height, width), 2) - np.float32(rng.uniform(-0.8, 0.8))
        light = light * (1 - 0.5 * np.clip(border * 6, 0, 1))
    graded = canvas * light[..., None] * tint
    contrast = np.float32(rng.uniform(0.8, 1.15))
    exposed: Colour = np.clip((graded - 0.5) * contrast + 0.5, 0, 1)
    return exposed


def photograph(rng: np.random.Generator, canvas: Colour, size: tuple[int, int]) -> Image.Image:
    """Take the picture: light, optics, sensor. `size` is (width, height) of the result."""
    picture = Image.fromarray((illuminate(rng, canvas) * 255 + 0.5).astype(np.uint8))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BOX)
    # blur grows with the picture, up to the size of one object in a scene
    kind, long_side = rng.random(), min(max(size), 200)
    if kind < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.6 + 0.006 * long_side))))
    elif kind < 0.32 and long_side >= 32:
        # Camera shake: the mean of a few shifted copies.
        pixels = np.asarray(picture, np.float32)
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.035) * long_side
        shifts = [
            (int(np.sin(angle) * reach * part), int(np.cos(angle) * reach * part))
            for part in (-1, -0.5, 0, 0.5, 1)
        ]
        padded = np.pad(pixels, ((16, 16), (16, 16), (0, 0)), mode="edge")
        height, width = pixels.shape[:2]
        moved = [
            padded[16 + down : 16 + down + height, 16 + right : 16 + right + width] for down, right in shifts
        ]
        picture = Image.fromarray(np.mean(moved, axis=0).astype(np.uint8))
    noise = float(rng.uniform(0.5, 5))
    pixels = (
        np.asarray(picture, np.float32) + rng.standard_normal((size[1], size[0], 3), dtype=np.float32) * noise
    )
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
