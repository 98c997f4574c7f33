"""What each class looks like: for every class a table of shape families and how often each occurs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from wisp.data.synthetic.objects import (
    battery,
    clothing,
    glass,
    metal,
    paper,
    paperpack,
    plastic,
    plasticbag,
    styrofoam,
)
from wisp.data.synthetic.paint import Sketch

Family = Callable[[np.random.Generator], Sketch]

FAMILIES: Mapping[str, tuple[tuple[Family, float], ...]] = {
    "Battery": battery.FAMILIES,
    "Clothing": clothing.FAMILIES,
    "Glass": glass.FAMILIES,
    "Metal": metal.FAMILIES,
    "Paper": paper.FAMILIES,
    "Paperpack": paperpack.FAMILIES,
    "Plastic": plastic.FAMILIES,
    "Plasticbag": plasticbag.FAMILIES,
    "Styrofoam": styrofoam.FAMILIES,
}
CLASSES: tuple[str, ...] = tuple(FAMILIES)


def sketch(rng: np.random.Generator, name: str) -> Sketch:
    """Invent one object of the class `name`."""
    families = FAMILIES[name]
    weights = np.array([weight for _, weight in families])
    return families[int(rng.choice(len(families), p=weights / weights.sum()))][0](rng)
