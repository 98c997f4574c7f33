"""The test that decides: its quantiles against another implementation, its size and power by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wisp.reproduction.interval import (
    FEWEST_SEEDS,
    FIRM_SPREAD,
    decide,
    one_photo,
    prediction_interval,
    student_probability,
    student_quantile,
)

TINY = 1e-9


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 29, 30, 99, 998, 999])
def test_students_t_is_scipys(degrees: int) -> None:
    for probability in (0.6, 0.9, 0.975, 0.995, 0.9995):
        quantile = student_quantile(probability, degrees)
        assert quantile == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8)
        assert student_probability(quantile, degrees) == pytest.approx(probability, abs=1e-12)
    assert student_probability(0.0, degrees) == 0.5


def test_closed_forms_of_one_and_two_degrees() -> None:
    assert student_quantile(0.995, 1) == pytest.approx(math.tan(math.pi * 0.495), rel=1e-9)
    p = 0.995
    assert student_quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-9)


def test_the_interval_of_known_numbers() -> None:
    interval = prediction_interval([0.80, 0.82, 0.84], resolution=0.0)
    assert interval.mean == pytest.approx(0.82)
    assert interval.spread == pytest.approx(0.02)
    assert interval.half_width == pytest.approx(9.924843 * 0.02 * math.sqrt(4 / 3), rel=1e-6)
    assert 0.82 in interval
    assert 1.06 not in interval
    with pytest.raises(ValueError, match="no spread"):
        prediction_interval([0.8], resolution=0.0)


# docs/reproduce.md has this table: half width of the interval in standard deviations between seeds
@pytest.mark.parametrize(
    ("n", "half"), [(2, 78.0), (3, 11.5), (4, 6.5), (5, 5.0), (6, 4.4), (8, 3.7), (10, 3.4)]
)
def test_what_so_many_seeds_can_tell(n: int, half: float) -> None:
    interval = prediction_interval([0.0, *[1.0] * (n - 1)], resolution=0.0)
    assert interval.half_width / interval.spread == pytest.approx(half, abs=0.05)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_an_honest_result_lies_outside_once_in_a_hundred(n: int) -> None:
    random = np.random.default_rng(n)
    trials = 20_000
    outside = 0
    for row in random.normal(0.8, 0.01, (trials, n + 1)):
        *results, claimed = row.tolist()
        outside += decide(claimed, results, resolution=TINY, within=1.0).verdict == "not reproduced"
    assert outside / trials == pytest.approx(0.01, abs=4 * math.sqrt(0.01 * 0.99 / trials))


# docs/reproduce.md has this table: the excess, in standard deviations, that is found nine times in ten
@pytest.mark.parametrize(
    ("n", "excess"), [(2, 128), (3, 17.5), (4, 9.7), (5, 7.4), (6, 6.4), (8, 5.4), (10, 5.0)]
)
def test_power_against_an_inflated_result(n: int, excess: float) -> None:
    random = np.random.default_rng(n)
    trials = 4000
    found = 0
    for row in random.normal(0.0, 1.0, (trials, n + 1)):
        *results, claimed = row.tolist()
        found += decide(claimed + excess, results, resolution=TINY, within=1.0).verdict == "not reproduced"
    assert found / trials == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / trials))


def test_more_seeds_until_decided_keeps_honest_results_safe() -> None:
    """Three seeds, then as many as are asked for: the whole procedure, as its user follows it."""
    random = np.random.default_rng(0)
    trials, wrong, undecided, used = 3000, 0, 0, 0
    for _ in range(trials):
        draws = random.normal(0.8, 0.01, 61).tolist()
        claimed, n = draws.pop(), 3
        decision = decide(claimed, draws[:n], resolution=0.0002, within=0.05)
        while decision.verdict == "undecided" and decision.more_seeds and n + decision.more_seeds <= 60:
            n += decision.more_seeds
            decision = decide(claimed, draws[:n], resolution=0.0002, within=0.05)
        wrong += decision.verdict == "not reproduced"
        undecided += decision.verdict == "undecided"
        used += n
    assert wrong / trials < 0.02
    assert undecided / trials < 0.002  # ten seeds that happened to spread twice as widely as they do
    assert used / trials < 6.5


def test_what_is_far_off_is_never_called_reproduced() -> None:
    """A verdict of `reproduced` bounds the difference, whatever the spread."""
    random = np.random.default_rng(1)
    for spread in (0.001, 0.005, 0.02, 0.1):
        for _ in range(300):
            results = random.normal(0.7, spread, 5).tolist()
            claimed = float(np.mean(results)) + 0.051
            assert decide(claimed, results, resolution=TINY, within=0.05).verdict != "reproduced"


@pytest.mark.parametrize("spread", [0.005, 0.01, 0.019])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_seeds_that_are_asked_for_are_just_enough(spread: float, n: int) -> None:
    shape = np.linspace(-1, 1, n)
    results = (0.8 + spread * shape / shape.std(ddof=1)).tolist()
    decision = decide(0.8, results, resolution=TINY, within=0.05)
    if decision.verdict == "reproduced":
        assert decision.more_seeds is None
        return
    assert decision.verdict == "undecided"
    assert decision.more_seeds is not None

    def half(k: int) -> float:
        return float(stats.t.ppf(0.995, k - 1) * spread * math.sqrt(1 + 1 / k))

    enough = n + decision.more_seeds
    if enough == FIRM_SPREAD:  # first it is to be seen how they spread
        assert half(FIRM_SPREAD - 1) > 0.05
        return
    assert half(enough) <= 0.05 < half(enough - 1)


def test_some_spreads_no_number_of_seeds_overcomes() -> None:
    results = [0.4, 0.45, 0.5, 0.55, 0.6] * 2
    decision = decide(0.5, results, resolution=0.0, within=0.05)
    assert decision.verdict == "undecided"
    assert decision.more_seeds is None
    assert decision.interval is not None


def test_a_wide_spread_of_few_seeds_is_not_believed_at_once() -> None:
    decision = decide(0.5, [0.4, 0.5, 0.6], resolution=0.0, within=0.05)
    assert (decision.verdict, decision.more_seeds) == ("undecided", 7)


def test_one_result_or_none_asks_for_the_fewest() -> None:
    assert decide(0.8, [], resolution=0.0, within=0.05).more_seeds == FEWEST_SEEDS
    assert decide(0.8, [0.8], resolution=0.0, within=0.05).more_seeds == FEWEST_SEEDS - 1


def test_equal_results_do_not_make_an_interval_of_nothing() -> None:
    photo = one_photo([60, 60, 60])
    assert photo == pytest.approx(1 / 180)
    decision = decide(1.0 - photo, [1.0] * 3, resolution=photo / 2, within=0.05)
    assert decision.verdict == "reproduced"  # one photo apart
    assert decide(0.9, [1.0] * 3, resolution=photo / 2, within=0.05).verdict == "not reproduced"
    few = one_photo([4, 5, 0, 6])  # so few photos that equal results prove nothing
    assert few == pytest.approx(1 / 12)
    assert decide(1.0, [1.0] * 3, resolution=few / 2, within=0.05).verdict == "undecided"
    # even a hundred equal results allow for one photo
    assert decide(1.0 - photo, [1.0] * 100, resolution=photo / 2, within=0.05).verdict == "reproduced"


def test_not_a_number_is_never_reproduced() -> None:
    assert decide(math.nan, [0.8, 0.81, 0.82], resolution=TINY, within=0.5).verdict == "not reproduced"
