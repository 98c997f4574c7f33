"""Search in a supernet: train one network whose sub-networks share its weights, evolve among them, tune the best.

Once-for-all (Cai et al., 2020) and BigNAS (Yu et al., 2020): a sub-network is measured with the supernet's weights in
a second, without training. Its F1 says who is promising; the promising ones are then trained from these weights. While
the supernet itself is trained, all workers but one train other networks: known good ones, then others at random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wisp.errors import RecipeError
from wisp.search.front import preference
from wisp.search.sampling import Sampler
from wisp.search.space import Genes, Space
from wisp.search.strategy import Proposal, Result

_TRIES = 30
_MOST_FAILURES = 2  # supernets that diverge, before the time goes to other networks


def supernet_space(space: Space) -> Space:
    """The part of a space whose networks are sub-networks of its largest one, which is affordable to train.

    Patches and a stride of 2 in both stages, one activation, no gates, one augmentation: what is left elastic are the
    resolution, all widths, the depths, kernels and expansions.

    Raises:
        RecipeError: the input sizes are too small for it.
    """
    part = dataclasses.replace(
        space,
        image_size=tuple(size for size in space.image_size if size <= 64) or space.image_size[:1],
        stem=tuple(stem for stem in space.stem if stem == (4, 4)) or space.stem[:1],
        stem_width=tuple(width for width in space.stem_width if width <= 16) or space.stem_width[:1],
        activation=space.activation[:1],
        augmentation=(1.0,) if 1.0 in space.augmentation else space.augmentation[:1],  # of all its trainings
        head=tuple(head for head in space.head if 0 < head <= 160),
        stages=tuple(count for count in space.stages if count == 2) or space.stages[:1],
        width=tuple(width for width in space.width if width <= 48) or space.width[:1],
        expansion=tuple(factor for factor in space.expansion if 1 < factor <= 3),
        stride=tuple(stride for stride in space.stride if stride == 2) or space.stride[:1],
        squeeze_excite=space.squeeze_excite[:1],
    )
    largest = tuple(len(axis.values) - 1 for axis in part.axes)
    if not part.is_sound(part.canonical(largest)):
        raise RecipeError(
            f"--strategy supernet: {max(part.image_size)} px is too small for it; add larger --sizes"
        )
    return part


def largest(part: Space) -> Genes:
    """The supernet itself, in the space that `supernet_space` gives."""
    return part.canonical(tuple(len(axis.values) - 1 for axis in part.axes))


def smallest(part: Space) -> Genes:
    """The sub-network that is in all others."""
    return (0,) * len(part.axes)


def _others(sampler: Sampler, known: Sequence[Genes], seed: int) -> Iterator[Genes]:
    """Networks of the whole space: the known ones, then random ones without end."""
    yield from known
    # Not the supernet's stream: how many are drawn here is a matter of timing.
    random = np.random.default_rng((seed, 1))
    while True:
        yield sampler.draw(random)


@dataclass(frozen=True)
class _Measured:
    number: int
    genes: Genes  # in the whole space
    result: Result


class Supernet:
    """The strategy.

    Args:
        sampler: of the whole space, with its limits.
        seed: of everything random.
        supernet_epochs: that the supernet is trained for.
        epochs: of the tuning of a sub-network.
        epochs_alone: of networks that have nothing to do with the supernet.
        known: networks to begin those with.
        evaluations: sub-networks that are measured before the first is tuned; then nine for every tuning.

    Raises:
        RecipeError: no sub-network keeps the limits.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        seed: int,
        supernet_epochs: int,
        epochs: int,
        epochs_alone: int,
        known: Sequence[Genes] = (),
        evaluations: int = 120,
    ) -> None:
        self._space = sampler.space
        self._part = supernet_space(sampler.space)
        try:
            self._sampler = Sampler(self._part, sampler.limits)
        except RecipeError as error:
            raise RecipeError(f"--strategy supernet, whose space is a smaller one: {error}") from error
        self._random = np.random.default_rng(seed)
        self._supernet_epochs, self._epochs, self._evaluations = supernet_epochs, epochs, evaluations
        self._epochs_alone, self._others = epochs_alone, _others(sampler, known, seed)
        self._supernet: int | None = None  # its trial
        self._training = False
        self._failures = 0
        self._asked = 0
        self._measured: list[_Measured] = []
        self._tuned: list[_Measured] = []
        self._begun: set[Genes] = set()  # sub-networks whose tuning was proposed
        self._further: set[int] = set()
        self._seen: set[Genes] = set()

    def ask(self) -> Proposal | None:
        """See `Strategy`: the supernet first; sub-networks, measured and tuned, once it is there."""
        if self._supernet is None:
            if self._training or self._failures == _MOST_FAILURES:
                return Proposal(next(self._others), self._epochs_alone)
            self._training = True
            return Proposal(self._whole(largest(self._part)), self._supernet_epochs, elastic=True)
        self._asked += 1
        if self._asked > self._evaluations and self._asked % 3 and self._measured:
            tuning = self._tuning()
            if tuning is not None:
                return tuning
        genes = self._next()
        self._seen.add(genes)
        return Proposal(self._whole(genes), 0, start=self._supernet)

    def tell(self, number: int, proposal: Proposal, result: Result) -> None:
        """See `Strategy`."""
        if proposal.elastic:
            self._training = False
            if not result.error:
                self._supernet = number
            else:  # begun again, with another seed; or given up
                self._failures += 1
        elif not result.error:
            (self._tuned if proposal.epochs else self._measured).append(
                _Measured(number, proposal.genes, result)
            )

    def _tuning(self) -> Proposal | None:
        """Train the most promising sub-network that was not yet, or one that was for longer; None where all were."""
        if len(self._begun) % 2 and self._tuned:  # by turns
            for each in self._best(self._tuned, 6):
                if each.number not in self._further:
                    self._further.add(each.number)
                    return Proposal(each.genes, self._epochs, start=each.number)
        for each in self._best(self._measured, 40):
            if each.genes not in self._begun:
                self._begun.add(each.genes)
                return Proposal(each.genes, self._epochs, start=self._supernet)
        return None

    def _next(self) -> Genes:
        """A sub-network to measure: at random first, then a changed one of the front."""
        if self._asked <= self._evaluations // 3 or not self._measured:
            return self._unseen(parents=[])
        return self._unseen(self._best(self._measured, 12))

    def _unseen(self, parents: list[_Measured]) -> Genes:
        genes = self._vary(parents)
        for _ in range(_TRIES):
            if genes not in self._seen:
                break
            genes = self._vary(parents)
        return genes

    def _vary(self, parents: list[_Measured]) -> Genes:
        if not parents:
            return self._sampler.draw(self._random)

        def make() -> Genes:
            one, other = (
                self._in_part(parents[int(self._random.integers(len(parents)))].genes) for _ in range(2)
            )
            if self._random.random() < 0.3:
                one = self._part.cross(one, other, self._random)
            return self._part.mutate(one, self._random, 1 + int(self._random.random() < 0.5))

        return self._sampler.vary(make, self._random)

    @staticmethod
    def _best(measured: list[_Measured], count: int) -> list[_Measured]:
        points = [(each.result.macs, each.result.f1) for each in measured]
        return [measured[index] for index in preference(points, count)]

    def _whole(self, genes: Genes) -> Genes:
        """Genes of the part as genes of the whole space."""
        return self._space.encode(self._part.decode(genes))

    def _in_part(self, genes: Genes) -> Genes:
        return self._part.encode(self._space.decode(genes))
