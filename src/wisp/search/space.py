"""The wisp family as a search space: a network is a tuple of choices, one index an axis.

Free are the input size, the stem (strided, patches, space-to-depth), the number of stages, and of each stage width,
depth, kernel, expansion, stride (the downsampling schedule) and squeeze-excite; the activation and the head.

Space-to-depth by b before a k x k convolution computes what one convolution of kernel k b and stride b computes, at
the same MACs, so such a stem is a pair (kernel, stride) like any other: (6, 2) is space-to-depth by 2 and 3 x 3,
(4, 4) are patches, that is space-to-depth by 4 and 1 x 1.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wisp.errors import ModelError
from wisp.models import ArchSpec
from wisp.models.cost import Cost, cost
from wisp.models.zoo.wisp import Stage, Stem, WispOptions
from wisp.search.candidate import Candidate

Genes = tuple[int, ...]
"""One index into the values of every axis; those of stages that are not there are 0."""

_SHARED = ("image_size", "stem", "stem_width", "activation", "head", "augmentation", "stages")
_STAGE = ("width", "depth", "kernel", "expansion", "stride", "squeeze_excite")
_UNORDERED = frozenset({"stem", "activation", "stride", "squeeze_excite"})


@dataclass(frozen=True, slots=True)
class Axis:
    """One choice: its name, such as `image_size` or `stage2.width`, and its values.

    `ordered` values grow with their index, and cost with them.
    """

    name: str
    values: tuple[Any, ...]
    ordered: bool


@dataclass(frozen=True)
class Space:
    """All networks that a search may propose, for `num_classes` classes.

    Attributes:
        num_classes: of every network.
        image_size: input sizes, pixels.
        stem: (kernel, stride) of the first convolution.
        stem_width: its channels.
        activation: of every layer but the projections.
        head: channels of the last 1 x 1 convolution, 0 for none.
        augmentation: strength of the changes to training photos (`Recipe.with_augmentation`), a choice like the
            network's own, since a larger one needs more of it; None alone: as the recipe says.
        stages: how many of them.
        width, depth, kernel, expansion, stride, squeeze_excite: of each stage.
        dropout: before the classifier; not searched.
        least_map: side of the last map, at least: below it a network has pooled before it has looked.
    """

    num_classes: int
    image_size: tuple[int, ...] = (24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
    stem: tuple[tuple[int, int], ...] = ((3, 2), (5, 2), (6, 2), (4, 4), (8, 4), (12, 4))
    stem_width: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16, 20, 24, 32)
    activation: tuple[str, ...] = ("relu", "relu6", "hardswish")
    head: tuple[int, ...] = (0, 32, 48, 64, 96, 128, 160, 192, 256)
    augmentation: tuple[float | None, ...] = (None,)
    stages: tuple[int, ...] = (2, 3, 4)
    width: tuple[int, ...] = (6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96)
    depth: tuple[int, ...] = (1, 2, 3, 4)
    kernel: tuple[int, ...] = (3, 5, 7)
    expansion: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    stride: tuple[int, ...] = (1, 2)
    squeeze_excite: tuple[bool, ...] = (False, True)
    dropout: float = 0.1
    least_map: int = 2
    axes: tuple[Axis, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        def axis(name: str, field_name: str) -> Axis:
            values = getattr(self, field_name)
            ordered = field_name not in _UNORDERED
            if not values or (ordered and list(values) != sorted(set(values))):
                raise ValueError(f"{field_name}: needs values, growing")
            return Axis(name, values, ordered)

        axes = [axis(name, name) for name in _SHARED]
        axes += [axis(f"stage{n + 1}.{name}", name) for n in range(max(self.stages)) for name in _STAGE]
        object.__setattr__(self, "axes", tuple(axes))  # frozen, and derived

    @property
    def count(self) -> int:
        """How many different networks there are, unsound ones included."""
        shared = math.prod(len(getattr(self, name)) for name in _SHARED if name != "stages")
        stage = math.prod(len(getattr(self, name)) for name in _STAGE)
        return int(shared * sum(stage**n for n in self.stages))

    # Between genes and networks

    def decode(self, genes: Genes) -> Candidate:
        """The network that the genes stand for. Equal networks have equal genes and equal names."""
        return _decode(self, genes)

    def encode(self, candidate: Candidate) -> Genes:
        """The inverse of `decode`.

        Raises:
            ValueError: the network is not in this space.
        """
        options = candidate.arch.options
        if not isinstance(options, WispOptions):
            raise ValueError(f"{candidate.name}: not of the wisp family")  # noqa: TRY004  (a network, but another)
        values: list[Any] = [
            candidate.image_size,
            (options.stem.kernel, options.stem.stride),
            options.stem.width,
            options.activation,
            options.head,
            self._strength(candidate),
            len(options.stages),
        ]
        for stage in options.stages[: max(self.stages)]:
            values += [getattr(stage, name) for name in _STAGE]
        try:
            genes = [axis.values.index(value) for axis, value in zip(self.axes, values, strict=False)]
        except ValueError as error:
            raise ValueError(f"{candidate.name}: not in the space ({error})") from error
        whole = tuple(genes) + (0,) * (len(self.axes) - len(genes))
        if self.decode(whole).arch != candidate.arch:  # more stages, another dropout or other classes
            raise ValueError(f"{candidate.name}: not in the space")
        return whole

    def _strength(self, candidate: Candidate) -> float | None:
        """As it is written in this space: the recipe's own is strength 1."""
        as_is = candidate.augmentation is None and self.augmentation != (None,)
        return 1.0 if as_is else candidate.augmentation

    def active(self, genes: Genes) -> range:
        """Indices of the axes that matter: those of stages that are there."""
        return range(len(_SHARED) + len(_STAGE) * self.stages[genes[len(_SHARED) - 1]])

    def canonical(self, genes: Genes) -> Genes:
        """The same network with the genes of absent stages set to 0."""
        kept = len(self.active(genes))
        return genes[:kept] + (0,) * (len(genes) - kept)

    def has(self, genes: Genes) -> bool:
        """Whether these are genes of a network of this space, as `decode` takes them."""
        return (
            len(genes) == len(self.axes)
            and all(0 <= gene < len(axis.values) for gene, axis in zip(genes, self.axes, strict=True))
            and self.canonical(genes) == genes
        )

    def vector(self, genes: Genes) -> npt.NDArray[np.float64]:
        """The genes as numbers from 0 to 1, one an axis: what a predictor sees."""
        return np.array(
            [gene / max(1, len(axis.values) - 1) for gene, axis in zip(genes, self.axes, strict=True)]
        )

    def cost(self, genes: Genes) -> Cost:
        """What the network costs, in closed form."""
        return _cost(self, genes)

    def is_sound(self, genes: Genes) -> bool:
        """Whether the last map has at least `least_map` x `least_map` positions."""
        try:
            return self.cost(genes).last_map >= self.least_map
        except ModelError:  # the image is too small for the network
            return False

    # Moving through the space

    def draw(self, random: np.random.Generator) -> Genes:
        """Every axis drawn evenly; sound."""
        while True:
            genes = self.canonical(tuple(int(random.integers(len(axis.values))) for axis in self.axes))
            if self.is_sound(genes):
                return genes

    def mutate(self, genes: Genes, random: np.random.Generator, changes: int = 1) -> Genes:
        """Change `changes` axes that matter: an ordered one by a step or two, another to any other value. Sound."""
        while True:
            mutant = genes
            for _ in range(changes):
                mutant = self._change(mutant, int(random.choice(self.active(mutant))), random)
            if mutant != genes and self.is_sound(mutant):
                return mutant

    def cross(self, one: Genes, other: Genes, random: np.random.Generator) -> Genes:
        """A child: each shared choice, and each stage as a whole, from either parent. Sound (else it is `one`)."""
        for _ in range(20):
            child = [a if random.random() < 0.5 else b for a, b in zip(one, other, strict=True)][
                : len(_SHARED)
            ]
            for begin in range(len(_SHARED), len(self.axes), len(_STAGE)):
                parents = [genes for genes in (one, other) if begin in self.active(genes)] or [one]
                chosen = parents[int(random.integers(len(parents)))]
                child += chosen[begin : begin + len(_STAGE)]
            genes = self.canonical(tuple(child))
            if self.is_sound(genes):
                return genes
        return one

    def step(self, genes: Genes, index: int, by: int) -> Genes:
        """The genes with one axis moved, within its values; a stage that appears repeats the one before it."""
        moved = min(max(genes[index] + by, 0), len(self.axes[index].values) - 1)
        changed = [*genes[:index], moved, *genes[index + 1 :]]
        before, after = len(self.active(genes)), len(self.active(tuple(changed)))
        for begin in range(before, after, len(_STAGE)):
            changed[begin : begin + len(_STAGE)] = changed[begin - len(_STAGE) : begin]
            changed[begin + _STAGE.index("stride")] = 0
        return self.canonical(tuple(changed))

    def _change(self, genes: Genes, index: int, random: np.random.Generator) -> Genes:
        axis = self.axes[index]
        if axis.ordered:
            by = int(random.choice((-2, -1, 1, 2)))
        else:
            by = int(random.integers(len(axis.values))) - genes[index]
        return self.step(genes, index, by)

    def cheapest(self, *, memory: bool = True) -> Iterator[Genes]:
        """Networks of which, for every network, one is as cheap in every way.

        That is the least of all choices that only add cost, times all others; where `memory` matters also two widths
        a stage, since equal ones make a shortcut, which holds memory.
        """

        def values(axis: Axis) -> range:
            if axis.name.endswith("width"):
                return range(min(2 if memory else 1, len(axis.values)))
            free = not axis.ordered and axis.name != "activation" and not axis.name.endswith("squeeze_excite")
            return range(len(axis.values) if free or axis.name == "stages" else 1)

        for stages in range(len(self.stages)):
            length = len(_SHARED) + len(_STAGE) * self.stages[stages]
            choices = [values(axis) for axis in self.axes[:length]]
            choices[len(_SHARED) - 1] = range(stages, stages + 1)
            for genes in itertools.product(*choices):
                whole = genes + (0,) * (len(self.axes) - length)
                if self.is_sound(whole):
                    yield whole


