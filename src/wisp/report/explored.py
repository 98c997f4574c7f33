"""The short trainings of a search, as faint dots behind the chart of the front."""

from __future__ import annotations

from collections.abc import Sequence

from wisp.report.charts import Scale
from wisp.report.markup import Markup, element
from wisp.search.front import Point, pareto

_ROOM = 0.5  # of the chart's height at most is given to them


def widened(low: float, high: float, x: Scale, explored: Sequence[Point]) -> float:
    """Where the axis of F1 begins: so far below `low` that the front of the short trainings shows, or most of it.

    Args:
        low: lower end of the axis without them.
        high: its upper end.
        x: the scale of the MACs; what lies beside it widens nothing.
        explored: MACs and F1 of each.
    """
    beside = [point for point in explored if x.low <= point[0] <= x.high]
    front = [beside[index][1] for index in pareto(beside)]
    if not front:
        return low
    farthest = high - (high - low) / (1 - _ROOM)
    return min(low, max(min(front) - 0.02 * (high - low), farthest))


def faint_dots(x: Scale, y: Scale, explored: Sequence[Point]) -> tuple[Markup, int]:
    """The dots inside the chart's frame, and how many there are."""
    inside = [(x(macs), y(f1)) for macs, f1 in explored if x.low <= macs <= x.high and y.low <= f1 <= y.high]
    # Lines without length, with round ends: a page of a thousand circles would be five times as long.
    drawn = "".join(f"M{across:.1f} {down:.1f}h0" for across, down in sorted(inside))
    return element("path", d=drawn, class_="explored"), len(inside)
