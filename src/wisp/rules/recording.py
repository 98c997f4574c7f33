"""One run of a network, with every operator written down: what it costs, who is charged for it, what it is made of.

Besides the book of `wisp.macs`, each value that comes from the image is followed to the counted layers whose outputs it
was made from. That tells a gate (squeeze-and-excite, LayerScale, Swish, generalised mean pooling: one product a value,
even where the products are later added up) from a convolution or a linear layer in disguise, where one value takes part
in many products.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch._ops import OpOverload

from wisp.macs.dispatch import Recorder, eager_paths
from wisp.macs.formulas import ADDITIONS, MACS, PRODUCTS, REDUCTIONS, operator_name
from wisp.macs.ledger import Entry, Ledger
from wisp.macs.tensors import tensors_of
from wisp.rules.attribution import COUNTED, Attribution, calling_line, split_layer

GATE_PRODUCTS = 2  # products in which one value may take part and be added up; three make a filter
# Statistics of values: a product of each with itself.
_STATISTICS = frozenset(["var", "std", "var_mean", "std_mean", "linalg_vector_norm", "norm"])
_LOOKUPS = frozenset(["index", "index_select", "gather", "take", "embedding"])

# Pools and maxima: one value stands for several.
_FOLDS = REDUCTIONS | frozenset(
    """
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d
    adaptive_max_pool3d mkldnn_max_pool2d amax amin max min aminmax
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)


class Lineage(NamedTuple):
    """The counted layers (by number) that a value was made of; pooling made one value of `fold` of theirs."""

    roots: frozenset[int]
    fold: float = 1.0


IMAGE = Lineage(frozenset([0]))


class Work(NamedTuple):
    """Multiply-accumulates of one operator, called by one layer from one line."""

    operator: str
    layer: str
    how: str
    source: str | None
    macs: int


class Step(NamedTuple):
    """One operator that ran, by the layer that ran it and the line that called it."""

    operator: str
    layer: str
    source: str | None


class Call(NamedTuple):
    """One call of one module, when it ended: its name, the calling line, its input's lineage, its MACs, its output."""

    module: str
    source: str | None
    lineage: Lineage | None
    macs: int
    output: Tensor | None


@dataclass(frozen=True)
class Observation:
    """What was seen of one run.

    Attributes:
        outputs: the tensors that the network gave, the main one first.
        macs: all multiply-accumulates.
        counted: those of counted layers, by the layer's name.
        sources: the line that calls each of these.
        hidden: those that no counted layer accounts for, gates aside.
        gates: products that are added up, but no more than `GATE_PRODUCTS` for each value.
        singles: products and functions of single values outside counted layers that are not added up.
        additions: additions, comparisons by lookup and the like outside counted layers, one a value.
        steps: the operators, in order.
        calls: the calls of modules, if they were asked for.
    """

    outputs: tuple[Tensor, ...]
    macs: int
    counted: Mapping[str, int]
    sources: Mapping[str, str | None]
    hidden: tuple[Work, ...]
    gates: int
    singles: int
    additions: int
    steps: tuple[Step, ...]
    calls: tuple[Call, ...] = ()

    @property
    def layer_macs(self) -> int:
        """Multiply-accumulates, gates aside."""
        return sum(self.counted.values()) + sum(work.macs for work in self.hidden)

    @property
    def work(self) -> tuple[int, int, Mapping[str, int]]:
        """What must be the same for every image, and whoever looks."""
        return self.layer_macs, self.singles, self.counted


def main_outputs(value: Any) -> tuple[Tensor, ...]:
    """The tensors in what a network gave, in order."""
    return tuple(tensors_of(value))


def _joined(sources: Sequence[tuple[Tensor, Lineage]]) -> Lineage:
    """The lineage of what is made of several tensors; the largest one says what a value of it stands for."""
    roots = frozenset[int]().union(*(lineage.roots for _, lineage in sources))
    return Lineage(roots, max((int(tensor.numel()), lineage.fold) for tensor, lineage in sources)[1])


@dataclass(eq=False)
class _Product:
    entry: Entry
    lineage: Lineage