@functools.lru_cache(maxsize=65536)
def _decode(space: Space, genes: Genes) -> Candidate:
    options, image_size, augmentation = _network(space, genes)
    arch = ArchSpec(num_classes=space.num_classes, options=options)
    digest = hashlib.sha256(json.dumps(arch.to_json(), sort_keys=True).encode()).hexdigest()[:6]
    strength = "" if augmentation is None else f"-a{round(100 * augmentation)}"
    name = f"wisp-{round(space.cost(genes).macs / 1000)}k-{image_size}px-{digest}{strength}"
    return Candidate(name, arch, image_size, augmentation)


@functools.lru_cache(maxsize=65536)
def _cost(space: Space, genes: Genes) -> Cost:
    """Without a name for the network: a search weighs a hundred for each that it trains."""
    options, image_size, _ = _network(space, genes)
    return cost(options, space.num_classes, image_size)


def _network(space: Space, genes: Genes) -> tuple[WispOptions, int, float | None]:
    """Its options, its input size and its strength of augmentation."""
    values = [axis.values[gene] for gene, axis in zip(genes, space.axes, strict=True)]
    image_size, (kernel, stride), stem_width, activation, head, augmentation, count = values[: len(_SHARED)]
    stages = []
    for n in range(count):
        begin = len(_SHARED) + n * len(_STAGE)
        stages.append(Stage(**dict(zip(_STAGE, values[begin : begin + len(_STAGE)], strict=True))))
    options = WispOptions(
        stem=Stem(width=stem_width, kernel=kernel, stride=stride),
        stages=tuple(stages),
        head=head,
        activation=activation,
        dropout=space.dropout,
    )
    return options, image_size, augmentation
