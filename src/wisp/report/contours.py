"""Lines of equal score in the chart of the front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from wisp.report.charts import Scale, linear_ticks, path
from wisp.report.labels import Room, around
from wisp.report.markup import Markup, element
from wisp.score import F1_FLOOR, Baseline, macs_term, score

_POINTS = 80
_LABEL_PLACES = (0.93, 0.85, 0.97, 0.75, 0.6, 0.45, 0.3, 0.15)  # along the visible part; its upper end first


def f1_of_score(wanted: float, macs: float, baseline: Baseline) -> float | None:
    """The least F1 that gives a network of so many MACs a score of at most `wanted`; None where none in 0..1 does.

    The inverse of `wisp.score.score` in F1. Below its floor any F1 scores the same, and the step there is a jump.
    """
    term = wanted - macs_term(macs, baseline)
    if term >= 1:
        return 0.0
    weight = 1.0 if term > 0 else 0.5
    f1 = max(baseline.f1 * (1 - term / weight), F1_FLOOR)
    return f1 if f1 <= 1 else None


def score_levels(x: Scale, y: Scale, baseline: Baseline) -> list[float]:
    """Round scores that have a line inside the chart."""
    top = min(max(y.high, 0.0), 1.0)
    # The jump at the floor would swallow all levels: where the chart spans it, they are those above it.
    bottom = max(y.low, F1_FLOOR if top > F1_FLOOR else 0.0)
    best, worst = score(top, x.low, baseline), score(bottom, x.high, baseline)
    return linear_ticks(best, worst, at_most=9)


def contours(x: Scale, y: Scale, baseline: Baseline, room: Room, *, clip: str) -> Markup:
    """The lines, each with its score where there is room for it.

    Args:
        x: the scale of the MACs.
        y: the scale of F1.
        baseline: what the score is relative to.
        room: what is free in the chart; labels take some of it.
        clip: id of the clip path that is the chart's frame.
    """
    lines: list[Markup] = []
    labels: list[Markup] = []
    steps = [x.low * (x.high / x.low) ** (i / _POINTS) for i in range(_POINTS + 1)]
    for level in score_levels(x, y, baseline):
        # Where F1 below the floor stops being good enough, the line jumps: both ends of the jump belong to it.
        jump = (level - 1) * baseline.macs
        sides = [jump * (1 + side) for side in (-1e-9, 1e-9) if x.low < jump < x.high]
        points = [
            (macs, f1)
            for macs in sorted([*steps, *sides])
            if (f1 := f1_of_score(level, macs, baseline)) is not None
        ]
        # A line rises with the MACs: it crosses the chart where it starts below the top and ends above the bottom.
        if not points or points[0][1] > y.high or points[-1][1] < y.low:
            continue
        placed = [(x(macs), y(f1)) for macs, f1 in points]
        lines.append(element("path", element("title", f"score {level:g}"), d=path(placed)))
        # On the floor the lines lie on one another: no labels there.
        visible = [
            (px, py) for px, py in _finely(placed) if y.end <= py <= y.start and abs(py - y(F1_FLOOR)) > 1
        ]
        told = [f"{level:g}"] if labels else [f"score {level:g}", f"{level:g}"]
        label = next((found for text in told if (found := _label(text, visible, room))), None)
        labels.extend([label] if label else [])
    return element(
        "g", element("g", *lines, clip_path=f"url(#{clip})"), element("g", *labels), class_="contours"
    )


def _finely(line: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The line with places in between where it is steep, as at a jump."""
    for (x0, y0), (x1, y1) in pairwise(line):
        pieces = 1 + int(abs(y1 - y0) / 8)
        for piece in range(pieces):
            share = piece / pieces
            yield x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    yield line[-1]


def _label(text: str, line: list[tuple[float, float]], room: Room) -> Markup | None:
    """The text on the line, with its middle where it covers nothing; None where there is no such place."""
    width = 6.0 * len(text) + 4
    places = [line[round(share * (len(line) - 1))] for share in _LABEL_PLACES] if line else []
    box = room.first_free(around(px, py, width, 13) for px, py in places)
    if box is None:
        return None
    return element(
        "text",
        text,
        x=f"{(box.left + box.right) / 2:.1f}",
        y=f"{box.bottom - 3.2:.1f}",
        text_anchor="middle",
    )
