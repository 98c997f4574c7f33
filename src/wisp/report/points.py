"""The trials in the chart of the front: dots with numbers, intervals, and the details of each on demand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wisp.report.charts import HEIGHT, WIDTH, Scale, counted, path
from wisp.report.labels import Box, Room, around
from wisp.report.markup import Markup, element, joined, name
from wisp.search.candidate import Trial
from wisp.search.selection import pareto_front

MANY = 12  # beyond so many trials only the front stands out: all would hide one another
_LABEL = 12.0  # height of a number
_DIGIT = 7.2  # width of a digit
_SQUARE = math.sqrt(2)  # side of the square in a circle of radius 1: its corners leave room for numbers
_TOUCH = 12.0  # radius that is easily hit with a finger


@dataclass(frozen=True)
class Dot:
    """A trial with its number and its place in the chart."""

    number: int
    trial: Trial
    x: float
    y: float
    on_front: bool
    chosen: bool

    @property
    def radius(self) -> float:
        """Of the circle; the chosen one has a ring around it."""
        return 5.5 if self.chosen else 5.0 if self.on_front else 3.8

    @property
    def extent(self) -> float:
        """Radius of all that is drawn."""
        return self.radius + 4 if self.chosen else self.radius

    @property
    def class_(self) -> str:
        """Its classes in the style sheet."""
        return " ".join(
            ["point", *(["on-front"] if self.on_front else []), *(["chosen"] if self.chosen else [])]
        )


def dots(x: Scale, y: Scale, trials: Sequence[Trial], chosen: Trial) -> list[Dot]:
    """The trials, numbered from 1 in their order; the chosen one last, those on the front before it."""
    front = pareto_front(trials)
    placed = [
        Dot(
            number,
            trial,
            x(max(trial.measurement.macs, 1)),
            y(trial.measurement.f1_macro),
            trial in front,
            trial == chosen,
        )
        for number, trial in enumerate(trials, start=1)
    ]
    return sorted(placed, key=lambda dot: (dot.chosen, dot.on_front))


def standing_out(trials: Sequence[Trial], chosen: Trial) -> list[Trial]:
    """The trials whose details are drawn: all, or where they are many the front and the chosen one."""
    front = pareto_front(trials)
    return [trial for trial in trials if len(trials) <= MANY or trial == chosen or trial in front]


def whisker_lines(
    y: Scale, placed: Sequence[Dot], shown: Sequence[Trial]
) -> dict[int, list[tuple[float, float]]]:
    """Number of a trial -> the two ends of its 95% interval, for those that are shown and have one."""
    return {
        dot.number: [(dot.x, y(bound)) for bound in interval]
        for dot in placed
        if dot.trial in shown and (interval := dot.trial.measurement.f1_ci95) is not None
    }


def whiskers(placed: Sequence[Dot], lines: Mapping[int, Sequence[tuple[float, float]]]) -> Markup:
    """The 95% intervals, with a cap at each end."""
    drawn = []
    for dot in placed:
        ends = lines.get(dot.number)
        if ends:
            pieces = [ends, *([(end_x - 3, end_y), (end_x + 3, end_y)] for end_x, end_y in ends)]
            style = "chosen" if dot.chosen else None
            drawn.append(element("path", d="".join(map(path, pieces)), class_=style))
    return element("g", *drawn, class_="whiskers")


def circles(placed: Sequence[Dot], room: Room) -> Markup:
    """The dots, each with its number beside it where there is room."""
    for dot in placed:
        room.take(around(dot.x, dot.y, _SQUARE * dot.extent, _SQUARE * dot.extent))
    # those that matter most choose first
    labels = {dot.number: _label(dot, room) for dot in reversed(placed)}
    return joined(
        element(
            "g",
            *([_circle(dot, dot.extent, class_="ring")] if dot.chosen else []),
            _circle(dot, dot.radius),
            *([label] if (label := labels[dot.number]) else []),
            class_=dot.class_,
        )
        for dot in placed
    )


def details(placed: Sequence[Dot], above: float) -> Markup:
    """HTML over the chart: what a pointer, a finger or the Tab key brings up at each dot.

    Args:
        placed: the dots.
        above: height of what the chart has above its frame.
    """
    height = HEIGHT + above
    found = []
    for dot in sorted(placed, key=lambda dot: dot.number):
        distance = min(
            (math.hypot(dot.x - other.x, dot.y - other.y) for other in placed if other is not dot),
            default=math.inf,
        )
        radius = min(_TOUCH, max(distance / 2, dot.radius))
        across = "start" if dot.x < WIDTH / 3 else "end" if dot.x > 2 * WIDTH / 3 else "middle"
        down = "below" if dot.y < HEIGHT / 2 else "above"
        lines = _lines(dot)
        tip = [element("strong", name(lines[0])), *(element("span", line) for line in lines[1:])]
        found.append(
            element(
                "div",
                element("div", *tip, class_="tip", aria_hidden="true"),
                class_=f"dot {across} {down}",
                tabindex=0,
                role="img",
                aria_label="; ".join(lines),
                style=f"left:{100 * dot.x / WIDTH:.2f}%;top:{100 * (dot.y + above) / height:.2f}%;"
                f"width:{200 * radius / WIDTH:.2f}%",
            )
        )
    return element("div", *found, class_="dots")


def _lines(dot: Dot) -> list[str]:
    trial, measured = dot.trial, dot.trial.measurement
    interval = measured.f1_ci95
    told = [f"95% interval {interval[0]:.4f} to {interval[1]:.4f}"] if interval else []
    known = (
        ("chosen", dot.chosen),
        ("on the front", dot.on_front),
        ("with a teacher", trial.teacher is not None),
    )
    marks = [mark for mark, shown in known if shown]
    return [
        f"{dot.number}: {trial.candidate.name}",
        ", ".join([f"{trial.candidate.image_size} px", counted(trial.epochs, "epoch"), *marks]),
        f"macro F1 {measured.f1_macro:.4f}",
        *told,
        f"{measured.macs:,} MACs",
        f"{measured.params:,} parameters",
        f"score {measured.score:.4f}",
    ]


def _label(dot: Dot, room: Room) -> Markup | None:
    width = _DIGIT * len(str(dot.number))
    far, wide = dot.extent + 1 + _LABEL / 2, dot.extent + 2 + width / 2
    box = room.first_free(_around_dot(dot, far, wide, width))
    if box is None and (dot.chosen or dot.on_front):
        box = room.first_inside(_around_dot(dot, far, wide, width))  # over a line rather than not at all
    if box is None:
        return None
    middle = (box.left + box.right) / 2
    return element(
        "text", str(dot.number), x=f"{middle:.1f}", y=f"{box.bottom - 2.2:.1f}", text_anchor="middle"
    )


def _around_dot(dot: Dot, far: float, wide: float, width: float) -> list[Box]:
    """Places for its number, the best first."""
    near = 0.85
    sides = [
        (wide, 0), (-wide, 0),
        (wide * near, -far * near), (-wide * near, far * near), (wide * near, far * near), (-wide * near, -far * near),
        (0, -far), (0, far),
    ]  # fmt: skip
    return [around(dot.x + dx, dot.y + dy, width, _LABEL) for dx, dy in sides]


def _circle(dot: Dot, radius: float, class_: str | None = None) -> Markup:
    return element("circle", cx=f"{dot.x:.1f}", cy=f"{dot.y:.1f}", r=f"{radius:g}", class_=class_)
