"""Choosing one trial among many."""

from __future__ import annotations

from collections.abc import Sequence

from wisp.score import F1_FLOOR
from wisp.search.candidate import Candidate, Trial


def choose(trials: Sequence[Trial], *, target_f1: float | None = None) -> Trial:
    """The trial with the lowest score; with `target_f1`, the cheapest that reaches it on validation.

    Below its floor (macro F1 0.5) the score is blind to F1 and would always take the cheapest, so such trials are
    left out. Where none reaches the floor, or the target, the one with the highest F1 is returned: the caller says
    so. Ties go to fewer MACs.

    Args:
        trials: at least one, all measured on the same validation photos.
        target_f1: macro F1 that is wanted, 0..1.
    """
    least_f1 = F1_FLOOR if target_f1 is None else target_f1
    reached = [trial for trial in trials if trial.measurement.f1_macro >= least_f1]
    if not reached:
        return max(trials, key=lambda trial: (trial.measurement.f1_macro, -trial.measurement.macs))
    if target_f1 is None:
        return min(reached, key=lambda trial: (trial.measurement.score, trial.measurement.macs))
    return min(reached, key=lambda trial: (trial.measurement.macs, -trial.measurement.f1_macro))


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
