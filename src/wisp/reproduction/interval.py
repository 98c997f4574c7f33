"""Does one more result belong to those that the seeds gave? A prediction interval answers (docs/reproduce.md).

If the F1 of trainings that differ by their seed alone are independent draws from one normal distribution, then
(y - mean) / (s sqrt(1 + 1/n)) of one further draw y has Student's t distribution with n - 1 degrees of freedom, where
mean and s are those of n draws (G. J. Hahn and W. Q. Meeker, "Statistical Intervals", 1991, section 4.7). The interval
widens by itself where there are few seeds: what two or three seeds cannot decide stays undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

LEVEL = 0.99  # an honest result is called not reproduced once in a hundred
MOST_SEEDS = 1000
FIRM_SPREAD = 10  # with fewer results their spread is itself uncertain: by a factor of two with three
FEWEST_SEEDS = 3  # asked for where one or none says nothing of the spread; two have quantiles beyond all use

Verdict = Literal["reproduced", "not reproduced", "undecided"]


@dataclass(frozen=True)
class Interval:
    """Where one further result lies, with probability `level`, if it comes from the same training.

    Attributes:
        n: results it was made from.
        mean: their mean.
        spread: their standard deviation (n - 1), but at least `resolution`.
        resolution: the smallest spread that the number of photos lets one see.
        low, high: the bounds.
        level: the probability.
    """

    n: int
    mean: float
    spread: float
    resolution: float
    low: float
    high: float
    level: float

    @property
    def half_width(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """What the seeds say of one claimed result.

    Attributes:
        verdict: `undecided` where the interval is too wide to say anything, or there is none.
        interval: None where fewer than two results are there.
        more_seeds: for `undecided`: how many further seeds should decide, if they spread like those that are there, or
            how many show first how they spread. None where no number of them would decide, or the verdict is another.
    """

    verdict: Verdict
    interval: Interval | None
    more_seeds: int | None = None


def one_photo(support: Sequence[int]) -> float:
    """By how much one answer changes the macro F1: that of a photo of the smallest class.

    Args:
        support: number of photos of each class; classes without any are left out.
    """
    present = [count for count in support if count]
    return 1.0 / (len(present) * min(present))


def prediction_interval(results: Sequence[float], *, resolution: float, level: float = LEVEL) -> Interval:
    """The two-sided interval for one further result.

    Args:
        results: at least two.
        resolution: the least spread to reckon with. Equal results do not mean that there is no spread: half of what
            one photo changes is not seen.
        level: its probability.

    Raises:
        ValueError: fewer than two results.
    """
    n = len(results)
    if n < 2:
        raise ValueError(f"{n} results have no spread")
    mean = math.fsum(results) / n
    spread = max(math.sqrt(math.fsum((value - mean) ** 2 for value in results) / (n - 1)), resolution)
    half = _half_width(n, spread, level)
    return Interval(n, mean, spread, resolution, mean - half, mean + half, level)


def decide(
    claimed: float, results: Sequence[float], *, resolution: float, within: float, level: float = LEVEL
) -> Decision:
    """Whether a claimed result belongs to those that retraining gave.

    Outside the interval it is not reproduced. Inside it is reproduced, if the interval is at most `within` to either
    side: a wider one would also hold what differs by that much, and proves nothing.

    Args:
        claimed: the claimed F1.
        results: the F1 of trainings that are independent of it.
        resolution: half of what one photo changes (`one_photo`).
        within: the difference of F1 that must not go unnoticed.
        level: probability that an honest result lies inside.
    """
    if len(results) < 2:
        return Decision("undecided", None, FEWEST_SEEDS - len(results))
    interval = prediction_interval(results, resolution=resolution, level=level)
    if claimed not in interval:
        return Decision("not reproduced", interval)
    if interval.half_width <= within:
        return Decision("reproduced", interval)
    return Decision("undecided", interval, _more_seeds(interval, within))


def _more_seeds(interval: Interval, within: float) -> int | None:
    """How many more results make the interval narrow enough, if the spread stays; at first, for a firmer spread."""
    last = FIRM_SPREAD if interval.n < FIRM_SPREAD else MOST_SEEDS
    for n in range(interval.n + 1, last + 1):
        if _half_width(n, interval.spread, interval.level) <= within:
            return n - interval.n
    return last - interval.n if interval.n < FIRM_SPREAD else None


def _half_width(n: int, spread: float, level: float) -> float:
    return student_quantile((1 + level) / 2, n - 1) * spread * math.sqrt(1 + 1 / n)


@lru_cache(maxsize=4096)
def student_quantile(probability: float, degrees: int) -> float:
    """The value that Student's t with `degrees` degrees of freedom stays below with this probability (above 1/2)."""
    low, high = 0.0, 1.0
    while student_probability(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if student_probability(middle, degrees) < probability else (low, middle)
    return high


def student_probability(value: float, degrees: int) -> float:
    """Probability that Student's t stays below `value`, which is at least 0.

    The finite sums for whole degrees of freedom (M. Abramowitz and I. A. Stegun, "Handbook of Mathematical
    Functions", 1964, 26.7.3 and 26.7.4).
    """
    angle = math.atan2(value, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    if degrees % 2:
        total, term = 0.0, cosine
        for k in range(1, (degrees - 1) // 2 + 1):
            total += term
            term *= cosine * cosine * 2 * k / (2 * k + 1)
        inside = 2 / math.pi * (angle + sine * total)
    else:
        total, term = 0.0, 1.0
        for k in range(1, degrees // 2 + 1):
            total += term
            term *= cosine * cosine * (2 * k - 1) / (2 * k)
        inside = sine * total
    return (1 + inside) / 2
