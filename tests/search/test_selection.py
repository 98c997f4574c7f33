from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.models import named
from wisp.records import Measurement
from wisp.score import score
from wisp.search.candidate import Candidate, Trial
from wisp.search.selection import best_candidates, choose, pareto_front


def trial(f1: float, macs: int, name: str = "", epochs: int = 10) -> Trial:
    candidate = Candidate(name or f"{macs}-{f1}", named("wisp-500k", 3), 32)
    return Trial(
        candidate,
        epochs,
        Measurement(f1, f1, 100, "val", macs, 1000, score(f1, macs)),
    )


trials = st.lists(
    st.builds(
        trial,
        st.sampled_from([0.1, 0.3, 0.49, 0.5, 0.6, 0.7, 0.9]),
        st.integers(1, 20).map(lambda m: m * 10**5),
    ),
    min_size=1,
    max_size=8,
)


def test_the_lowest_score_is_chosen() -> None:
    dear, good, cheap = trial(0.80, 4_000_000), trial(0.78, 1_000_000), trial(0.6, 100_000)
    assert choose([dear, good, cheap]) is good
    assert good.measurement.score == min(each.measurement.score for each in (dear, good, cheap))


def test_below_the_floor_the_most_accurate_is_chosen_not_the_cheapest() -> None:
    cheap, accurate = trial(0.1, 100_000), trial(0.45, 2_000_000)
    assert cheap.measurement.score < accurate.measurement.score
    assert choose([cheap, accurate]) is accurate


def test_one_at_the_floor_beats_any_below_it() -> None:
    below, at = trial(0.49, 1), trial(0.5, 13_000_000)
    assert below.measurement.score < at.measurement.score
    assert choose([below, at]) is at


def test_the_same_network_trained_twice_counts_with_its_better_training() -> None:
    short, long = trial(0.6, 10**6, "n"), trial(0.7, 10**6, "n", 50)
    assert choose([short, long]) is long
    assert choose([long, trial(0.5, 10**6, "n", 90)]) is long


def measured(f1: float, macs: int, low: float) -> Trial:
    plain = trial(f1, macs)
    return replace(plain, measurement=replace(plain.measurement, f1_ci95=(low, f1 + 0.05)))


def test_one_safely_above_the_floor_beats_any_that_may_fall_below_it() -> None:
    risky, safe, safer = (
        measured(0.53, 100_000, 0.48),
        measured(0.57, 900_000, 0.52),
        measured(0.7, 10**7, 0.66),
    )
    assert risky.measurement.score < safe.measurement.score
    assert choose([risky, safe, safer]) is safe
    assert choose([risky, safe, safer], target_f1=0.52) is risky  # a target is the user's own margin
    # none is safe: the safest, not the cheapest; a point that is high with a wide interval is no safer
    wide = measured(0.58, 50_000, 0.45)
    assert choose([risky, wide]) is risky
    assert best_candidates([wide, risky, safe], 3) == [each.candidate for each in (safe, risky, wide)]


def test_target_takes_the_cheapest_that_reaches_it() -> None:
    dear, cheap, weak = trial(0.9, 4_000_000), trial(0.71, 500_000), trial(0.69, 100_000)
    assert choose([dear, cheap, weak], target_f1=0.7) is cheap
    assert choose([dear, cheap, weak], target_f1=0.71) is cheap  # exactly the target reaches it
    assert choose([dear, cheap, weak], target_f1=0.1) is weak


def test_target_out_of_reach_takes_the_most_accurate() -> None:
    assert choose([trial(0.9, 4_000_000), trial(0.2, 1)], target_f1=0.95).measurement.f1_macro == 0.9


def test_ties_go_to_fewer_macs() -> None:
    assert choose([trial(0.4, 200), trial(0.4, 100)]).measurement.macs == 100
    assert choose([trial(0.4, 200), trial(0.4, 100)], target_f1=0.5).measurement.macs == 100


@given(trials)
def test_no_trial_at_the_floor_has_a_lower_score(every: list[Trial]) -> None:
    chosen = choose(every)
    sound = [each for each in every if each.measurement.f1_macro >= 0.5]
    assert chosen in (sound or every)
    assert all(chosen.measurement.score <= each.measurement.score for each in sound)


@given(trials, st.integers(1, 8), st.none() | st.floats(0, 1))
def test_best_candidates_are_different_and_begin_with_the_chosen(
    every: list[Trial], count: int, target: float | None
) -> None:
    best = best_candidates(every, count, target_f1=target)
    assert best[0] == choose(every, target_f1=target).candidate
    assert len(best) == min(count, len({each.candidate for each in every}))
    assert len(set(best)) == len(best)


@given(trials)
def test_front_is_what_nothing_beats(every: list[Trial]) -> None:
    """Brute force over all pairs, by the definition."""

    def beaten(one: Trial) -> bool:
        return any(
            other.measurement.macs <= one.measurement.macs
            and other.measurement.f1_macro >= one.measurement.f1_macro
            and other.measurement != one.measurement
            for other in every
        )

    front = pareto_front(every)
    assert {(each.measurement.macs, each.measurement.f1_macro) for each in front} == {
        (each.measurement.macs, each.measurement.f1_macro) for each in every if not beaten(each)
    }
    assert front == sorted(front, key=lambda each: each.measurement.macs)


def test_choosing_among_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose([])
