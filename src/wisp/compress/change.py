"""What a compression did: costs before and after, in total and per layer, and the edits that repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from wisp.macs import MacsReport, ProgramReport, count_exact, count_macs
from wisp.models.edits import Edit, edits_from_json, edits_to_json

OFFICIAL, EXACT, ONNX = "official", "exact", "onnx"


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer before and after, by the competition's counter; the parts of a factored layer are added up.

    `before` and `after` say how large it is: `24 -> 48` channels, or the parts that it became; `gone` where it went.
    """

    name: str
    kind: str
    before: str
    after: str
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int


@dataclass(frozen=True)
class Change:
    """What one method did to a network.

    Attributes:
        method: fuse, prune or lowrank.
        image_size: side of the image that was counted, pixels.
        macs_before: MACs by counter (`official`, `exact`; `onnx` where the graph was exported).
        macs_after: the same of the smaller network.
        params_before: parameters.
        params_after: parameters of the smaller network.
        layers: the layers that changed, in the order of the network.
        edits: what makes the smaller network's shapes out of the larger one's.
        max_macs: the target, None where there was none.
        f1_before: macro F1 on validation photos, None where it was not measured.
        f1_after: the same of the smaller network.
        notes: what is worth knowing, one sentence each.
    """

    method: str
    image_size: int
    macs_before: Mapping[str, int]
    macs_after: Mapping[str, int]
    params_before: int
    params_after: int
    layers: tuple[LayerChange, ...]
    edits: tuple[Edit, ...]
    max_macs: int | None = None
    f1_before: float | None = None
    f1_after: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether every counter is at most at the target (true where there is none)."""
        return self.max_macs is None or max(self.macs_after.values()) <= self.max_macs

    def replace(self, **values: Any) -> Change:
        """A copy with some attributes changed."""
        return replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return {
            "method": self.method,
            "image_size": self.image_size,
            "max_macs": self.max_macs,
            "reached": self.reached,
            "macs_before": dict(self.macs_before),
            "macs_after": dict(self.macs_after),
            "params_before": self.params_before,
            "params_after": self.params_after,
            "f1_before": self.f1_before,
            "f1_after": self.f1_after,
            "notes": list(self.notes),
            "layers": [
                {name: getattr(layer, name) for name in LayerChange.__slots__} for layer in self.layers
            ],
            "edits": edits_to_json(self.edits),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Change:
        """The change that `to_json` wrote; other keys are passed over.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        plain = {
            field.name: value[field.name]
            for field in fields(cls)
            if field.name not in {"layers", "edits", "notes"}
        }
        return cls(
            **plain,
            layers=tuple(LayerChange(**layer) for layer in value["layers"]),
            edits=edits_from_json(value["edits"]),
            notes=tuple(value["notes"]),
        )


class Costs:
    """Both counts of networks that have one module tree, each shape counted once: tracing takes a second.

    Args:
        image_size: pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self._official: dict[Any, MacsReport] = {}
        self._exact: dict[Any, ProgramReport] = {}

    def official(self, model: nn.Module) -> MacsReport:
        """The competition's count."""
        key = _shapes(model)
        if key not in self._official:
            self._official[key] = count_macs(model, self.image_size)
        return self._official[key]

    def exact(self, model: nn.Module) -> ProgramReport:
        """The exact count."""
        key = _shapes(model)
        if key not in self._exact:
            self._exact[key] = count_exact(model, self.image_size)
        return self._exact[key]

    def larger(self, model: nn.Module) -> int:
        """What a limit is held against."""
        return max(self.official(model).total, self.exact(model).total)


def _shapes(model: nn.Module) -> tuple[Any, ...]:
    """What the costs of a network depend on, given its code."""
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in model.state_dict().items())
    return tensors, tuple(type(module).__name__ for module in model.modules())


def describe_change(
    before: nn.Module,
    after: nn.Module,
    *,
    method: str,
    costs: Costs,
    edits: Sequence[Edit],
    max_macs: int | None = None,
    notes: Sequence[str] = (),
) -> Change:
    """Count a network before and after a compression.

    Args:
        before: the network as it was; takes float images N x 3 x image_size x image_size.
        after: the smaller one; a layer that became several has them below its name.
        method: fuse, prune or lowrank.
        costs: the counters, with what they have counted already.
        edits: what was done.
        max_macs: the target.
        notes: one sentence each.

    Raises:
        ModelError: one of them cannot run on such images.
    """
    official = costs.official(before), costs.official(after)
    exact = costs.exact(before), costs.exact(after)
    unknown = [] if exact[1].complete else ["the exact count of the smaller network is a lower bound"]
    return Change(
        method=method,
        image_size=costs.image_size,
        macs_before={OFFICIAL: official[0].total, EXACT: exact[0].total},
        macs_after={OFFICIAL: official[1].total, EXACT: exact[1].total},
        params_before=official[0].params,
        params_after=official[1].params,
        layers=_layer_changes(before, after, *official),
        edits=tuple(edits),
        max_macs=max_macs,
        notes=(*notes, *unknown),
    )


def _layer_changes(
    before: nn.Module, after: nn.Module, counted: MacsReport, recounted: MacsReport
) -> tuple[LayerChange, ...]:
    originals, modules = dict(before.named_modules()), dict(after.named_modules())
    changes = []
    for layer in counted.layers:
        rows = [
            row for row in recounted.layers if row.name == layer.name or row.name.startswith(f"{layer.name}.")
        ]
        macs, params = sum(row.macs for row in rows), sum(row.params for row in rows)
        sizes = _size(originals[layer.name]), " + ".join(_size(modules[row.name]) for row in rows) or "gone"
        if (macs, params, sizes[1]) != (layer.macs, layer.params, sizes[0]):
            changes.append(
                LayerChange(layer.name, layer.kind, *sizes, layer.macs, macs, layer.params, params)
            )
    return tuple(changes)


def _size(layer: nn.Module) -> str:
    """How large a layer is, in a few characters."""
    match layer:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            kernel = "x".join(map(str, layer.kernel_size))
            groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
            return f"{layer.in_channels} -> {layer.out_channels}, {kernel}{groups}"
        case nn.Linear():
            return f"{layer.in_features} -> {layer.out_features}"
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            return str(layer.num_features)
        case _:
            return type(layer).__name__
