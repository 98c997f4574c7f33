"""The front of F1 against MACs: which networks are on it, how good it is as a whole, whom to prefer.

A point is (macs, f1): the MACs of one image, above 0, and the macro F1, 0..1. More F1 and fewer MACs are better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from wisp.score import F1_FLOOR, score

# The score's floor is a cliff, and validation only says about where F1 is: near 0.5, on some 400 photos, its standard
# error is 0.025. What is two of them above the floor is safe.
SAFE_F1 = F1_FLOOR + 0.05

Point = tuple[float, float]
"""(macs, f1)."""


def pareto(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats in both, from the cheapest on; of equal points the first."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def hypervolume(points: Sequence[Point], *, least_macs: float, most_macs: float) -> float:
    """The area under the front, F1 over log MACs, as a share of the whole, 0..1.

    That is the best F1 that can be had for at most m MACs, averaged over m evenly on a logarithmic scale from
    `least_macs` to `most_macs`; the hypervolume indicator (Zitzler & Thiele, 1999) against F1 0 and `most_macs`.

    Raises:
        ValueError: not 0 < least_macs < most_macs.
    """
    if not 0 < least_macs < most_macs:
        raise ValueError(f"need 0 < least_macs < most_macs, got {least_macs} and {most_macs}")
    area, best, at = 0.0, 0.0, math.log(least_macs)
    for index in pareto(points):
        macs, f1 = points[index]
        if macs >= most_macs:
            break
        here = math.log(max(macs, least_macs))
        area += best * (here - at)
        best, at = f1, here
    area += best * (math.log(most_macs) - at)
    return area / math.log(most_macs / least_macs)


def ranks(points: Sequence[Point]) -> list[int]:
    """How many fronts must be taken away before a point is on one: 0 for the front itself (Deb et al., 2002)."""
    rank = [0] * len(points)
    for level, members in enumerate(_fronts(points)):
        for index in members:
            rank[index] = level
    return rank


def preference(points: Sequence[Point], count: int | None = None) -> list[int]:
    """Indices of all points, or the first `count` of them, the most promising first: by rank, spread within a rank.

    Within a rank the point with the lowest score comes first of those at `SAFE_F1` (where none is: the one with the
    highest F1), then always the one that is farthest from all taken, in F1 and log MACs scaled to 0..1 (the epsilon-net
    of MO-ASHA, Schmucker et al., 2021). So the first few cover the front, and the competition's optimum is among them.
    """
    wanted = len(points) if count is None else min(count, len(points))
    if not wanted:
        return []
    place = np.array([(math.log(macs), f1) for macs, f1 in points])
    span = place.max(axis=0) - place.min(axis=0)
    place = (place - place.min(axis=0)) / np.where(span > 0, span, 1.0)
    order: list[int] = []
    for members in _fronts(points):
        first = min(members, key=lambda i: (_worth(points[i]), i))
        gap = np.full(len(members), np.inf)  # to the nearest that is taken; -inf for those themselves
        position = members.index(first)
        while gap[position] >= 0:
            order.append(members[position])
            if len(order) == wanted:
                return order
            taken = place[members[position]]
            away = np.sqrt(((place[members] - taken) ** 2).sum(axis=1))
            gap[position] = -np.inf
            gap = np.minimum(gap, away)
            position = int(gap.argmax())
    return order


def _worth(point: Point) -> tuple[bool, float]:
    """Sorts by score; below `SAFE_F1`, where the score is (or may be) blind to F1, by F1."""
    macs, f1 = point
    return f1 < SAFE_F1, -f1 if f1 < SAFE_F1 else score(f1, macs)


def _fronts(points: Sequence[Point]) -> Iterator[list[int]]:
    """Front after front, each by index."""
    left = list(range(len(points)))
    while left:
        # Equal points share a rank; `pareto` names only the first.
        on = {points[left[position]] for position in pareto([points[index] for index in left])}
        yield [index for index in left if points[index] in on]
        left = [index for index in left if points[index] not in on]
