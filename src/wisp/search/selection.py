"""Choosing one trial among many."""

from __future__ import annotations

from collections.abc import Sequence

from wisp.records import Measurement
from wisp.score import F1_FLOOR
from wisp.search.candidate import Candidate, Trial


def choose(trials: Sequence[Trial], *, target_f1: float | None = None) -> Trial:
    """The trial with the lowest score; with `target_f1`, the cheapest that reaches it on validation.

    Below its floor (macro F1 0.5) the score is blind to F1 and would always take the cheapest. So only trials that are
    safely above it compete: the 95 % interval of their F1 lies above, as far as it was measured. Where there is none,
    the one with the highest lower bound is returned, and where none reaches the target the one with the highest F1: the
    caller says so. Ties go to fewer MACs.

    Args:
        trials: at least one, all measured on the same validation photos.
        target_f1: macro F1 that is wanted, 0..1.
    """
    if target_f1 is not None:
        reached = [trial for trial in trials if trial.measurement.f1_macro >= target_f1]
        if reached:
            return min(reached, key=lambda trial: (trial.measurement.macs, -trial.measurement.f1_macro))
        return max(trials, key=lambda trial: (trial.measurement.f1_macro, -trial.measurement.macs))
    safe = [trial for trial in trials if is_safe(trial.measurement)]
    if safe:
        return min(safe, key=lambda trial: (trial.measurement.score, trial.measurement.macs))
    return max(trials, key=lambda trial: (_lower_bound(trial.measurement), -trial.measurement.macs))


def is_safe(measurement: Measurement) -> bool:
    """Whether F1 is above the score's floor for all that the photos can tell."""
    return _lower_bound(measurement) >= F1_FLOOR


def _lower_bound(measurement: Measurement) -> float:
    """Of F1's 95 % interval; F1 itself where none was measured."""
    interval = measurement.f1_ci95
    return measurement.f1_macro if interval is None else min(interval[0], measurement.f1_macro)


def best_candidates(
    trials: Sequence[Trial], count: int, *, target_f1: float | None = None
) -> list[Candidate]:
    """Up to `count` different candidates, in the order in which `choose` would take their trials."""
    left = list(trials)
    best: dict[Candidate, None] = {}
    while left and len(best) < count:
        winner = choose(left, target_f1=target_f1)
        left.remove(winner)
        best[winner.candidate] = None
    return list(best)


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both MACs and F1, from the cheapest to the most accurate."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.measurement.macs, -trial.measurement.f1_macro)):
        if not front or trial.measurement.f1_macro > front[-1].measurement.f1_macro:
            front.append(trial)
    return front
