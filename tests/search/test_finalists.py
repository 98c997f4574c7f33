from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wisp.search.finalists import choose_finalists
from wisp.search.front import Point

# (macs, f1) of short trainings; by score without its floor: 3, 4, 5, 6, 2, 1, 0.
POINTS: list[Point] = [
    (12_000, 0.48),
    (80_000, 0.55),
    (250_000, 0.60),
    (340_000, 0.76),
    (780_000, 0.77),
    (1_250_000, 0.70),
    (2_900_000, 0.79),
]
ALIKE: Point = (350_000, 0.75)


def test_three_of_four_by_score_the_fourth_from_the_ends_of_the_front() -> None:
    assert choose_finalists(POINTS, 3) == [3, 4, 5]
    assert choose_finalists(POINTS, 4) == [3, 4, 5, 1]  # 0 is farther away, and below the floor
    assert set(choose_finalists(POINTS, 7)) == set(range(7))
    assert choose_finalists(POINTS, 20)[:4] == choose_finalists(POINTS, 4)


def test_of_two_that_cost_the_same_the_better_one() -> None:
    points = [*POINTS, ALIKE]
    assert choose_finalists(points, 3) == [3, 4, 5]
    assert len(choose_finalists(points, 8)) == 8  # where all have their turn, so has it


def test_nobody_is_trained_longer_who_will_stay_below_the_floor_unless_all_are_there() -> None:
    assert 0 not in choose_finalists([(100_000, 0.2), *POINTS], 8)
    low = [(100_000.0, 0.1), (200_000.0, 0.3), (300_000.0, 0.2)]
    assert choose_finalists(low, 1) == [1]
    assert choose_finalists([], 4) == []


def test_a_target_prefers_the_cheap_that_nearly_reach_it() -> None:
    points = [(100_000, 0.5), (200_000, 0.69), (300_000, 0.68), (900_000, 0.8), (950_000, 0.4)]
    assert choose_finalists(points, 2, target_f1=0.7) == [1, 2]
    assert choose_finalists(points, 1, target_f1=0.9) == choose_finalists(points, 1)


@given(
    st.lists(st.tuples(st.floats(1e4, 1e7), st.floats(0.0, 1.0)), max_size=30),
    st.integers(1, 12),
    st.one_of(st.none(), st.floats(0.3, 0.9)),
)
def test_finalists_are_different_and_there_is_one_wherever_there_is_a_point(
    points: list[Point], count: int, target: float | None
) -> None:
    chosen = choose_finalists(points, count, target_f1=target)
    assert len(set(chosen)) == len(chosen) <= count
    assert bool(chosen) == bool(points)
    promising = sum(f1 >= 0.4 for _, f1 in points)
    assert len(chosen) == min(count, promising or len(points))
    if target is None and chosen:
        ours = points[chosen[0]]  # nobody else is both cheaper and better
        assert not any(
            macs < ours[0] and f1 > ours[1] for macs, f1 in points if math.isfinite(macs) and f1 >= 0.4
        )
