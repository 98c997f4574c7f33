"""Folding BatchNorm into the layer before it: in inference both are affine, so one layer does the work of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def fold_batchnorm(model: nn.Module, image_size: int) -> nn.Module:
    """Copy `model` and fold each BatchNorm that directly follows a convolution or a linear layer into it.

    Pairs are found in the flow of data of one forward pass, not in the module tree, so they are found in any
    network, however its modules are nested. A BatchNorm stays where it is when folding would change a result: no
    linear layer before it, the layer's output has a second reader, or the layer or its weights are used twice.

    Args:
        model: takes normalised float images, N x 3 x image_size x image_size.
        image_size: side of the images in pixels.

    Returns:
        A copy on the CPU, in evaluation mode and float32, with the same outputs up to rounding. The module tree
        stays as it was: a layer that was folded has a bias, the BatchNorm's place holds an `nn.Identity`.
    """
    folded = deepcopy(model).eval().cpu().float()
    fold_in_place(folded, image_size)
    return folded


def fold_in_place(model: nn.Module, image_size: int) -> tuple[tuple[str, str], ...]:
    """Do what `fold_batchnorm` says to `model` itself, which is in evaluation mode and float32 on the CPU.

    Returns:
        The names of each layer that was folded into, and of the BatchNorm whose place an `nn.Identity` took.
    """
    with torch.no_grad():
        pairs = _pairs(model, torch.zeros(2, 3, image_size, image_size))
        for layer, norm in pairs:
            _fold(layer, norm)
    names = {module: name for name, module in model.named_modules()}
    for _, norm in pairs:
        replace_module(model, norm, nn.Identity())
    return tuple((names[layer], names[norm]) for layer, norm in pairs)


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` where `old` stands in `model`, under each of its names."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() leaves out second names
            if child is old:
                setattr(parent, name, new)


class _Recorder(TorchFunctionMode):
    """Follows tensors through one forward pass: what made them and how often each is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[int] = Counter()
        self.made_by_weight: dict[int, Tensor] = {}  # output of a convolution or linear layer -> its weight
        self.norms: list[tuple[Tensor, Tensor]] = []  # (input, running mean) of each BatchNorm
        self._alive: list[Tensor] = []  # a freed tensor's id could be given to another one

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if made or func is Tensor.__setitem__:  # what gives no tensor asked for a shape or a type
            read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.reads.update(map(id, read))
            self._alive += read + made
        if func in (torch.conv1d, torch.conv2d, torch.conv3d, F.linear) and len(args) > 1:
            self.made_by_weight[id(result)] = args[1]
        elif func is F.batch_norm and isinstance(args[1], Tensor):
            self.norms.append((args[0], args[1]))
        return result


def _pairs(model: nn.Module, images: Tensor) -> list[tuple[_Layer, _Norm]]:
    """Layers and the BatchNorm that may be folded into them."""
    layers = {id(module.weight): module for module in model.modules() if isinstance(module, _Layer)}
    norms = {id(module.running_mean): module for module in model.modules() if isinstance(module, _Norm)}
    recorder = _Recorder()
    with recorder:
        model(images)
    pairs = []
    for source, running_mean in recorder.norms:
        weight = recorder.made_by_weight.get(id(source))
        layer = layers.get(id(weight))  # None also where a weight is computed on the fly
        norm = norms.get(id(running_mean))
        used_once = (id(source), id(weight), id(running_mean))
        if layer and norm and all(recorder.reads[key] == 1 for key in used_once):
            pairs.append((layer, norm))
    return pairs


def _fold(layer: _Layer, norm: _Norm) -> None:
    """Make `gamma (Wx + b - mean) / sqrt(var + eps) + beta` one weight and one bias, in double precision."""
    weight, bias = layer.weight, layer.bias
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # noqa: S101, PT018  (the pair was found by the mean)
    gain = torch.rsqrt(variance.double() + norm.eps)
    shift = -mean.double() * gain
    if bias is not None:
        shift = shift + bias.double() * gain
    if norm.affine:
        gain = gain * norm.weight.double()
        shift = shift * norm.weight.double() + norm.bias.double()
    scaled = weight.double() * gain.reshape(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
