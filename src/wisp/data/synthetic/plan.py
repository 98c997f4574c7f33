"""How many pictures of which class go into which split."""

from __future__ import annotations

import numpy as np

from wisp.data.synthetic.objects import CLASSES
from wisp.records import TEST, TRAIN, VAL

# Training and validation crops of the 2021 waste classification competition, by class.
COMPETITION_COUNTS = {
    "Battery": 348,
    "Clothing": 901,
    "Glass": 1558,
    "Metal": 2225,
    "Paper": 9193,
    "Paperpack": 1944,
    "Plastic": 5057,
    "Plasticbag": 9293,
    "Styrofoam": 2080,
}
FEWEST_IMAGES = 3 * len(CLASSES)  # one picture of each class in each split
_HELD_OUT = 0.15  # share of validation and of test, each


def class_shares() -> dict[str, float]:
    """The share of each class: proportional to the square root of the competition's counts.

    The order of the classes stays, while the rarest one keeps enough pictures in a small set (1 : 5 instead of
    1 : 27) for its F1 to mean something.
    """
    roots = {name: COMPETITION_COUNTS[name] ** 0.5 for name in CLASSES}
    return {name: root / sum(roots.values()) for name, root in roots.items()}


def class_counts(images: int) -> dict[str, int]:
    """How many of `images` (at least `FEWEST_IMAGES`) pictures each class gets: three, and its share of the others."""
    exact = np.array(list(class_shares().values())) * (images - FEWEST_IMAGES)
    counts = np.floor(exact).astype(int)
    # the largest remainders get what rounding left over
    left = images - FEWEST_IMAGES - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return {name: int(count) + 3 for name, count in zip(CLASSES, counts, strict=True)}


def split_counts(images: int) -> dict[str, dict[str, int]]:
    """Pictures by split and class: about 70 % train, 15 % val, 15 % test, at least one each."""
    held_out = {name: max(1, round(count * _HELD_OUT)) for name, count in class_counts(images).items()}
    train = {name: count - 2 * held_out[name] for name, count in class_counts(images).items()}
    return {TRAIN: train, VAL: held_out, TEST: dict(held_out)}
