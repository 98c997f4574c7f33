"""Dividing a time budget: how many candidates, how many epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wisp.search.candidate import Candidate


@dataclass(frozen=True)
class Plan:
    """These candidates, each for `epochs` epochs, dearest first.

    `seconds_per_epoch` is what one epoch of each was expected to take when the plan was made. `teacher` names the
    trial whose network all of them follow; None: they learn from the photos alone.
    """

    candidates: tuple[Candidate, ...]
    epochs: int
    seconds_per_epoch: tuple[float, ...]
    teacher: str | None = None


def makespan_seconds(durations: Sequence[float], workers: int) -> float:
    """Wall time of running tasks in the given order on `workers` equal workers, each free one taking the next.

    Seconds in, seconds out. Longest first is within 4/3 of the best possible (Graham, 1969).
    """
    free = [0.0] * workers
    for duration in durations:
        first = min(range(workers), key=free.__getitem__)
        free[first] += duration
    return max(free)


def plan_round(
    candidates: Sequence[Candidate],
    seconds_per_epoch: Sequence[float],
    *,
    budget_seconds: float,
    workers: int,
    overhead_seconds: float,
    min_epochs: int,
    max_epochs: int,
) -> Plan:
    """As many of the candidates as can be trained for `min_epochs`, and as many epochs as then fit, for all alike.

    Args:
        candidates: in order of interest; the last ones are given up first, the first one never.
        seconds_per_epoch: of each candidate, measured.
        budget_seconds: wall time for all of them.
        workers: how many are trained at the same time.
        overhead_seconds: what each costs beside its epochs (start of the process, export, evaluation).
        min_epochs: below this a network says little about itself; fewer only where a single one does not fit.
        max_epochs: more is not worth it.

    Raises:
        ValueError: there are no candidates.
    """
    for count in range(len(candidates), 0, -1):
        order = sorted(range(count), key=lambda i: -seconds_per_epoch[i])

        def fits(epochs: int, order: list[int] = order) -> bool:
            durations = [overhead_seconds + epochs * seconds_per_epoch[i] for i in order]
            return makespan_seconds(durations, workers) <= budget_seconds

        if fits(min_epochs) or count == 1:
            epochs = max_epochs
            while epochs > 1 and not fits(epochs):
                epochs -= 1
            return Plan(
                tuple(candidates[i] for i in order), epochs, tuple(seconds_per_epoch[i] for i in order)
            )
    raise ValueError("no candidates")
