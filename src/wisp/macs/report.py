"""What a count says: one row a layer, and the sums; for a whole program also one row an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerMacs:
    """One place in the network: a layer reached twice by two parents has two rows, as the counter adds it twice.

    `output_shape` is without the batch; None where the layer was not run or gives no single tensor.
    """

    name: str
    kind: str
    macs: int
    params: int
    output_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MacsReport:
    """MACs of one image, in total and per layer, and the parameters of the network (shared ones once).

    `uncounted` maps each kind of module that the counter takes for free although it does arithmetic (or may do so)
    to the number of such modules.
    """

    total: int
    params: int
    layers: tuple[LayerMacs, ...]
    uncounted: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OperatorMacs:
    """All calls of one operator by one layer from one source line.

    Attributes:
        operator: its name, such as `aten::convolution` or `Conv`.
        layer: the module (or the ONNX node) that ran it; empty for the network itself.
        source: `file:line` of the innermost line outside torch; None where there is none.
        calls: how often it ran.
        macs: products that were added up.
        elementwise: products, divisions and functions (exp, sigmoid, a norm) of single values; not MACs.
    """

    operator: str
    layer: str
    source: str | None
    calls: int
    macs: int
    elementwise: int


@dataclass(frozen=True, slots=True)
class UnknownOperator:
    """Something that ran, or may run, and that could not be counted; `reason` says why."""

    operator: str
    layer: str
    source: str | None
    calls: int
    reason: str


@dataclass(frozen=True)
class ProgramReport(MacsReport):
    """What a whole program computes for one image: every operator is counted, known to be free, or listed.

    Attributes:
        elementwise: work on single values that is not a MAC, one per value; not part of `total`.
        operators: where all of it happens; rows that count nothing are left out.
        unknown: what could not be counted. `total` is a lower bound unless this is empty.
        method: how the program was seen: `export`, `dispatch` or `onnx`.
        official: of a graph, the least and the most that the competition's counter would say of the modules that its
            nodes were; None where that cannot be told.
    """

    elementwise: int = 0
    operators: tuple[OperatorMacs, ...] = ()
    unknown: tuple[UnknownOperator, ...] = ()
    method: str = "export"
    official: tuple[int, int] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing was left uncounted."""
        return not self.unknown

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes; `complete` is in it."""
        values = asdict(self)
        del values["uncounted"]
        return {"complete": self.complete, **values}
