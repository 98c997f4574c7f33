"""The front by closed forms, and fast against slow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.score import score
from wisp.search.front import SAFE_F1, Point, hypervolume, pareto, preference, ranks

LEAST, MOST = 1e4, 1e6
points = st.lists(
    st.tuples(
        st.sampled_from([1e3, 1e4, 3e4, 1e5, 2e5, 5e5, 9e5, 1e6, 2e6]),
        st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.65, 0.7, 1.0]),
    ),
    max_size=9,
)


def volume(given: list[Point]) -> float:
    return hypervolume(given, least_macs=LEAST, most_macs=MOST)


def beats(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def test_closed_forms() -> None:
    assert volume([]) == 0
    assert volume([(LEAST, 0.8)]) == pytest.approx(0.8)
    assert volume([(1e5, 0.8)]) == pytest.approx(0.8 / 2)  # half way on the logarithmic scale
    assert volume([(1e5, 0.8), (LEAST, 0.4)]) == pytest.approx((0.4 + 0.8) / 2)
    assert volume([(1, 1.0)]) == pytest.approx(1.0)  # cheaper than the least counts as the least
    assert volume([(MOST, 1.0), (2 * MOST, 1.0)]) == 0


@given(points)
def test_volume_is_the_mean_of_the_best_f1(given: list[Point]) -> None:
    """The definition, on a fine grid of budgets."""
    budgets = np.exp(np.linspace(math.log(LEAST), math.log(MOST), 2001))
    middles = np.sqrt(budgets[:-1] * budgets[1:])
    mean = np.mean([max((f1 for macs, f1 in given if macs <= budget), default=0.0) for budget in middles])
    assert volume(given) == pytest.approx(mean, abs=2e-3)


@given(points, st.tuples(st.floats(1e3, 2e6), st.floats(0, 1)))
def test_one_more_point_never_takes_away(given: list[Point], more: Point) -> None:
    assert volume([*given, more]) >= volume(given) - 1e-12


@given(points)
def test_front_is_what_nothing_beats(given: list[Point]) -> None:
    front = pareto(given)
    assert {given[i] for i in front} == {p for p in given if not any(beats(other, p) for other in given)}
    assert [given[i][0] for i in front] == sorted({given[i][0] for i in front})


@given(points)
def test_ranks_by_their_definition(given: list[Point]) -> None:
    rank = ranks(given)
    for i, point in enumerate(given):
        above = [rank[j] for j, other in enumerate(given) if beats(other, point)]
        assert rank[i] == max(above, default=-1) + 1


@given(points)
def test_preference_is_by_rank_and_begins_with_the_lowest_score_of_the_front(given: list[Point]) -> None:
    order = preference(given)
    assert sorted(order) == list(range(len(given)))
    assert [preference(given, count) for count in range(len(given))] == [order[:n] for n in range(len(given))]
    rank = ranks(given)
    assert [rank[i] for i in order] == sorted(rank)
    if given:
        front = [p for i, p in enumerate(given) if rank[i] == 0]
        sound = [score(f1, macs) for macs, f1 in front if f1 >= SAFE_F1]
        macs, f1 = given[order[0]]
        if sound:
            assert score(f1, macs) == min(sound)
        else:  # the score is, or may be, blind there, and would take the cheapest
            assert f1 == max(f1 for _, f1 in front)


def test_one_near_the_floor_waits() -> None:
    points = [(50_000.0, 0.53), (2_000_000.0, 0.56), (4_000_000.0, 0.6)]
    assert score(0.53, 50_000.0) < score(0.56, 2_000_000.0)
    assert preference(points)[0] == 1
    assert preference(points[:1]) == [0]


def test_preference_covers_the_front() -> None:
    front = [(10.0 ** (4 + i / 10), 0.5 + i / 100) for i in range(21)]
    chosen = sorted(preference(front)[:5])
    assert chosen[0] == 0
    assert chosen[-1] >= 19
    assert max(b - a for a, b in itertools.pairwise(chosen)) <= 10


@pytest.mark.parametrize(("least", "most"), [(0, 1), (2, 1), (1, 1)])
def test_bounds(least: float, most: float) -> None:
    with pytest.raises(ValueError, match="least_macs"):
        hypervolume([], least_macs=least, most_macs=most)
