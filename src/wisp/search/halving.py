"""Successive halving without waiting: many networks for a few epochs, the best third of them for three times as many.

ASHA (Li et al., 2020) for two objectives: promoted are the first in the order of `front.preference` (MO-ASHA,
Schmucker et al., 2021). With networks drawn at random it is the baseline that every other strategy must beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wisp.search.front import preference
from wisp.search.sampling import Sampler
from wisp.search.space import Genes
from wisp.search.strategy import Proposal, Result

_REDRAWS = 20


class Source(Protocol):
    """Where new networks come from."""

    def draw(self) -> Genes:
        """A network to try."""
        ...

    def observe(self, genes: Genes, result: Result) -> None:
        """What the first, short training of a network showed. Failures are told too."""
        ...


class RandomSource:
    """Networks drawn at random, evenly over the orders of magnitude of their cost."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._sampler, self._random = sampler, np.random.default_rng(seed)

    def draw(self) -> Genes:
        """See `Source`."""
        return self._sampler.draw(self._random)

    def observe(self, genes: Genes, result: Result) -> None:
        """Random networks learn nothing."""


@dataclass
class _Rung:
    """Trainings that reached the same number of epochs: number -> (genes, result), and who was promoted."""

    done: dict[int, tuple[Genes, Result]] = field(default_factory=dict)
    promoted: set[int] = field(default_factory=set)
    best: list[int] = field(default_factory=list)  # as of the last look, when so many were done
    looked_at: int = 0


class Halving:
    """Successive halving over the networks of a source.

    Args:
        source: gives new networks.
        rungs: epochs after which a training is judged, all in all, growing; the last rung is not promoted further.
        factor: one of so many is promoted.

    Raises:
        ValueError: the rungs do not grow.
    """

    def __init__(self, source: Source, rungs: Sequence[int], factor: int = 3) -> None:
        if not rungs or list(rungs) != sorted(set(rungs)) or rungs[0] < 1:
            raise ValueError(f"rungs {tuple(rungs)}: must grow, from 1 epoch on")
        if factor < 2:
            raise ValueError(f"factor {factor}: at least 2")
        self._source, self._epochs, self._factor = source, tuple(rungs), factor
        self._rungs = [_Rung() for _ in rungs]
        self._seen: set[Genes] = set()
        self._running: dict[tuple[Genes, int | None], int] = {}  # proposal -> its rung

    def ask(self) -> Proposal | None:
        """See `Strategy`: a promotion where one is due, the highest first, else a new network."""
        for level in range(len(self._rungs) - 2, -1, -1):
            number = self._due(self._rungs[level])
            if number is not None:
                self._rungs[level].promoted.add(number)
                genes, _ = self._rungs[level].done[number]
                self._running[genes, number] = level + 1
                return Proposal(genes, self._epochs[level + 1] - self._epochs[level], start=number)
        genes = self._source.draw()
        for _ in range(_REDRAWS):
            if genes not in self._seen:
                break
            genes = self._source.draw()
        self._seen.add(genes)
        self._running[genes, None] = 0
        return Proposal(genes, self._epochs[0])

    def tell(self, number: int, proposal: Proposal, result: Result) -> None:
        """See `Strategy`."""
        level = self._running[proposal.genes, proposal.start]
        if level == 0:
            self._source.observe(proposal.genes, result)
        if not result.error:
            self._rungs[level].done[number] = (proposal.genes, result)

    def _due(self, rung: _Rung) -> int | None:
        """Who is among the best of the rung and not promoted yet."""
        count = len(rung.done) // self._factor
        if count <= len(rung.promoted):
            return None
        if rung.looked_at != len(rung.done):
            numbers = list(rung.done)
            points = [(result.macs, result.f1) for _, result in rung.done.values()]
            rung.best = [numbers[index] for index in preference(points, count)]
            rung.looked_at = len(rung.done)
        return next((number for number in rung.best if number not in rung.promoted), None)
