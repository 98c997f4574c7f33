"""Choosing one trial among many."""

from __future__ import annotations

from collections.abc import Sequence

from wisp.search.candidate import Trial


def choose(trials: Sequence[Trial], *, target_f1: float | None = None) -> Trial:
    """The trial with the lowest score; with `target_f1`, the cheapest that reaches it on validation.

    Where none reaches the target, the one with the highest F1 is returned: the caller says so. Ties go to fewer MACs.

    Args:
        trials: at least one, all measured on the same validation photos.
        target_f1: macro F1 that is wanted, 0..1.
    """
    if target_f1 is None:
        return min(trials, key=lambda trial: (trial.measurement.score, trial.measurement.macs))
    reached = [trial for trial in trials if trial.measurement.f1_macro >= target_f1]
    if reached:
        return min(reached, key=lambda trial: (trial.measurement.macs, -trial.measurement.f1_macro))
    return max(trials, key=lambda trial: (trial.measurement.f1_macro, -trial.measurement.macs))


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both MACs and F1, from the cheapest to the most accurate."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.measurement.macs, -trial.measurement.f1_macro)):
        if not front or trial.measurement.f1_macro > front[-1].measurement.f1_macro:
            front.append(trial)
    return front
