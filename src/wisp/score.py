"""The competition's score: how many MACs a classifier needs, and how much F1 it gives up. Smaller is better.

    score = macs / baseline macs + f1_term

    f1_term = 1                                    F1 below 0.5, the floor
            = 1.0 * (baseline - F1) / baseline     F1 from the floor up to the baseline
            = 0.5 * (baseline - F1) / baseline     F1 above the baseline: a bonus, at half the weight

Naver Boostcamp AI Tech, model optimization competition, 2021. Pure Python: no dependency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wisp.errors import InputError

F1_FLOOR = 0.5


@dataclass(frozen=True, slots=True)
class Baseline:
    """The network that all others are measured against: its macro F1 (above 0, at most 1) and its MACs (above 0).

    Raises:
        InputError: a value out of its range, or not a number.
    """

    f1: float
    macs: float

    def __post_init__(self) -> None:
        if not 0 < self.f1 <= 1:  # also refuses NaN
            raise InputError(f"baseline F1 {self.f1}: must be above 0 and at most 1")
        if not 0 < self.macs < math.inf:
            raise InputError(f"baseline MACs {self.macs}: must be above 0")


# Recovered from the published leaderboard: reproduces each of its rows within 0.0002.
LEADERBOARD_2021 = Baseline(f1=0.83655, macs=13_865_300)
# What participants' code was given; it does not reproduce the leaderboard.
TEAM_CODE_2021 = Baseline(f1=0.8342, macs=13_863_553)

PRESETS: Mapping[str, Baseline] = MappingProxyType(
    {"leaderboard-2021": LEADERBOARD_2021, "team-code-2021": TEAM_CODE_2021}
)


def macs_term(macs: float, baseline: Baseline = LEADERBOARD_2021) -> float:
    """MACs of one image relative to the baseline's.

    Raises:
        InputError: `macs` is negative or not a number.
    """
    if not 0 <= macs < math.inf:
        raise InputError(f"MACs {macs}: must be a number, 0 or more")
    return macs / baseline.macs


def f1_term(f1: float, baseline: Baseline = LEADERBOARD_2021) -> float:
    """What an F1 costs: 1 below 0.5, 0 at the baseline, negative above it.

    Raises:
        InputError: `f1` is outside 0..1 or not a number.
    """
    if not 0 <= f1 <= 1:
        raise InputError(f"F1 {f1}: must be a number from 0 to 1")
    if f1 < F1_FLOOR:
        return 1.0
    weight = 1.0 if f1 < baseline.f1 else 0.5
    return weight * (baseline.f1 - f1) / baseline.f1


def score(f1: float, macs: float, baseline: Baseline = LEADERBOARD_2021) -> float:
    """The score of a classifier with macro F1 `f1` (0..1) and `macs` MACs an image; smaller is better.

    Raises:
        InputError: an F1 outside 0..1, negative MACs, or not a number.
    """
    return macs_term(macs, baseline) + f1_term(f1, baseline)
