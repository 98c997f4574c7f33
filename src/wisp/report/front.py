"""The chart of the front: macro F1 on validation against MACs, with lines of equal score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from wisp.errors import ModelError
from wisp.models import named
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
    linear_ticks,
    padded,
    path,
    vertical,
)
from wisp.report.markup import Markup, element
from wisp.score import F1_FLOOR, Baseline, macs_term, score
from wisp.search.candidate import Trial
from wisp.search.selection import pareto_front

_RADIUS = 9.0
# What people would pick by hand: their cost stands in the chart, for comparison. Nobody trained them here.
FAMILIES = (
    "shufflenet_v2-x0.5",
    "mobilenet_v3_small-0.5",
    "mobilenet_v2-0.35",
    "ghostnet-0.5",
    "squeezenet1_1",
    "resnet8",
)
_CONTOUR_POINTS = 80
_LABEL_WIDTH = 12.0


def front_chart(
    trials: Sequence[Trial], chosen: Trial, baseline: Baseline, *, split: str = "validation"
) -> Markup:
    """A scatter chart of the trials, numbered from 1 in their order, with the front and lines of equal score.

    Args:
        trials: at least one.
        chosen: the one to mark; its 95% interval is drawn too.
        baseline: what the score is relative to.
        split: the photos that F1 was measured on, for the labels.
    """
    macs = [max(trial.measurement.macs, 1) for trial in trials]
    air = max(
        1.5, math.sqrt(5 * min(macs) / max(macs))
    )  # a factor of 5 from side to side has at least two ticks
    x = horizontal(min(macs) / air, max(macs) * air, log=True)
    values = [trial.measurement.f1_macro for trial in trials]
    low, high = padded([*values, *(chosen.measurement.f1_ci95 or ())], least_span=0.06)
    y = vertical(max(low, -0.02), min(high, 1.02))
    return chart(
        x,
        y,
        _clip(),
        _contours(x, y, baseline),
        _families(x, chosen),
        _front_line(x, y, trials),
        _whisker(x, y, chosen),
        *_points(x, y, trials, chosen),
        x_label="MACs of one image (deployed, logarithmic)",
        y_label=f"macro F1 on {split}",
        title=f"Macro F1 on {split} against MACs of {len(trials)} candidates",
    )


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


def _clip() -> Markup:
    box = element(
        "rect",
        x=f"{LEFT:g}",
        y=f"{TOP:g}",
        width=f"{WIDTH - LEFT - RIGHT:g}",
        height=f"{HEIGHT - TOP - BOTTOM:g}",
    )
    return element("defs", element("clipPath", box, id="front-clip"))


def _contours(x: Scale, y: Scale, baseline: Baseline) -> Markup:
    lines, labels = [], []
    taken: list[tuple[float, float]] = []
    steps = [x.low * (x.high / x.low) ** (i / _CONTOUR_POINTS) for i in range(_CONTOUR_POINTS + 1)]
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
        below = [point for point in points if point[1] <= y.high]
        if not below or points[-1][1] < y.low:
            continue
        drawn = path([(x(macs), y(f1)) for macs, f1 in points])
        lines.append(element("path", element("title", f"score {level:g}"), d=drawn))
        macs, f1 = below[-1]
        place = (x(macs) - 3, max(y(f1) - 3, TOP + 10) if f1 >= y.low else TOP + 10)
        if all(math.hypot((place[0] - px) / 2.5, place[1] - py) > 10 for px, py in taken):
            taken.append(place)
            labels.append(element("text", f"{level:g}", x=f"{place[0]:.1f}", y=f"{place[1]:.1f}"))
    return element("g", element("g", *lines, clip_path="url(#front-clip)"), *labels, class_="contours")


def family_macs(num_classes: int, image_size: int) -> dict[str, int]:
    """What some well-known networks cost at this image size: name -> MACs as trained. Too small an image: left out."""
    costs: dict[str, int] = {}
    for family in FAMILIES:
        with suppress(ModelError):
            costs[family] = named(family, num_classes).macs(image_size)
    return costs


def _families(x: Scale, chosen: Trial) -> Markup:
    """A mark at the top for every well-known network that the chart's range of MACs holds."""
    size = chosen.candidate.image_size
    marks = []
    labelled = -math.inf
    costs = family_macs(chosen.candidate.arch.num_classes, size)
    for family, macs in sorted(costs.items(), key=lambda cost: cost[1]):
        if not x.low <= macs <= x.high:
            continue
        place = x(macs)
        parts = [element("title", f"{family} at {size} px: {macs:,} MACs as trained; not trained here")]
        parts.append(element("line", x1=f"{place:.1f}", x2=f"{place:.1f}", y1=f"{TOP:g}", y2=f"{TOP + 6:g}"))
        if (
            place - labelled > _LABEL_WIDTH
        ):  # else two names would lie on one another; the mark still tells its own
            labelled = place
            turned = f"translate({place:.1f} {TOP + 9:g}) rotate(90)"
            parts.append(element("text", family, x="0", y="0", transform=turned, dy="3"))
        marks.append(element("g", *parts))
    return element("g", *marks, class_="families")


