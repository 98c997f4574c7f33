"""What a count says: one row a layer, and the sums."""

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
