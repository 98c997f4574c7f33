from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.models import named
from wisp.search.candidate import Candidate
from wisp.search.planning import makespan_seconds, plan_round

CANDIDATES = [Candidate(f"candidate-{i}", named("wisp-500k", 3), 32) for i in range(6)]
seconds = st.floats(0.01, 50.0)


def plan(speeds, budget, workers=2, overhead=2.0, min_epochs=5, max_epochs=200):
    return plan_round(
        CANDIDATES[: len(speeds)],
        speeds,
        budget_seconds=budget,
        workers=workers,
        overhead_seconds=overhead,
        min_epochs=min_epochs,
        max_epochs=max_epochs,
    )


def wall(made, workers, overhead):
    return makespan_seconds([overhead + made.epochs * each for each in made.seconds_per_epoch], workers)


# Makespan


def test_one_worker_takes_the_sum() -> None:
    assert makespan_seconds([3.0, 4.0, 5.0], 1) == 12.0


def test_enough_workers_take_the_longest() -> None:
    assert makespan_seconds([3.0, 4.0, 5.0], 3) == 5.0


def test_a_free_worker_takes_the_next() -> None:
    assert makespan_seconds([5.0, 3.0, 3.0, 2.0], 2) == 7.0  # 5 + 2 beside 3 + 3
    assert makespan_seconds([], 2) == 0.0


@given(st.lists(st.floats(0.0, 100.0), max_size=7), st.integers(1, 4))
def test_list_scheduling_is_what_a_simulation_by_time_gives(durations: list[float], workers: int) -> None:
    """Brute force: go from one end of a task to the next, and hand out the tasks that wait."""
    waiting, running, now = list(durations), [], 0.0
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(now + waiting.pop(0))
        now = min(running)
        running.remove(now)
    assert makespan_seconds(durations, workers) == pytest.approx(now)


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=6), st.integers(1, 3))
def test_longest_first_is_within_four_thirds_of_the_best(durations: list[float], workers: int) -> None:
    best = min(
        max(
            sum(d for d, w in zip(durations, places, strict=True) if w == worker) for worker in range(workers)
        )
        for places in itertools.product(range(workers), repeat=len(durations))
    )
    longest_first = makespan_seconds(sorted(durations, reverse=True), workers)
    assert best * (1 - 1e-9) <= longest_first <= best * (4 / 3 - 1 / (3 * workers)) * (1 + 1e-9)


# Plans


def test_one_worker_in_closed_form() -> None:
    made = plan([2.0, 1.0], budget=100.0, workers=1, overhead=5.0)
    assert made.epochs == (100 - 2 * 5) // 3
    assert made.candidates == (CANDIDATES[0], CANDIDATES[1])


def test_dearest_first() -> None:
    made = plan([1.0, 3.0, 2.0], budget=1000.0)
    assert made.candidates == (CANDIDATES[1], CANDIDATES[2], CANDIDATES[0])
    assert made.seconds_per_epoch == (3.0, 2.0, 1.0)


def test_the_last_of_interest_is_given_up_first() -> None:
    made = plan([1.0, 1.0, 1.0, 1.0], budget=15.0, workers=1)
    assert set(made.candidates) == set(CANDIDATES[:2])


def test_epochs_are_capped() -> None:
    assert plan([0.01], budget=1e9, max_epochs=77).epochs == 77


def test_no_candidates() -> None:
    with pytest.raises(ValueError, match="no candidates"):
        plan([], budget=10.0)


@given(
    st.lists(seconds, min_size=1, max_size=6),
    st.floats(-10.0, 2000.0),
    st.integers(1, 4),
    st.floats(0.0, 10.0),
)
def test_a_plan_fits_and_is_as_long_as_it_can_be(
    speeds: list[float], budget: float, workers: int, overhead: float
) -> None:
    made = plan(speeds, budget, workers, overhead)
    assert CANDIDATES[0] in made.candidates
    assert 1 <= made.epochs <= 200
    if made.epochs > 1:
        assert wall(made, workers, overhead) <= budget
    else:  # nothing fits: only the first candidate, the least that there is
        assert made.candidates == (CANDIDATES[0],)
    if made.epochs < 200 and wall(made, workers, overhead) <= budget:
        longer = [overhead + (made.epochs + 1) * each for each in made.seconds_per_epoch]
        assert makespan_seconds(longer, workers) > budget
    if len(made.candidates) > 1:
        assert made.epochs >= 5


@given(
    st.lists(seconds, min_size=1, max_size=6), st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.integers(1, 3)
)
def test_more_time_never_means_fewer_candidates(
    speeds: list[float], budget: float, more: float, workers: int
) -> None:
    smaller, larger = plan(speeds, budget, workers), plan(speeds, budget + more, workers)
    assert len(larger.candidates) >= len(smaller.candidates)
    if len(larger.candidates) == len(smaller.candidates):
        assert larger.epochs >= smaller.epochs


@given(seconds, st.floats(0.0, 2000.0))
def test_one_candidate_in_closed_form(speed: float, budget: float) -> None:
    expected = min(200, max(1, math.floor((budget - 2.0) / speed + 1e-9)))
    assert abs(plan([speed], budget).epochs - expected) <= 1  # rounding at the border
