"""The chart of the front: macro F1 on validation against MACs, with lines of equal score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wisp.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    chart,
    horizontal,
    padded,
    path,
    vertical,
)
from wisp.report.contours import contours
from wisp.report.explored import faint_dots, widened
from wisp.report.families import family_macs, family_marks, off_the_chart
from wisp.report.labels import Box, Room, along
from wisp.report.markup import Markup, element
from wisp.report.points import Dot, circles, details, dots, standing_out, whisker_lines, whiskers
from wisp.score import Baseline
from wisp.search.candidate import Trial
from wisp.search.front import Point

_CLIP = "front-clip"
_FARTHEST = 6.0  # a well-known network at most so many times as dear as all trials still widens the chart


def front_chart(
    trials: Sequence[Trial],
    chosen: Trial,
    baseline: Baseline,
    *,
    split: str = "validation",
    explored: Sequence[Point] = (),
    chosen_as: str = "the chosen candidate",
) -> Markup:
    """A scatter chart of the trials, numbered from 1 in their order, with the front and lines of equal score.

    Below it stands what its marks mean. Each dot's figures come up under a pointer, a finger or the Tab key.

    Args:
        trials: at least one.
        chosen: the one to mark; its 95% interval is drawn over those of others.
        baseline: what the score is relative to.
        split: the photos that F1 was measured on, for the labels.
        explored: MACs and F1 of networks that a search trained briefly; they are drawn faintly, as far as they fit.
        chosen_as: what the legend calls the chosen one.
    """
    costs = family_macs(chosen.candidate.arch.num_classes, chosen.candidate.image_size)
    x = _macs_scale(trials, costs)
    intervals = standing_out(trials, chosen)
    bounds = [bound for trial in intervals for bound in trial.measurement.f1_ci95 or ()]
    low, high = padded([*(trial.measurement.f1_macro for trial in trials), *bounds], least_span=0.06)
    high = min(high, 1.02)
    y = vertical(max(widened(low, high, x, explored), -0.02), high)
    faint, shown = faint_dots(x, y, explored)
    placed = dots(x, y, trials, chosen)
    marks, above = family_marks(x, costs)
    line = _front_line(x, placed)
    bars = whisker_lines(y, placed, intervals)
    covered = [box for points in [line, *bars.values()] for box in along(points, 1.5)]
    room = Room(Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM), covered)
    points = circles(placed, room)
    picture = chart(
        x,
        y,
        _clip(),
        contours(x, y, baseline, room, clip=_CLIP),
        marks,
        *([faint] if shown else []),
        element("path", d=path(line), class_="front"),
        element("g", whiskers(placed, bars), clip_path=f"url(#{_CLIP})"),
        points,
        x_label="MACs of one image (deployed, logarithmic)",
        y_label=f"macro F1 on {split}",
        title=f"Macro F1 on {split} against MACs of {len(trials)} candidates",
        above=above,
    )
    legend = _legend(
        chosen,
        chosen_as=chosen_as,
        few=len(intervals) == len(trials),
        beyond=off_the_chart(x.high, costs),
        explored=(shown, len(explored)),
    )
    return element(
        "div", element("div", picture, details(placed, above), class_="plot"), legend, class_="chart"
    )


def _macs_scale(trials: Sequence[Trial], costs: Mapping[str, int]) -> Scale:
    """All trials and some air; up to the cheapest well-known network where that is not far away."""
    macs = [max(trial.measurement.macs, 1) for trial in trials]
    # a factor of 5 from side to side has at least two ticks
    air = max(1.5, math.sqrt(5 * min(macs) / max(macs)))
    low, high = min(macs) / air, max(macs) * air
    beyond = [cost for cost in costs.values() if cost > low]
    if beyond and high < min(beyond) <= _FARTHEST * high:
        high = min(beyond) * 1.1
    return horizontal(low, high, log=True)


def _clip() -> Markup:
    box = element(
        "rect",
        x=f"{LEFT:g}",
        y=f"{TOP:g}",
        width=f"{WIDTH - LEFT - RIGHT:g}",
        height=f"{HEIGHT - TOP - BOTTOM:g}",
    )
    return element("defs", element("clipPath", box, id=_CLIP))


def _front_line(x: Scale, placed: Sequence[Dot]) -> list[tuple[float, float]]:
    """A staircase: what F1 can be had for so many MACs."""
    points: list[tuple[float, float]] = []
    for dot in sorted((dot for dot in placed if dot.on_front), key=lambda dot: (dot.x, -dot.y)):
        if points:
            points.append((dot.x, points[-1][1]))
        points.append((dot.x, dot.y))
    points.append((x.end, points[-1][1]))
    return points


def _legend(chosen: Trial, *, chosen_as: str, few: bool, beyond: str, explored: tuple[int, int]) -> Markup:
    """What the marks mean; `explored`: how many short trainings are in the chart, and how many there were."""
    circle = element("circle", cx="12", cy="7", r="4")
    ring = element("circle", cx="12", cy="7", r="6.5", class_="ring")
    whisker = element("path", d="M12 1V13M9 1H15M9 13H15")
    shown, total = explored
    outside = "" if shown == total else f"; {total - shown:,} more lie outside the chart"
    entries = [
        (element("g", ring, circle, class_="point chosen"), chosen_as),
        (
            element("g", element("path", d="M0 7H24", class_="front"), circle, class_="point on-front"),
            "on the front: no other one is both cheaper and better",
        ),
        (element("g", circle, class_="point"), "other candidates; numbers are those of the table"),
        *(
            [
                (
                    element("path", d="M5 9h0M12 4h0M19 8h0", class_="explored"),
                    f"networks that the search trained briefly, to choose whom to train longer{outside}",
                )
            ]
            if shown
            else []
        ),
        (
            element("g", whisker, class_="whiskers"),
            f"95% interval of F1{'' if few else ' (of the front alone; the table has all)'}",
        ),
        (
            element("g", element("path", d="M0 12Q14 11 24 1"), class_="contours"),
            "equal score; up and to the left is better",
        ),
        (
            element("g", element("path", d="M12 0V14"), class_="families"),
            f"what well-known networks cost at {chosen.candidate.image_size} px, with MACs as trained; they were not "
            f"trained here. {beyond}",
        ),
    ]
    items = [
        element(
            "li",
            element("svg", drawn, viewBox="0 0 24 14", aria_hidden="true"),
            element("span", told.strip()),
        )
        for drawn, told in entries
    ]
    hint = element(
        "p", "Point at a dot, tap it or reach it with the Tab key: its figures come up.", class_="hint"
    )
    return element("div", element("ul", *items), hint, class_="legend caption")
