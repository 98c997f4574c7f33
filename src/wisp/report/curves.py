"""The charts of the trainings: one line a trial, over the epochs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from wisp.report.charts import BOTTOM, HEIGHT, chart, counted, horizontal, padded, path, vertical
from wisp.report.markup import Markup, element

COLOURS, DASHES = 5, 4  # as many as the style sheet has: 20 different lines
_MOST_POINTS = 240  # more than the chart has room for
_LABEL_HEIGHT = 12.5


@dataclass(frozen=True)
class Line:
    """The rows of one training's `metrics.jsonl`, with the number and name it is shown by.

    A `faint` one is drawn thin and grey, without its number: context for the others.
    """

    number: int
    name: str
    rows: Sequence[Mapping[str, Any]]
    chosen: bool = False
    faint: bool = False

    @property
    def style(self) -> str:
        """Its classes in the style sheet: colours alone would leave some people without a difference."""
        if self.chosen:
            return "line chosen"
        if self.faint:
            return "line faint"
        return f"line colour-{self.number % COLOURS} dash-{self.number % DASHES}"

    def points(self, key: str) -> list[tuple[float, float]]:
        """(epoch, value) of the rows that have this value; long trainings thinned out, the last row kept."""
        known = [
            (float(row["epoch"]), float(row[key]))
            for row in self.rows
            if isinstance(row.get(key), int | float) and math.isfinite(row[key])
        ]
        stride = math.ceil(len(known) / _MOST_POINTS) or 1
        return known[::-1][::stride][::-1]


def curves_chart(lines: Sequence[Line], key: str, label: str) -> Markup | None:
    """One value over the epochs, one line a training; None where no training has recorded it.

    Args:
        lines: the trainings.
        key: the value's name in the rows.
        label: what it is, for the axis.
    """
    drawn = [(line, points) for line in lines if (points := line.points(key))]
    if not drawn:
        return None
    last = max(points[-1][0] for _, points in drawn)
    # Whole epochs, and no more than two decimals, also where a training was short: there is no room for longer numbers.
    x = horizontal(0, max(last, 5))
    y = vertical(*padded([value for _, points in drawn for _, value in points], least_span=0.05))
    # the faint ones first, the chosen one last, over the others
    drawn.sort(key=lambda item: (item[0].chosen, not item[0].faint))
    ends = {line.number: (x(points[-1][0]), y(points[-1][1])) for line, points in drawn if not line.faint}
    heights = dict(zip(ends, _spread(list(ends.values())), strict=True))
    content = []
    for line, points in drawn:
        told = (
            f"{line.number}: {line.name}\n{label} {points[-1][1]:.4f} after {counted(points[-1][0], 'epoch')}"
        )
        parts = [element("path", d=path([(x(epoch), y(value)) for epoch, value in points]))]
        if line.number in ends:
            end_x, end_y = ends[line.number]
            parts += [
                element("circle", cx=f"{end_x:.1f}", cy=f"{end_y:.1f}", r="2.5"),
                element("text", str(line.number), x=f"{end_x + 5:.1f}", y=f"{heights[line.number] + 4:.1f}"),
            ]
        content.append(element("g", element("title", told), *parts, class_=line.style))
    return chart(
        x,
        y,
        *content,
        x_label="epoch",
        y_label=label,
        title=f"{label} over the epochs of {len(drawn)} trainings",
    )


def key_of(lines: Sequence[Line]) -> Markup:
    """The list that says which line is which; the faint ones in one entry."""
    entries = [(line.style, f"{line.number} {line.name}") for line in lines if not line.faint]
    faint = sum(line.faint for line in lines)
    if faint:
        entries.append(("line faint", f"{faint} others"))
    return element("ul", *(_key_entry(style, told) for style, told in entries), class_="key")


def _key_entry(style: str, told: str) -> Markup:
    swatch = element("g", element("path", d=path([(0, 5), (30, 5)])), class_=style)
    return element(
        "li", element("svg", swatch, viewBox="0 0 30 10", aria_hidden="true"), element("span", told)
    )


def _spread(ends: Sequence[tuple[float, float]]) -> list[float]:
    """Heights for the labels at the lines' ends, moved apart where they would cover one another."""
    heights = [y for _, y in ends]
    columns: dict[float, list[int]] = defaultdict(list)
    for index in sorted(range(len(ends)), key=lambda index: ends[index][1]):
        columns[round(ends[index][0])].append(index)
    for column in columns.values():
        for above, index in pairwise(column):
            heights[index] = max(heights[index], heights[above] + _LABEL_HEIGHT)
        # as much above their lines as below them, and not over the epochs
        moved = sum(heights[index] - ends[index][1] for index in column) / len(column)
        moved = max(moved, heights[column[-1]] - (HEIGHT - BOTTOM - 2))
        for index in column:
            heights[index] -= moved
    return heights