def _front_line(x: Scale, y: Scale, trials: Sequence[Trial]) -> Markup:
    """A staircase: what F1 can be had for so many MACs."""
    points: list[tuple[float, float]] = []
    for trial in pareto_front(trials):
        px, py = _place(x, y, trial)
        if points:
            points.append((px, points[-1][1]))
        points.append((px, py))
    points.append((x.end, points[-1][1]))
    return element("path", d=path(points), class_="front")


def _whisker(x: Scale, y: Scale, chosen: Trial) -> Markup:
    """The 95% interval, with a cap at each end."""
    px, _ = _place(x, y, chosen)
    low, high = chosen.measurement.f1_ci95 or (chosen.measurement.f1_macro,) * 2
    ends = [y(low), y(high)]
    drawn = path([(px, end) for end in ends]) + "".join(path([(px - 5, end), (px + 5, end)]) for end in ends)
    return element("path", d=drawn, class_="whisker")


def _points(x: Scale, y: Scale, trials: Sequence[Trial], chosen: Trial) -> list[Markup]:
    front = pareto_front(trials)
    order = sorted(enumerate(trials, start=1), key=lambda numbered: numbered[1] == chosen)
    return [
        _point(x, y, number, trial, on_front=trial in front, chosen=trial == chosen)
        for number, trial in order
    ]


def _point(x: Scale, y: Scale, number: int, trial: Trial, *, on_front: bool, chosen: bool) -> Markup:
    measured = trial.measurement
    px, py = _place(x, y, trial)
    interval = measured.f1_ci95
    told = f" (95% interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    described = (
        f"{number}: {trial.candidate.name}, {trial.epochs} epochs{', chosen' if chosen else ''}\n"
        f"macro F1 {measured.f1_macro:.4f}{told}\n"
        f"{measured.macs:,} MACs, {measured.params:,} parameters, score {measured.score:.4f}"
    )
    return element(
        "g",
        element("title", described),
        *([_circle(px, py, _RADIUS + 4, class_="ring")] if chosen else []),
        _circle(px, py, _RADIUS),
        element("text", str(number), x=f"{px:.1f}", y=f"{py + 3.6:.1f}", text_anchor="middle"),
        class_=" ".join(["point", *(["on-front"] if on_front else []), *(["chosen"] if chosen else [])]),
    )


def _circle(x: float, y: float, radius: float, class_: str | None = None) -> Markup:
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}", class_=class_)


def _place(x: Scale, y: Scale, trial: Trial) -> tuple[float, float]:
    return x(max(trial.measurement.macs, 1)), y(trial.measurement.f1_macro)
