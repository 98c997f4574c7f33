"""How labels flow through a network: every operator of one forward pass, seen at torch's dispatcher.

Every value of every tensor has a label. A convolution or a linear layer gives its outputs new labels, one a row of its
weight. What moves values (views, slices, concatenation, channel shuffles) is run on the labels themselves, so that no
arithmetic with indices is needed. An elementwise operator makes the labels of its operands one. This is the dependency
graph of Fang et al. (2023, DepGraph), taken from values instead of from rules for each pair of layers.

Seeded with the labels of the unpruned network, the same pass proves a pruned one: no two different labels may meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from wisp.compress.labels import COLUMNS, FIXED, NONE, ROWS, Labels
from wisp.macs.tensors import tensors_of

_COPIES = frozenset(["_to_copy", "alias", "clone", "contiguous", "detach", "lift_fresh", "to"])
_VIEWS = frozenset(["_unsafe_view", "reshape", "view"])
_CUTS = frozenset(["slice", "split", "split_with_sizes"])
_TURNS = frozenset(["permute", "t", "transpose"])
_OTHER_MOVES = frozenset(
    [
        *("cat", "channel_shuffle", "constant_pad_nd", "expand", "flip", "index", "index_select", "narrow"),
        *(
            "native_channel_shuffle",
            "pixel_shuffle",
            "pixel_unshuffle",
            "repeat",
            "roll",
            "select",
            "squeeze",
        ),
        *("stack", "unbind", "unsqueeze"),
    ]
)
_MOVES = _COPIES | _VIEWS | _CUTS | _TURNS | _OTHER_MOVES
# N x C x any number of axes to the same channels, each from its own values.
_SPATIAL = frozenset(
    [
        *("adaptive_avg_pool1d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d"),
        *("adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices"),
        *("max_pool3d_with_indices", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
        *("replication_pad1d", "replication_pad2d", "replication_pad3d", "upsample_bicubic2d"),
        *("upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d"),
        *("upsample_nearest3d", "_upsample_nearest_exact2d"),
    ]
)
_REDUCTIONS = frozenset(["amax", "amin", "mean", "sum"])
_BATCH_NORMS = frozenset(["native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"])
_NORMS = frozenset(["native_layer_norm", "native_group_norm"])
# Elementwise, although torch does not tag them so.
_POINTWISE = frozenset(["hardswish", "hardswish_", "_prelu_kernel", "rsub", "masked_fill", "masked_fill_"])
_FACTORIES = frozenset(
    [
        *("arange", "empty", "empty_like", "full", "full_like", "new_empty", "new_full", "new_zeros"),
        *("ones", "ones_like", "zeros", "zeros_like"),
    ]
)
_PRODUCT = "a product of two computed matrices"


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """Carries `labels` through everything that runs inside.

    Raises:
        MismatchError: inside, while labels are proven, two that differ meet.
    """

    def __init__(self, labels: Labels) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels = labels
        self._of: dict[int, Tensor] = {}  # the labels of a tensor's values, by its id
        self._weights: dict[
            int, tuple[str, bool]
        ] = {}  # a view of a weight: its name, and whether it is turned
        self._sources: dict[int, Tensor] = {}  # a view: what it looks at
        self._alive: list[Tensor] = []  # a freed tensor's id could be given to another one

    def find(self, tensor: Tensor) -> Tensor:
        """The labels of a tensor's values, in its shape."""
        if id(tensor) not in self._of:
            name = self.labels.names.get(id(tensor))
            unknown = torch.full(tensor.shape, FIXED) if name is None else self.labels.elements(name, tensor)
            self._put(tensor, unknown)
        return self._of[id(tensor)]

    def _put(self, tensor: Tensor, labels: Tensor) -> None:
        self._of[id(tensor)] = labels
        self._alive.append(tensor)

    def _put_channels(self, tensor: Tensor, channels: Tensor) -> None:
        """Give a tensor N x C x ... the labels of its channels."""
        self._put(tensor, channels.reshape(1, -1, *[1] * (tensor.ndim - 2)).expand(tensor.shape))

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        self._alive += tensors_of(args, out)
        if name in self._HANDLERS:
            self._HANDLERS[name](self, args, out)
        elif name in _MOVES:
            self._move(func, name, args, kwargs, out)
        elif name in _POINTWISE or torch.Tag.pointwise in func.tags:
            self._pointwise(args, kwargs, out)
        elif name not in _FACTORIES:
            self._unknown(name, args, kwargs)
        return out

    def _move(
        self, func: OpOverload, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any
    ) -> None:
        source = args[0]
        if name in _TURNS and source.ndim == 2 and self._turn_weight(source, out):
            return
        values = [self.find(tensor) for tensor in tensors_of(source)]
        if name == "stack":
            for other in values[1:]:  # they stay equally many
                self.labels.merge(values[0], other)
        elif name in _CUTS:
            axis = args[2 if name.startswith("split") else 1] if len(args) > 2 else kwargs.get("dim", 0)
            self._tie_parts(values[0], axis, out if isinstance(out, list | tuple) else [out])
        elif name in _VIEWS:
            self._tie_blocks(values[0], out.shape)
        if name in _COPIES:
            results: Any = values[0]
        elif name in _VIEWS:  # labels may lie in memory in another way
            results = values[0].reshape(out.shape)
        elif name == "constant_pad_nd":
            results = func(values[0], args[1], NONE)
        else:
            results = func(values[0] if isinstance(source, Tensor) else values, *args[1:], **kwargs)
        for tensor, labels in zip(tensors_of(out), tensors_of(results), strict=True):
            self._put(tensor, labels)
            if func.is_view and tensor is not source:
                self._sources[id(tensor)] = source

    def _turn_weight(self, source: Tensor, out: Tensor) -> bool:
        """Remember a weight matrix on its way into a product: there it is not used value by value."""
        name, turned = self._weights.get(id(source)) or (self.labels.names.get(id(source)), False)
        if name is None:
            return False
        differs = (out.shape, out.stride()) != (source.shape, source.stride())
        self._weights[id(out)] = (name, turned != differs)
        self._sources[id(out)] = source
        return True

    def _tie_parts(self, labels: Tensor, axis: int, parts: Sequence[Tensor]) -> None:
        """Equal parts are cut at other places when there are fewer channels, so all of them shrink alike."""
        size, part = labels.shape[axis], parts[0].shape[axis]
        if part and part < size and size % part == 0 and all(other.shape[axis] == part for other in parts):
            self.labels.merge_blocks(labels, axis, size // part)

    def _tie_blocks(self, labels: Tensor, shape: torch.Size) -> None:
        """The same for an axis that a view splits in two, as channel shuffles do: so many blocks of any length."""
        before = labels.shape
        for axis, size in enumerate(before):
            if axis + 1 < len(shape) and shape[axis] != size:
                if shape[axis] * shape[axis + 1] == size and before[axis + 1 :] == shape[axis + 2 :]:
                    self.labels.merge_blocks(labels, axis, shape[axis])
                return

    def _pointwise(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        tensors = tensors_of(args, kwargs)
        result = tensors_of(out)[0]
        operands = [self.find(tensor) for tensor in tensors if tensor.numel() > 1]
        whole = [labels for labels in operands if labels.shape == result.shape]
        if not whole:
            for labels in operands:
                self.labels.fix(labels, "values that are spread over several axes")
            return
        combined = whole[0]
        for labels in whole[1:]:
            self.labels.merge(combined, labels)
            combined = torch.maximum(combined, labels)  # NONE takes the other's label
        for labels in operands:
            if labels.shape == result.shape:
                continue
            padded = labels.reshape([1] * (result.ndim - labels.ndim) + list(labels.shape))
            wide = [axis for axis in range(result.ndim) if padded.shape[axis] < result.shape[axis]]
            roots = self.labels.roots(combined)
            if bool((roots.amax(dim=wide) == roots.amin(dim=wide)).all()):
                self.labels.merge(combined, padded.expand(result.shape))
            else:  # such as a map over the pixels that weighs all channels
                self.labels.fix(labels, "one value that meets several channels")
        self._put(result, combined)

    def _convolution(self, args: tuple[Any, ...], out: Tensor) -> None:
        images, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
        labels, name = self.labels, self.labels.names.get(id(weight))
        inputs = labels.channels(self.find(images))
        if name is None or transposed:
            labels.fix(inputs, "a transposed convolution" if transposed else "a weight that is computed")
            return
        outputs, per_group = weight.shape[:2]
        if not labels.proving and per_group == 1 and groups == len(inputs) > 1:
            labels.depthwise.add(name)
        if name in labels.depthwise:
            rows = inputs.repeat_interleave(outputs // len(inputs))
            labels.label_axis(name, 0, rows, ROWS)
        else:
            rows = labels.rows(name, outputs)
            if groups > 1:  # all groups stay equally large
                labels.merge_blocks(inputs, 0, groups)
                labels.merge_blocks(rows, 0, groups)
            labels.label_axis(name, 1, inputs[:per_group], COLUMNS)
        self._along_channels(bias, rows)
        self._put_channels(out, rows)

    def _product(self, left: Tensor, right: Tensor, bias: Tensor | None, out: Tensor) -> None:
        labels, inputs = self.labels, self.labels.channels(self.find(left))
        name, turned = self._weights.get(id(right)) or (labels.names.get(id(right)), False)
        if name is None:
            labels.fix(self.find(right), _PRODUCT)
        if name is None or not turned:  # no layer of torch's keeps a weight of inputs x outputs
            labels.fix(inputs, _PRODUCT if name is None else "a weight outside of a layer")
            return
        rows = labels.rows(name, right.shape[1])
        labels.label_axis(name, 1, inputs, COLUMNS)
        self._along_channels(bias, rows)
        self._put(out, rows.expand(out.shape))

    def _along_channels(self, tensor: Tensor | None, channels: Tensor) -> None:
        """A bias, scale or statistic with one value a channel."""
        if tensor is None:
            return
        name = self.labels.names.get(id(tensor))
        if name is None:
            self.labels.fix(channels, "a bias or scale that is computed")
        else:
            self.labels.label_axis(name, 0, channels)

    def _addmm(self, args: tuple[Any, ...], out: Tensor) -> None:
        self._product(args[1], args[2], args[0], out)

    def _mm(self, args: tuple[Any, ...], out: Tensor) -> None:
        self._product(args[0], args[1], None, out)

    def _batch_norm(self, args: tuple[Any, ...], out: tuple[Tensor, ...]) -> None:
        labels = self.find(args[0])
        channels = self.labels.channels(labels)
        for tensor in args[1:5]:
            self._along_channels(tensor, channels)
        self._put(out[0], labels)

    def _other_norm(self, args: tuple[Any, ...], out: tuple[Tensor, ...]) -> None:
        """Statistics over several channels: to remove one would change the others."""
        labels = self.find(args[0])
        self.labels.fix(labels, "a norm over several channels")
        self._put(out[0], labels)

    def _spatial(self, args: tuple[Any, ...], out: Any) -> None:
        result = tensors_of(out)[0]
        labels = self.find(args[0])
        if result.ndim < 3 or result.shape[:2] != labels.shape[:2]:
            self.labels.fix(labels, "a pool without a batch")
        else:
            self._put_channels(result, self.labels.channels(labels))

    def _reduce(self, args: tuple[Any, ...], out: Tensor) -> None:
        labels = self.labels.roots(self.find(args[0]))
        axes = args[1] if len(args) > 1 else []
        axes = [axes] if isinstance(axes, int) else list(axes or range(labels.ndim))
        highest = labels.amax(dim=axes)
        if bool((labels.amin(dim=axes) == highest).all()):
            self._put(out, highest.reshape(out.shape))
        elif labels.ndim > 2 and all(
            axis % labels.ndim > 1 for axis in axes
        ):  # channels that share their pixels
            rows = labels.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
            self.labels.merge(rows[..., :1].expand_as(rows), rows)
            self._put(out, rows[..., 0].reshape(out.shape))
        else:
            self.labels.fix(labels, "a sum over several channels")

    def _unknown(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """What has no rule: everything that it touches stays, also what it may write into through a view."""
        for read in tensors_of(args, kwargs):
            tensor: Tensor | None = read
            while tensor is not None:
                self.labels.fix(self.find(tensor), f"the operator {name}")
                tensor = self._sources.get(id(tensor))

    _HANDLERS: Mapping[str, Callable[[Flow, tuple[Any, ...], Any], None]] = {
        "convolution": _convolution,
        "addmm": _addmm,
        "mm": _mm,
        **dict.fromkeys(_BATCH_NORMS, _batch_norm),
        **dict.fromkeys(_NORMS, _other_norm),
        **dict.fromkeys(_SPATIAL, _spatial),
        **dict.fromkeys(_REDUCTIONS, _reduce),
    }
