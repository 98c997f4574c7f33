"""What every chart shares: scales, their ticks, and the frame to draw in.

Lengths are SVG user units; the page scales a chart to its column. Colours come from the style sheet, by class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wisp.report.markup import Markup, element, joined

WIDTH, HEIGHT = 460.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 22.0, 12.0, 44.0


@dataclass(frozen=True)
class Scale:
    """From values in `low`..`high` to positions `start`..`end`, straight or (`log`) by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value, which may lie outside the range."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Some round values inside the range."""
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def horizontal(low: float, high: float, *, log: bool = False) -> Scale:
    """A scale over the frame's width."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def vertical(low: float, high: float) -> Scale:
    """A scale over the frame's height, upwards."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP)


def linear_ticks(low: float, high: float, *, at_most: int = 6) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten, from `low` to `high`."""
    step = 10.0 ** math.floor(math.log10((high - low) / at_most))
    while len(inside := _multiples(step, low, high)) > at_most:
        # 1 -> 2 -> 5 -> 10
        step *= 2.5 if f"{step:.0e}".startswith("2") else 2
    return [float(f"{index * step:.12g}") for index in inside]


def _multiples(step: float, low: float, high: float) -> range:
    """How often `step` is in each of its multiples from `low` to `high`."""
    return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`; only the powers where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    mantissas = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [
        value
        for power in powers
        for mantissa in mantissas
        if low <= (value := mantissa * 10.0**power) <= high
    ]


def padded(values: Iterable[float], *, least_span: float) -> tuple[float, float]:
    """A range around the values with some air, at least so wide."""
    known = list(values)
    low, high = min(known), max(known)
    air = max(0.06 * (high - low), (least_span - (high - low)) / 2)
    return low - air, high + air


def short_count(count: float) -> str:
    """A count for an axis: 500 k, 1.5 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"


def counted(count: float, noun: str) -> str:
    """A count with its noun: 1 epoch, 2 epochs."""
    return f"{count:g} {noun}" if count == 1 else f"{count:g} {noun}s"


def path(points: Sequence[tuple[float, float]]) -> str:
    """The `d` of a line through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def same_digits(ticks: Sequence[float]) -> list[str]:
    """The ticks as text, with as many decimals as the longest needs: 0.70, 0.65."""
    digits = max((len(f"{tick:.9f}".rstrip("0").partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{digits}f}" for tick in ticks]


def chart(
    x: Scale, y: Scale, *content: str, x_label: str, y_label: str, title: str, above: float = 0.0
) -> Markup:
    """An SVG with both axes, their grid and labels, and `content` drawn over them.

    Args:
        x: the horizontal scale.
        y: the vertical scale.
        content: SVG elements in the chart's coordinates.
        x_label: what the horizontal axis shows, with its unit.
        y_label: likewise, upwards.
        title: what the chart shows, for people who cannot see it.
        above: more room above the frame, for content with negative heights.
    """
    x_ticks, y_ticks = x.ticks(), y.ticks()
    x_texts = [short_count(tick) for tick in x_ticks] if x.log else same_digits(x_ticks)
    grid = [
        element("line", x1=f"{LEFT:g}", x2=f"{WIDTH - RIGHT:g}", y1=f"{y(v):.1f}", y2=f"{y(v):.1f}")
        for v in y_ticks
    ] + [
        element("line", x1=f"{x(v):.1f}", x2=f"{x(v):.1f}", y1=f"{TOP:g}", y2=f"{HEIGHT - BOTTOM:g}")
        for v in x_ticks
    ]
    labels = [
        element("text", text, x=f"{LEFT - 6:g}", y=f"{y(v) + 4:.1f}", text_anchor="end")
        for v, text in zip(y_ticks, same_digits(y_ticks), strict=True)
    ] + [
        element("text", text, x=f"{x(v):.1f}", y=f"{HEIGHT - BOTTOM + 16:g}", text_anchor="middle")
        for v, text in zip(x_ticks, x_texts, strict=True)
    ]
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    names = (
        element("text", x_label, x=f"{middle_x:g}", y=f"{HEIGHT - 8:g}", text_anchor="middle"),
        element("text", y_label, transform=f"translate(11 {middle_y:g}) rotate(-90)", text_anchor="middle"),
    )
    return element(
        "svg",
        element("g", *grid, class_="grid"),
        element("g", *labels, class_="ticks"),
        element("g", *names, class_="axes"),
        joined(content),
        viewBox=f"0 {-above:g} {WIDTH:g} {HEIGHT + above:g}",
        role="img",
        aria_label=title,
    )