@dataclass(eq=False)
class _Follower(Recorder):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """A recorder that also follows where values come from."""

    ledger: Ledger
    place: Attribution
    image: Tensor
    known: None = None
    roots: dict[int, int] = field(default_factory=dict)
    lineages: dict[int, Lineage] = field(default_factory=dict)
    products: list[_Product] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    additions: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.ledger, self.place)
        self.roots[0] = int(self.image.numel())
        self.lineages[self._key(self.image)] = IMAGE

    def lineage(self, tensor: Tensor) -> Lineage | None:
        """The counted layers that `tensor` was made from; None for weights and constants."""
        return self.lineages.get(self._key(tensor))

    def _record(self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        first = len(self.ledger.entries)
        super()._record(func, args, kwargs, out)
        self._follow(operator_name(func), args, kwargs, out, self.ledger.entries[first:])

    def _follow(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        out: Any,
        entries: list[Entry],
    ) -> None:
        tensors = tensors_of(args, kwargs)
        results = tensors_of(out)
        sources = [(tensor, held) for tensor in tensors if (held := self.lineage(tensor)) is not None]
        layer, how = split_layer((place := self.place()).layer)
        self.steps.append(Step(name, layer, place.source))
        if not sources:
            return
        if how != COUNTED and not entries:
            self._weigh(name, tensors, results)
        if name in PRODUCTS or name in _STATISTICS:
            largest = max((held for _, held in sources), key=self._values)
            self.products += [_Product(entry, largest) for entry in entries]
        lineage = _joined(sources)
        is_sum = name in ADDITIONS and len({held.roots for _, held in sources}) > 1
        if (name in MACS and name not in _STATISTICS) or is_sum:
            fresh = len(self.roots)
            self.roots[fresh] = sum(int(result.numel()) for result in results[:1])
            lineage = Lineage(frozenset([fresh]))
        elif name in _FOLDS and results and results[0].numel():
            lineage = lineage._replace(
                fold=lineage.fold * max(1.0, sources[0][0].numel() / results[0].numel())
            )
        for result in results:
            key = self._key(result)
            before = self.lineages.get(key) if any(result is tensor for tensor in tensors) else None
            self.lineages[key] = lineage if before is None else _joined([(result, lineage), (result, before)])

    def _values(self, lineage: Lineage) -> float:
        return sum(self.roots[root] for root in lineage.roots) / lineage.fold

    def _weigh(self, name: str, tensors: list[Tensor], results: list[Tensor]) -> None:
        """Work that multiplies nothing."""
        if name in ADDITIONS or name in _LOOKUPS:
            self.additions += sum(int(result.numel()) for result in results)
        elif name in REDUCTIONS:
            self.additions += sum(int(tensor.numel()) for tensor in tensors[:1])

    def gate_entries(self) -> set[Entry]:
        """Products that are added up and are mere gates, scales and statistics."""
        used: defaultdict[int, float] = defaultdict(float)
        added = [product for product in self.products if product.entry.macs]
        for product in added:
            for root in product.lineage.roots:
                used[root] += product.entry.macs / self._values(product.lineage)
        limit = GATE_PRODUCTS + 1e-6
        return {
            product.entry for product in added if max(used[root] for root in product.lineage.roots) <= limit
        }


def observe(model: nn.Module, images: Tensor, *, with_calls: bool = False) -> Observation:
    """Run `model` as it stands on a batch, and write down every operator.

    The modes of the caller (training flags, gradients) stay as they are.

    Args:
        model: the network.
        images: N x channels x side x side.
        with_calls: also note each module's calls; this hooks all of them.

    Raises:
        Exception: whatever the network raises.
    """
    follower = _Follower(Ledger(), Attribution(model, _run.__code__), images)
    calls: list[Call] = []
    handles = _note_calls(model, follower, calls) if with_calls else []
    try:
        with eager_paths(), follower:
            out = _run(model, images)
    finally:
        for handle in handles:
            handle.remove()
    return _observation(follower, main_outputs(out), tuple(calls))


def _run(model: nn.Module, images: Tensor) -> Any:
    """The boundary up to which stacks are read."""
    return model(images)


def _note_calls(model: nn.Module, follower: _Follower, calls: list[Call]) -> list[Any]:
    started: list[tuple[str | None, Lineage | None, int]] = []

    def begin(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        tensors = tensors_of(inputs)
        lineage = follower.lineage(tensors[0]) if tensors else None
        started.append((calling_line(_run.__code__), lineage, follower.ledger.macs))

    def end(name: str, output: Any) -> None:
        source, lineage, before = started.pop()
        calls.append(
            Call(name, source, lineage, follower.ledger.macs - before, next(iter(main_outputs(output)), None))
        )

    handles: list[Any] = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(begin, prepend=True))
            handles.append(module.register_forward_hook(lambda _m, _i, out, name=name: end(name, out)))
    return handles


def _observation(follower: _Follower, outputs: tuple[Tensor, ...], calls: tuple[Call, ...]) -> Observation:
    ledger = follower.ledger
    gates = follower.gate_entries()
    counted: Counter[str] = Counter()
    sources: dict[str, str | None] = {}
    hidden: Counter[tuple[str, str, str, str | None]] = Counter()
    gates_macs = singles = 0
    for entry in ledger.entries:
        name, how = split_layer(entry.place.layer)
        if how == COUNTED:
            counted[name] += entry.macs
            sources.setdefault(name, entry.place.source)
        elif entry in gates:
            gates_macs += entry.macs
        elif entry.macs:
            hidden[entry.operator, name, how, entry.place.source] += entry.macs
        if how != COUNTED:
            singles += entry.elementwise
    return Observation(
        outputs=outputs,
        macs=ledger.macs,
        counted=counted,
        sources=sources,
        hidden=tuple(Work(*where, macs) for where, macs in hidden.items()),
        gates=gates_macs,
        singles=singles,
        additions=follower.additions,
        steps=tuple(follower.steps),
        calls=calls,
    )
