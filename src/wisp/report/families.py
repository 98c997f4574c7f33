"""Well-known networks as marks over the front: what they cost at the same image size. Nobody trained them here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from wisp.errors import ModelError
from wisp.models import named
from wisp.report.charts import TOP, Scale, short_count
from wisp.report.markup import Markup, element

# What people would pick by hand.
FAMILIES = (
    "shufflenet_v2-x0.5",
    "mobilenet_v3_small-0.5",
    "mobilenet_v2-0.35",
    "ghostnet-0.5",
    "squeezenet1_1",
    "resnet8",
)
_ROW = 13.0  # height of a line of text, as large as phones show it
_CHARACTER = 6.4  # width, likewise


def family_macs(num_classes: int, image_size: int) -> dict[str, int]:
    """What they cost at this image size: name -> MACs as trained, cheapest first. Too small an image: left out."""
    costs: dict[str, int] = {}
    for family in FAMILIES:
        with suppress(ModelError):
            costs[family] = named(family, num_classes).macs(image_size)
    return dict(sorted(costs.items(), key=lambda cost: cost[1]))


def family_marks(x: Scale, costs: Mapping[str, int]) -> tuple[Markup, float]:
    """A mark with its name above the frame for every network in the range, and the height that they take.

    Names stand in rows of their own, left of their marks, the dearest on top: so no mark runs through a name.

    Args:
        x: the chart's horizontal scale.
        costs: from `family_macs`, cheapest first.
    """
    marks = []
    inside = [(family, macs) for family, macs in costs.items() if x.low <= macs <= x.high]
    for row, (family, macs) in enumerate(inside):
        place, height = x(macs), TOP - 8 - row * _ROW
        label = f"{family} {short_count(macs)}"
        on_left = place - 4 - len(label) * _CHARACTER >= 0
        marks.append(
            element(
                "g",
                element("title", f"{family}: {macs:,} MACs as trained; not trained here"),
                element("path", d=f"M{place:.1f} {height - 7:.1f}V{TOP + 6:g}"),
                element(
                    "text",
                    label,
                    x=f"{place - 4 if on_left else place + 4:.1f}",
                    y=f"{height:.1f}",
                    text_anchor="end" if on_left else "start",
                ),
            )
        )
    return element("g", *marks, class_="families"), len(inside) * _ROW


def off_the_chart(high: float, costs: Mapping[str, int]) -> str:
    """The networks that cost more than `high` MACs, in words; empty where there are none."""
    beyond = [f"{family} {short_count(macs)}" for family, macs in costs.items() if macs > high]
    return f"Beyond the right edge: {', '.join(beyond)}." if beyond else ""
