"""Evolution by morphing trained networks: a child is its parent with one or two choices changed, and its weights.

The population is the front (and what is just behind it), as in NSGA-II (Deb et al., 2002), without generations
(Real et al., 2019), and children inherit what fits of the weights (Cai et al., 2018; Elsken et al., 2019, "LEMONADE").
A child so begins where its parent stood and needs few epochs; a parent may also simply be trained further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wisp.search.front import preference
from wisp.search.predictor import Predictor
from wisp.search.sampling import Sampler
from wisp.search.space import Genes
from wisp.search.strategy import Proposal, Result

_TRIES = 30


@dataclass(frozen=True)
class _Individual:
    number: int
    genes: Genes
    result: Result


class Evolution:
    """Steady-state evolution on the front of F1 against MACs.

    Args:
        sampler: draws networks, and holds the limits.
        seed: of everything random.
        founders: networks that have no parent; more where no result is there yet.
        known: the first founders, as far as there are so many; the others are drawn.
        first_epochs: of a founder.
        epochs: of a child, after its parent's.
        parents: how many of the most promising trials may become parents.
        train_on: share of the proposals that train a parent further instead of changing it.
        cross: share of the children that have two parents (the weights are the first one's).
        predictor: share of the children that are the best of several by a predictor learned on the way; 0 for none.
        inherit: whether children begin with their parent's weights.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        seed: int,
        first_epochs: int,
        epochs: int,
        founders: int = 24,
        known: Sequence[Genes] = (),
        parents: int = 12,
        train_on: float = 0.3,
        cross: float = 0.15,
        predictor: float = 0.5,
        inherit: bool = True,
    ) -> None:
        self._sampler, self._random = sampler, np.random.default_rng(seed)
        self._first_epochs, self._epochs = first_epochs, epochs
        self._founders, self._known, self._parents = founders, tuple(known)[:founders], parents
        self._train_on, self._cross, self._predicted = train_on, cross, predictor
        self._inherit = inherit
        self._asked = 0
        self._done: list[_Individual] = []
        self._further: set[int] = set()  # trials that were trained on already
        self._seen: set[Genes] = set()
        self._predictor = Predictor()

    def ask(self) -> Proposal | None:
        """See `Strategy`."""
        if self._asked < self._founders or not self._done:  # many workers: nobody waits for the first result
            genes = (
                self._known[self._asked]
                if self._asked < len(self._known)
                else self._unseen(lambda: self._sampler.draw(self._random))
            )
            self._asked += 1
            self._seen.add(genes)
            return Proposal(genes, self._first_epochs)
        self._asked += 1
        points = [(each.result.macs, each.result.f1) for each in self._done]
        pool = [self._done[index] for index in preference(points, self._parents)]
        parent = self._pick(pool)
        if self._inherit and self._random.random() < self._train_on and parent.number not in self._further:
            self._further.add(parent.number)
            return Proposal(parent.genes, self._epochs, start=parent.number)
        genes = self._child(parent, pool)
        self._seen.add(genes)
        if not self._inherit:
            return Proposal(genes, self._first_epochs)
        return Proposal(genes, self._epochs, start=parent.number)

    def tell(self, number: int, proposal: Proposal, result: Result) -> None:
        """See `Strategy`."""
        if result.error:
            return
        self._done.append(_Individual(number, proposal.genes, result))
        self._predictor.learn(self._features(proposal.genes), result.f1)

    def _pick(self, pool: list[_Individual]) -> _Individual:
        """The more promising of two; the pool stands in that order."""
        return pool[int(self._random.integers(len(pool), size=2).min())]

    def _child(self, parent: _Individual, pool: list[_Individual]) -> Genes:
        def make() -> Genes:
            genes = parent.genes
            if len(pool) > 1 and self._random.random() < self._cross:
                other = self._pick(pool)
                genes = self._sampler.space.cross(genes, other.genes, self._random)
            return self._sampler.space.mutate(genes, self._random, 1 + int(self._random.random() < 0.4))

        def one() -> Genes:
            return self._unseen(lambda: self._sampler.vary(make, self._random))

        if self._random.random() >= self._predicted or not self._predictor.is_ready:
            return one()
        brood = [one() for _ in range(8)]
        # Above the front as it stands: the F1 that is expected, less the best that is to be had at that cost.
        gains = [self._predictor.predict(self._features(genes)) - self._best_f1(genes) for genes in brood]
        return brood[int(np.argmax(gains))]

    def _unseen(self, make: Callable[[], Genes]) -> Genes:
        """The first that was not proposed before; after many tries, any."""
        genes = make()
        for _ in range(_TRIES):
            if genes not in self._seen:
                break
            genes = make()
        return genes

    def _best_f1(self, genes: Genes) -> float:
        macs = self._sampler.space.cost(genes).macs
        return max((each.result.f1 for each in self._done if each.result.macs <= macs), default=0.0)

    def _features(self, genes: Genes) -> npt.NDArray[np.float64]:
        cost = self._sampler.space.cost(genes)
        extra = [np.log10(cost.macs), np.log10(cost.params), np.log10(cost.memory_bytes)]
        return np.append(self._sampler.space.vector(genes), extra)
