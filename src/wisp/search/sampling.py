"""Drawing networks that keep the limits, evenly over the orders of magnitude of cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wisp.errors import RecipeError
from wisp.search.limits import Limits
from wisp.search.space import Genes, Space

# Where nothing limits them, networks are drawn up to this many MACs: five times what scores best on waste.
_MOST_MACS = 5_000_000
_TRIES = 24


def feasible_sizes(space: Space, limits: Limits) -> tuple[int, ...]:
    """Input sizes of the space at which some network keeps the limits, latency aside; larger images cost more."""

    def is_feasible(size: int) -> bool:
        part = replace(space, image_size=(size,))
        networks = part.cheapest(memory=limits.memory_bytes is not None)
        return any(limits.excess(part.cost(genes)) <= 1 for genes in networks)

    return tuple(itertools.takewhile(is_feasible, sorted(space.image_size)))


@dataclass
class Sampler:
    """The part of a space that keeps the limits.

    Raises:
        RecipeError: there is none; the message names the nearest feasible values.
    """

    space: Space
    limits: Limits = field(default_factory=Limits)
    _haven: Genes = field(init=False, repr=False)
    _latencies: dict[Genes, float] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        # Of the cheapest networks the one that is nearest to the limits; among equals the one with the fewest MACs.
        def distance(genes: Genes) -> tuple[float, int]:
            cost = self.space.cost(genes)
            return max(1.0, self.limits.excess(cost)), cost.macs_as_trained

        cheapest = list(self.space.cheapest(memory=self.limits.memory_bytes is not None))
        self._haven = min(cheapest, key=distance)
        cost = self.space.cost(self._haven)
        if self.limits.excess(cost) > 1:
            raise RecipeError(self.limits.explain(cost))
        if self.limits.latency_ms is not None:
            self._haven = self._fast_enough(sorted(cheapest, key=distance))

    def _fast_enough(self, networks: Sequence[Genes]) -> Genes:
        """Of each stem the first network, of these the first within all limits: fewer MACs can take longer."""
        stem = [axis.name for axis in self.space.axes].index("stem")
        first: dict[int, Genes] = {}
        for genes in networks:
            if self.limits.excess(self.space.cost(genes)) <= 1:
                first.setdefault(genes[stem], genes)
        for genes in first.values():
            if self.is_feasible(genes):
                return genes
        raise RecipeError(
            f"--max-latency {self.limits.latency_ms:g}: no network of the space is that fast here; the fastest of the "
            f"cheapest takes {min(map(self._latency, first.values())):.3g} ms"
        )

    @property
    def haven(self) -> Genes:
        """A network that keeps the limits, among the cheapest of the space."""
        return self._haven

    def is_feasible(self, genes: Genes) -> bool:
        """Whether the network is sound and keeps all limits; what needs a measurement comes last."""
        if not self.space.is_sound(genes) or self.limits.excess(self.space.cost(genes)) > 1:
            return False
        return self.limits.latency_ms is None or self._latency(genes) <= self.limits.latency_ms

    def draw(self, random: np.random.Generator) -> Genes:
        """A network with MACs drawn evenly on a logarithmic scale, between the cheapest and the dearest allowed.

        All axes are drawn evenly; then random ordered ones move, a step at a time, until the cost is passed.
        """
        least = math.log(self.space.cost(self._haven).macs_as_trained)
        most = math.log(max(self.limits.macs or _MOST_MACS, self.space.cost(self._haven).macs_as_trained))
        target = math.exp(random.uniform(least, most))
        genes = self._walk(self.space.draw(random), target, random)
        return genes if self.is_feasible(genes) else self.repair(genes, random)

    def repair(self, genes: Genes, random: np.random.Generator) -> Genes:
        """The network, with random choices taken from the cheapest one until it keeps the limits."""
        while not self.is_feasible(genes):
            away = [index for index in self.space.active(genes) if genes[index] != self._haven[index]]
            if not away:  # only the number of stages differs, or nothing at all
                return self._haven
            index = int(random.choice(away))
            genes = self.space.step(genes, index, self._haven[index] - genes[index])
        return genes

    def vary(self, make: Callable[[], Genes], random: np.random.Generator) -> Genes:
        """The first feasible network of a few that `make` gives, else the last of them, repaired."""
        for _ in range(_TRIES):
            genes = make()
            if self.is_feasible(genes):
                return genes
        return self.repair(genes, random)

    def _walk(self, genes: Genes, target: float, random: np.random.Generator) -> Genes:
        """Move ordered axes, one random step at a time, until the MACs pass `target`; the nearer of the last two."""
        down = self.space.cost(genes).macs_as_trained > target
        while True:
            moved = self._stepped(genes, random, down=down)
            if moved is None:
                return genes
            before, genes = genes, moved
            macs = self.space.cost(genes).macs_as_trained
            if (macs <= target) == down:
                earlier = self.space.cost(before).macs_as_trained
                nearer_before = abs(math.log(earlier / target)) < abs(math.log(macs / target))
                return before if nearer_before else genes

    def _stepped(self, genes: Genes, random: np.random.Generator, *, down: bool) -> Genes | None:
        """A sound network one step away that costs less (`down`) or more; None where there is none."""
        macs = self.space.cost(genes).macs_as_trained
        for index in random.permutation(len(self.space.active(genes))):
            moved = self.space.step(genes, int(index), -1 if down else 1)
            if not self.space.axes[index].ordered or moved == genes or not self.space.is_sound(moved):
                continue  # a smaller image can be too small
            after = self.space.cost(moved).macs_as_trained
            if after < macs if down else after > macs:  # one stage less can make the maps larger
                return moved
        return None

    def _latency(self, genes: Genes) -> float:
        if genes not in self._latencies:
            assert self.limits.measure is not None  # noqa: S101  (Limits makes sure of it)
            self._latencies[genes] = self.limits.measure(self.space.decode(genes))
        return self._latencies[genes]
