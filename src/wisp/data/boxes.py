"""Bounding boxes and the frame they are drawn in: EXIF orientation, scale, margins. Pure arithmetic.

A phone writes pixels as its sensor lies and an EXIF orientation that turns them upright. Some annotation tools draw
boxes on the upright photo, some on the pixels as stored, and photos are made smaller afterwards. The width and height
in the annotations tell which: see `find_frame`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Size = tuple[int, int]  # width, height in pixels
Box = tuple[float, float, float, float]  # left, top, width, height in pixels
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels

_TURNS_SIDES = frozenset({5, 6, 7, 8})
# How far the two sides may disagree on the scale: half a pixel of rounding on each, and cameras that count a few
# rows more than their JPEGs show.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Frame:
    """What leads from an annotated box to pixels of the upright photo.

    Args:
        stored: size of the pixels as stored.
        orientation: EXIF orientation 1..8 that turns them upright.
        as_stored: boxes are drawn on the pixels as stored, not on the upright photo.
        scale: pixels of the photo for one of the annotations, along x and y of the frame the boxes are drawn in.
    """

    stored: Size
    orientation: int
    as_stored: bool
    scale: tuple[float, float]

    @property
    def upright(self) -> Size:
        """Size of the upright photo."""
        return upright_size(self.stored, self.orientation)

    def to_upright(self, box: Box) -> Box:
        """The box in pixels of the upright photo."""
        x, y, w, h = box
        sx, sy = self.scale
        x, y, w, h = x * sx, y * sy, w * sx, h * sy
        if not self.as_stored:
            return x, y, w, h
        width, height = self.stored
        right, below = width - x - w, height - y - h  # what lies beyond the box
        turned: dict[int, Box] = {
            2: (right, y, w, h),
            3: (right, below, w, h),
            4: (x, below, w, h),
            5: (y, x, h, w),
            6: (below, x, h, w),
            7: (below, right, h, w),
            8: (y, right, h, w),
        }
        return turned.get(self.orientation, (x, y, w, h))


def upright_size(stored: Size, orientation: int) -> Size:
    """The size after turning pixels of size `stored` upright."""
    width, height = stored
    return (height, width) if orientation in _TURNS_SIDES else (width, height)


def find_frame(annotated: Size | None, stored: Size, orientation: int) -> Frame | None:
    """Which frame the boxes of a photo are drawn in.

    The annotated size decides: the upright photo's size, or that of the pixels as stored, or either of them scaled.
    Where both fit (square photos, upside-down ones) boxes belong to the upright photo, which is what annotation
    tools show today. Without an annotated size likewise.

    Args:
        annotated: width and height in the annotations, where known.
        stored: width and height of the pixels as stored.
        orientation: EXIF orientation, 1..8.

    Returns:
        None where the aspect ratios disagree: these are not the annotations of this photo.
    """
    upright = upright_size(stored, orientation)
    if annotated is None:
        annotated = upright
    for as_stored, size in ((False, upright), (True, stored)):
        if annotated == size:
            return Frame(stored, orientation, as_stored, (1.0, 1.0))
    for as_stored, size in ((False, upright), (True, stored)):
        sx, sy = size[0] / annotated[0], size[1] / annotated[1]
        rounding = 0.5 / min(size) + 0.5 / min(annotated)
        if abs(sx / sy - 1) <= _ASPECT_TOLERANCE + rounding:
            return Frame(stored, orientation, as_stored, (sx, sy))
    return None


def clip(box: Box, size: Size) -> Box | None:
    """The part of the box that lies on a photo of `size`; None where there is none."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], float(size[0])), min(box[1] + box[3], float(size[1]))
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def with_margin(box: Box, size: Size, margin: float) -> Rectangle:
    """Whole pixels around the box, grown on each side by `margin` times its width or height, kept on the photo.

    `box` lies on the photo (see `clip`), so that the rectangle is never empty.
    """
    x, y, w, h = box
    return (
        max(0, math.floor(x - margin * w)),
        max(0, math.floor(y - margin * h)),
        min(size[0], math.ceil(x + w + margin * w)),
        min(size[1], math.ceil(y + h + margin * h)),
    )
