"""Parallel branches that are added up: convolutions and BatchNorms of one image as one convolution (RepVGG).

Ding et al. (2021): a k x k convolution, a 1x1 convolution and an identity beside each other, each with its BatchNorm,
are one k x k convolution in inference. Branches are found in the flow of data of one forward pass, not by the names of
modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from wisp.macs.tensors import tensors_of
from wisp.models.edits import Merge, Nothing
from wisp.models.folding import replace_module


@dataclass(frozen=True)
class _Branch:
    """One term of a sum: a layer whose input is the tensor `source` (a number of its own for each)."""

    layer: nn.Conv2d | nn.BatchNorm2d
    source: int
    shape: torch.Size


class _Sums(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """Numbers every result of one forward pass and remembers which are convolutions, norms and sums of others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owner: dict[int, nn.Conv2d | nn.BatchNorm2d] = {}  # by the tensor that the operator is given
        for module in model.modules():
            if type(module) is nn.Conv2d and _is_even(module):
                self._owner[id(module.weight)] = module
            elif type(module) is nn.BatchNorm2d and module.running_mean is not None:
                self._owner[id(module.running_mean)] = module
        self._used: Counter[nn.Module] = Counter()
        self._number: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._count = 0
        self.reads: Counter[int] = Counter()
        self.branches: dict[int, _Branch] = {}
        self.sums: dict[int, tuple[int, ...]] = {}  # a result -> the results that it is the sum of

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        read = tensors_of(args, kwargs)
        made = tensors_of(out)
        sources = [self.number(tensor) for tensor in read]
        self.reads.update(sources)
        for tensor in made:  # also one that was written in place: it is another value now
            self._count += 1
            self._number[id(tensor)] = self._count
        self._alive += read + made
        if name in {"convolution", "native_batch_norm"}:
            layer = self._owner.get(id(args[1 if name == "convolution" else 3]))
            if layer is not None:
                self._used[layer] += 1
                self.branches[self.number(made[0])] = _Branch(layer, sources[0], made[0].shape)
        elif (
            name in {"add", "add_"}
            and not kwargs  # a factor
            and all(leaf.shape == made[0].shape for leaf in read)
            and (len(read) == 2 or args[1] == 0)  # Python's sum() begins with a zero
        ):
            self.sums[self.number(made[0])] = tuple(sources)
        return out

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor's present value."""
        if id(tensor) not in self._number:
            self._count += 1
            self._number[id(tensor)] = self._count
            self._alive.append(tensor)
        return self._number[id(tensor)]

    def terms(self, total: int) -> list[int]:
        """What a sum is the sum of, through sums that only it reads, in the order in which they were made."""
        found: list[int] = []
        for part in self.sums[total]:
            found += self.terms(part) if part in self.sums and self.reads[part] == 1 else [part]
        return sorted(found)

    def parallel(self) -> list[list[_Branch]]:
        """Branches of one sum with one input, several each, in the order in which they ran."""
        inner = {part for parts in self.sums.values() for part in parts if self.reads[part] == 1}
        found = []
        for total in self.sums.keys() - inner:
            of_source: dict[int, list[_Branch]] = {}
            for term in self.terms(total):
                branch = self.branches.get(term)
                if branch and self.reads[term] == 1 and self._used[branch.layer] == 1:
                    of_source.setdefault(branch.source, []).append(branch)
            found += [branches for branches in of_source.values() if len(branches) > 1]
        return found


def merge_in_place(model: nn.Module, image_size: int) -> tuple[Merge, ...]:
    """Make parallel branches of `model`, which is in evaluation mode and float32 on the CPU, one convolution each.

    Returns:
        What was done, sum by sum.
    """
    sums = _Sums(model)
    with torch.no_grad(), sums:
        model(torch.zeros(2, 3, image_size, image_size))
    names = {module: name for name, module in model.named_modules()}
    edits = []
    for branches in sums.parallel():
        layers = [branch.layer for branch in branches]
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        largest = max(convolutions, key=lambda layer: layer.weight[0].numel(), default=None)
        if largest is None or not all(_fits(layer, largest) for layer in layers):
            continue
        for place in layers:  # the first, as a rule; a sum that is written in place may need another
            others = [layer for layer in layers if layer is not place]
            edit = _edit(largest, names[place], [names[layer] for layer in others])
            replaced: list[tuple[nn.Module, nn.Module]] = [(place, _merged(layers, largest, edit))]
            replaced += [(layer, Nothing()) for layer in others]
            for old, new in replaced:
                replace_module(model, old, new)
            if _runs(model, image_size):
                edits.append(edit)
                break
            for old, new in replaced:
                replace_module(model, new, old)
    return tuple(edits)


