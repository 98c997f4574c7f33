"""Where labels find room in a chart: what is taken stays uncovered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in SVG user units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def contains(self, other: Box) -> bool:
        """Whether the other lies inside this one; edges may touch."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


def around(x: float, y: float, width: float, height: float) -> Box:
    """The box of this size with its middle at (x, y)."""
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def along(points: Sequence[tuple[float, float]], margin: float) -> list[Box]:
    """The boxes of a line that runs straight across and straight up: one a piece, so wide on each side."""
    return [
        Box(min(x0, x1) - margin, min(y0, y1) - margin, max(x0, x1) + margin, max(y0, y1) + margin)
        for (x0, y0), (x1, y1) in pairwise(points)
    ]


class Room:
    """What of a frame is still free."""

    def __init__(self, frame: Box, taken: Iterable[Box] = ()) -> None:
        self._frame = frame
        self._taken = list(taken)

    def take(self, box: Box) -> None:
        """Keep labels off this box from now on."""
        self._taken.append(box)

    def first_free(self, boxes: Iterable[Box]) -> Box | None:
        """The first of the boxes that lies in the frame and covers nothing, which takes it; None if there is none."""
        return self._first(box for box in boxes if not any(box.overlaps(other) for other in self._taken))

    def first_inside(self, boxes: Iterable[Box]) -> Box | None:
        """The first of the boxes that lies in the frame, whatever it covers; None if there is none."""
        return self._first(boxes)

    def _first(self, boxes: Iterable[Box]) -> Box | None:
        found = next((box for box in boxes if self._frame.contains(box)), None)
        if found is not None:
            self.take(found)
        return found
