"""The book in which a count is kept, and the rule that tells a multiply-accumulate from a mere multiplication.

A matrix product is a sum of products, so all of it is MACs. A product of two tensors, value by value, is MACs only
where the products are then added up. `Ledger` follows them: through whatever leaves them products (views, copies,
clamps, maxima), until

- a reduction over more than one value (sum, mean, average pooling) adds them up, or
- additions bring together more than `BLEND` of them in one value: a convolution written as shifts and additions.

Two products in one sum are a blend (the gates of an LSTM, an interpolation, a rotary embedding) and stay what one
product is: a multiplication of single values, listed as `elementwise`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wisp.macs.report import LayerMacs, OperatorMacs, ProgramReport, UnknownOperator

BLEND = 2  # as many products may be added together without being multiply-accumulates

LARGEST_SETS = (
    10_000_000  # products that are followed, each as often as it is copied; hostile graphs reach it
)


class Place(NamedTuple):
    """Where something runs: the layer, and `file:line`."""

    layer: str
    source: str | None


@dataclass(eq=False, slots=True)
class Entry:
    """One call of one operator."""

    operator: str
    place: Place
    macs: int = 0
    elementwise: int = 0

    def accumulate(self) -> None:
        """The products of this call are added up after all."""
        self.macs += self.elementwise
        self.elementwise = 0


@dataclass(frozen=True, slots=True)
class _Products:
    """Products not yet added up that a value holds, and how many were added into each element."""

    entries: frozenset[Entry] = frozenset()
    terms: int = 0


_NONE = _Products()


@dataclass(slots=True)
class Ledger:
    """Entries, what could not be counted, and the products on their way. Values are known by any hashable key."""

    entries: list[Entry] = field(default_factory=list)
    unknown: Counter[tuple[str, Place, str]] = field(default_factory=Counter)
    _values: dict[Hashable, _Products] = field(default_factory=dict)
    _room: int = LARGEST_SETS

    @property
    def macs(self) -> int:
        """Products that are added up."""
        return sum(entry.macs for entry in self.entries)

    @property
    def elementwise(self) -> int:
        """Everything else that was counted."""
        return sum(entry.elementwise for entry in self.entries)

    def count(
        self, operator: str, place: Place, *, macs: int = 0, elementwise: int = 0, times: int = 1
    ) -> Entry:
        """Write down one call."""
        entry = Entry(operator, place, int(macs) * times, int(elementwise) * times)
        if entry.macs or entry.elementwise:
            self.entries.append(entry)
        return entry

    def miss(self, operator: str, place: Place, reason: str) -> None:
        """Write down what could not be counted."""
        self.unknown[operator, place, reason] += 1

    def product(self, value: Hashable, entry: Entry) -> None:
        """`value` holds the products that `entry` counts."""
        self._values[value] = _Products(frozenset({entry}), 1)

    def carry(self, sources: Iterable[Hashable], value: Hashable, *, keep: bool = False) -> None:
        """`value` holds what its sources held; with `keep` also what it held before (a part was written)."""
        held = [self._values[source] for source in sources if source in self._values]
        if keep and value in self._values:
            held.append(self._values[value])
        self._hold(
            value, held[0] if len(held) == 1 else self._joined(held, max((p.terms for p in held), default=0))
        )

    def _joined(self, held: list[_Products], terms: int) -> _Products:
        entries = frozenset[Entry]().union(*(part.entries for part in held))
        self._room -= len(entries)
        if self._room < 0:  # no network of any use comes here; bounded memory comes before an exact rule
            for entry in entries:
                entry.accumulate()
            entries = frozenset()
        return _Products(entries, terms)

    def add(self, sources: Iterable[Hashable], value: Hashable) -> None:
        """`value` is the sum of its sources, element by element."""
        held = [self._values.get(source, _NONE) for source in sources]
        joined = self._joined(held, min(sum(part.terms for part in held), BLEND + 1))
        if joined.terms > BLEND:
            for entry in joined.entries:
                entry.accumulate()
            joined = _Products(
                terms=joined.terms
            )  # once counted, only their number matters to what is added later
        self._hold(value, joined)

    def reduce(self, sources: Iterable[Hashable], value: Hashable) -> None:
        """`value` holds sums over several elements of its sources."""
        for source in sources:
            for entry in self._values.get(source, _NONE).entries:
                entry.accumulate()
        self._hold(value, _NONE)

    def reset(self, value: Hashable) -> None:
        """`value` was computed in a way that leaves no products in it."""
        self._values.pop(value, None)

    def _hold(self, value: Hashable, products: _Products) -> None:
        if products.terms:
            self._values[value] = products
        else:
            self._values.pop(value, None)

    def report(
        self,
        *,
        method: str,
        params: int,
        kinds: Mapping[str, str],
        params_of: Callable[[str], int] = lambda _layer: 0,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> ProgramReport:
        """The finished count; `kinds` maps a layer to what it is, `shapes` to its output without the batch."""
        rows: dict[tuple[str, Place], list[int]] = defaultdict(lambda: [0, 0, 0])
        layers: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            row = rows[entry.operator, entry.place]
            for index, value in enumerate((1, entry.macs, entry.elementwise)):
                row[index] += value
            layers[entry.place.layer] += entry.macs
        return ProgramReport(
            total=self.macs,
            params=params,
            layers=tuple(
                LayerMacs(layer, kinds.get(layer, ""), macs, params_of(layer), (shapes or {}).get(layer))
                for layer, macs in layers.items()
                if macs
            ),
            elementwise=self.elementwise,
            operators=tuple(
                OperatorMacs(operator, place.layer, place.source, calls, macs, elementwise)
                for (operator, place), (calls, macs, elementwise) in rows.items()
            ),
            unknown=tuple(
                UnknownOperator(operator, place.layer, place.source, calls, reason)
                for (operator, place, reason), calls in self.unknown.items()
            ),
            method=method,
        )
