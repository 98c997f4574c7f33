"""Putting an object into a picture, with its shadow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from wisp.data.synthetic.noise import Array
from wisp.data.synthetic.paint import Colour, Pose, Sketch, View


def _shadow(coverage: Array, radius: float, shift: tuple[float, float]) -> Array:
    """The coverage blurred (Gaussian, box-approximated by Pillow) and moved by `shift` (right, down) pixels."""
    picture = Image.fromarray((np.clip(coverage, 0, 1) * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(float(radius)))
    moved = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -shift[0], 0, 1, -shift[1]))
    return np.asarray(moved, np.float32) / 255


def place(
    rng: np.random.Generator,
    canvas: Colour,
    thing: Sketch,
    *,
    centre: tuple[float, float],
    scale: float,
    pose: Pose,
    light: float,
    shadow: float = 0.45,
) -> Array:
    """Paint `thing` with its shadow onto `canvas` (in place) and return its coverage (H, W).

    `centre` in pixels (x, y), `scale` in pixels a unit, `light` the direction of the light in radians, `shadow` 0..1.
    """
    reach_x, reach_y = ((side * 1.25 + 0.2) * scale + 3 for side in pose.reach(thing.half))  # and its shadow
    left, right = (int(np.clip(centre[0] + sign * reach_x, 0, canvas.shape[1])) for sign in (-1, 1))
    top, bottom = (int(np.clip(centre[1] + sign * reach_y, 0, canvas.shape[0])) for sign in (-1, 1))
    covered = np.zeros(canvas.shape[:2], np.float32)
    if right - left < 2 or bottom - top < 2:
        return covered
    window = canvas[top:bottom, left:right]
    view = View.of(
        window.copy(),
        centre=(centre[0] - left, centre[1] - top),
        scale=scale,
        pose=pose,
        light=light,
        rng=rng,
    )
    layer = thing.paint(view)
    if shadow:
        reach = scale * float(rng.uniform(0.04, 0.16))
        shift = (-float(np.cos(light)) * reach, float(np.sin(light)) * reach)
        dark = _shadow(layer.alpha, 0.4 * reach + 0.5, shift)
        window *= 1 - np.float32(shadow) * dark[..., None]
    window *= 1 - layer.alpha[..., None]
    window += layer.colour
    np.clip(window, 0, 1, out=window)
    covered[top:bottom, left:right] = layer.alpha
    return covered
