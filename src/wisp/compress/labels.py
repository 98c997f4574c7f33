"""Labels for channels: what has one label in the end is one class of channels, and goes or stays as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

FIXED, NONE = 0, -1  # labels of what cannot be removed, and of zeros that padding brought in
COLUMNS, ROWS = "columns", "rows"
Axis = tuple[str, int]  # a parameter or buffer, and one of its axes
_TWO_WAYS = "weights that are used in two ways"


class MismatchError(Exception):
    """Values of different channels meet: the pruned network is not what it should be."""


class Labels:
    """Sets of labels that grow together, and the labels along the axes of a network's parameters.

    Args:
        model: the network; its parameters and buffers are known by name.
        seeds: labels of each axis, to be proven; None to find them. Proving, two labels never become one: where they
            would, `MismatchError` is raised.
        depthwise: with `seeds`, the weights that were depthwise in the unpruned network.

    Attributes:
        axes: the labels along each axis of each parameter and buffer, 1-D; use `roots` before comparing them.
        roles: whether an axis of a weight holds `ROWS` (outputs) or `COLUMNS` (inputs).
        depthwise: names of weights whose rows follow their inputs one by one.
        reasons: why labels became fixed, with the labels.
        names: the name of each parameter and buffer by its id.
        proving: whether labels are proven.
    """

    def __init__(
        self, model: nn.Module, seeds: Mapping[Axis, Tensor] | None = None, depthwise: Iterable[str] = ()
    ) -> None:
        self.axes: dict[Axis, Tensor] = dict(seeds or {})
        self.roles: dict[Axis, str] = {}
        self.depthwise = set(depthwise)
        self.reasons: dict[str, list[int]] = {}
        self.names, self._shared = _names(model)
        self.proving = seeds is not None
        self._parents = [FIXED]
        self._table: Tensor | None = None  # the root of every label, NONE at its end; None after a change
        self._elements: dict[str, Tensor] = {}

    def roots(self, labels: Tensor) -> Tensor:
        """The labels with everything that became one also written as one."""
        if self.proving:
            return labels
        if self._table is None:
            self._table = torch.tensor([*map(self._root, range(len(self._parents))), NONE])
        return self._table[labels]

    def fix(self, labels: Tensor, reason: str) -> None:
        """Say that these channels cannot be removed."""
        if self.proving:
            return
        for label in torch.unique(labels).tolist():
            root = self._root(label) if label != NONE else FIXED
            if root != FIXED:
                self.reasons.setdefault(reason, []).append(root)
                self._parents[root] = FIXED
                self._table = None

    def merge(self, first: Tensor, second: Tensor) -> None:
        """Say that entries of equal position belong together.

        Raises:
            MismatchError: while proving, they do not.
        """
        pairs = torch.stack((first.reshape(-1), second.reshape(-1)))
        pairs = pairs[:, (pairs[0] != pairs[1]) & (pairs != NONE).all(dim=0)]
        if not pairs.numel():
            return
        if self.proving:
            raise MismatchError(f"{pairs.shape[1]} values of different channels meet")
        number = len(self._parents)
        for pair in torch.unique(pairs[0] * number + pairs[1]).tolist():  # far faster than unique(dim=1)
            low, high = sorted(map(self._root, divmod(pair, number)))
            self._parents[high] = low
        self._table = None

    def merge_blocks(self, labels: Tensor, axis: int, blocks: int) -> None:
        """Say that so many equal blocks along an axis can only shrink alike."""
        moved = labels.movedim(axis, 0).reshape(blocks, labels.shape[axis] // blocks, -1)
        self.merge(moved[:1].expand_as(moved), moved)

    def channels(self, labels: Tensor, axis: int = 1) -> Tensor:
        """One label for each position of an axis, after everything at that position was made one."""
        rows = labels.movedim(axis, 0).flatten(1)
        first = rows.amax(dim=1)  # NONE is the smallest
        self.merge(first[:, None].expand_as(rows), rows)
        return first

    def label_axis(self, name: str, axis: int, labels: Tensor, role: str | None = None) -> None:
        """Say that the entries along an axis of a parameter belong to channels with these labels."""
        key = (name, axis)
        if role is not None:
            self.roles[key] = role
        if name in self._shared or name in self._elements:
            self.fix(labels, _TWO_WAYS)
        if key in self.axes:
            self.merge(self.axes[key], labels)
        elif not self.proving:
            self.axes[key] = labels

    def rows(self, name: str, count: int) -> Tensor:
        """The labels of a weight's outputs: new ones where it is met for the first time."""
        if (name, 0) not in self.axes:
            if self.proving:
                raise MismatchError(f"{name} is used in another way than before")
            self.label_axis(name, 0, self._new(count), ROWS)
        return self.axes[name, 0]

    def elements(self, name: str, tensor: Tensor) -> Tensor:
        """Labels of a parameter that is used value by value, in its shape."""
        if name in self._elements:
            return self._elements[name]
        axes = [axis for axis in range(tensor.ndim) if (name, axis) in self.axes]
        if self.proving:
            labels = torch.full(tensor.shape, FIXED)
            for axis in axes[:1]:
                shape = [1] * tensor.ndim
                shape[axis] = tensor.shape[axis]
                labels = self.axes[name, axis].reshape(shape).expand(tensor.shape)
        else:
            labels = self._new(tensor.numel()).reshape(tensor.shape)
            if name in self._shared or axes:
                self.fix(
                    torch.cat([labels.reshape(-1), *(self.axes[name, axis] for axis in axes)]), _TWO_WAYS
                )
        self._elements[name] = labels
        return labels

    def close(self) -> None:
        """At the end: find the axis along which each parameter that is used value by value can be cut."""
        for name, labels in self._elements.items():
            roots = self.roots(labels)
            for axis in range(labels.ndim):
                rows = roots.movedim(axis, 0).reshape(labels.shape[axis], -1)
                if len(rows) > 1 and bool((rows == rows[:, :1]).all()) and not self.proving:
                    self.axes.setdefault((name, axis), rows[:, 0])
                    break
            else:
                self.fix(labels, f"the shape of {name}")

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label

    def _new(self, count: int) -> Tensor:
        start = len(self._parents)
        self._parents += range(start, start + count)
        self._table = None
        return torch.arange(start, start + count)


def _names(model: nn.Module) -> tuple[dict[int, str], set[str]]:
    """The name of each parameter and buffer by its id, and the names of those that two layers share."""
    names: dict[int, str] = {}
    shared: set[str] = set()
    for prefix, module in model.named_modules():
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for key, tensor in own:
            name = f"{prefix}.{key}" if prefix else key
            if id(tensor) in names:
                shared |= {name, names[id(tensor)]}
            names.setdefault(id(tensor), name)
    return names, shared