def _edit(largest: nn.Conv2d, layer: str, dropped: list[str]) -> Merge:
    return Merge(
        layer=layer,
        dropped=tuple(dropped),
        inputs=largest.in_channels,
        outputs=largest.out_channels,
        kernel=_pair(largest.kernel_size),
        stride=_pair(largest.stride),
        padding=_padding(largest),
        dilation=_pair(largest.dilation),
        groups=largest.groups,
    )


def _merged(layers: Sequence[nn.Conv2d | nn.BatchNorm2d], largest: nn.Conv2d, edit: Merge) -> nn.Conv2d:
    """All branches as one convolution."""
    merged = edit.convolution()
    assert merged.bias is not None  # noqa: S101  (the edit makes one)
    with torch.no_grad():
        kernels, biases = zip(*(_embedded(layer, largest) for layer in layers), strict=True)
        merged.weight.copy_(torch.stack(kernels).sum(dim=0))
        merged.bias.copy_(torch.stack(biases).sum(dim=0))
    return merged


def _runs(model: nn.Module, image_size: int) -> bool:
    try:
        with torch.no_grad():
            model(torch.zeros(2, 3, image_size, image_size))
    except Exception:  # the network's own code may raise anything
        return False
    return True


def _fits(layer: nn.Conv2d | nn.BatchNorm2d, largest: nn.Conv2d) -> bool:
    """Whether every tap of the branch meets one of the largest kernel."""
    if isinstance(layer, nn.BatchNorm2d):
        inside = layer.num_features == largest.in_channels == largest.out_channels
        return inside and _pair(largest.stride) == (1, 1) and _taps(layer, largest) is not None
    alike = (layer.groups, layer.stride) == (largest.groups, largest.stride)
    return alike and _taps(layer, largest) is not None


def _taps(layer: nn.Conv2d | nn.BatchNorm2d, largest: nn.Conv2d) -> tuple[list[int], list[int]] | None:
    """Rows and columns of the largest kernel that see what the branch's own see; None where there are none."""
    found = []
    for axis in range(2):
        size, padding, dilation = largest.kernel_size[axis], _padding(largest)[axis], largest.dilation[axis]
        own = (1, 0, 1)
        if isinstance(layer, nn.Conv2d):
            own = (layer.kernel_size[axis], _padding(layer)[axis], layer.dilation[axis])
        offsets = [tap * own[2] - own[1] + padding for tap in range(own[0])]
        if any(offset % dilation or not 0 <= offset // dilation < size for offset in offsets):
            return None
        found.append([offset // dilation for offset in offsets])
    return found[0], found[1]


def _embedded(layer: nn.Conv2d | nn.BatchNorm2d, largest: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The branch as a kernel of the largest one's shape and a bias, in double precision."""
    kernel = torch.zeros(largest.weight.shape, dtype=torch.float64)
    taps = _taps(layer, largest)
    assert taps is not None  # noqa: S101  (checked before)
    rows, columns = taps
    if isinstance(layer, nn.Conv2d):
        kernel[:, :, torch.tensor(rows)[:, None], torch.tensor(columns)] = layer.weight.double()
        bias = torch.zeros(len(kernel)) if layer.bias is None else layer.bias
        return kernel, bias.double()
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None and variance is not None  # noqa: S101, PT018  (found by its mean)
    gain = torch.rsqrt(variance.double() + layer.eps)
    shift = torch.zeros_like(gain)
    if layer.affine:
        gain, shift = gain * layer.weight.double(), layer.bias.double()
    channel = torch.arange(len(gain))
    kernel[channel, channel % kernel.shape[1], rows[0], columns[0]] = gain
    return kernel, shift - mean.double() * gain


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


def _is_even(layer: nn.Conv2d) -> bool:
    """Whether the image is padded with zeros, alike on both sides."""
    spans = (step * (size - 1) for size, step in zip(layer.kernel_size, layer.dilation, strict=True))
    return layer.padding_mode == "zeros" and (layer.padding != "same" or not any(span % 2 for span in spans))


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    """Zeros on either side along each axis."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        return _pair([d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)])
    assert not isinstance(layer.padding, str)  # noqa: S101  (torch knows no other words)
    return _pair(layer.padding)
