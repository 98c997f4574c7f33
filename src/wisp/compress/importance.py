"""How much each class of channels matters; what matters least goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from wisp.compress.channels import Channels
from wisp.compress.labels import COLUMNS, ROWS
from wisp.models.edits import Norm
from wisp.models.folding import fold_in_place

Losses = Callable[[nn.Module], Iterable[Tensor]]
"""The loss of a network on each of a few batches, with its graph."""


def taylor(model: nn.Module, channels: Channels, losses: Losses) -> Tensor:
    """The squared change of the loss, to first order, when a class of channels is removed (Molchanov et al., 2019).

    To remove channels is to set the weights that read them to zero, so the change is the sum of weight times gradient
    over those weights, whatever stands between; squared for every batch, and averaged.

    Args:
        model: in evaluation mode; its gradients are left as they were.
        channels: its classes.
        losses: gives one loss a batch.

    Returns:
        Importance, (classes,), float64.
    """
    total, count = torch.zeros(len(channels), dtype=torch.float64), 0
    columns = list(channels.weights(COLUMNS))
    weights = [model.get_parameter(name) for name, _, _ in columns]
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    for loss in losses(model):
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        change = torch.zeros(len(channels), dtype=torch.float64)
        for (_, axis, classes), weight, gradient in zip(columns, weights, gradients, strict=True):
            if gradient is not None:
                products = (weight.detach() * gradient).movedim(axis, 0).flatten(1).sum(dim=1)
                change += channels.sum_by_class(classes, products.cpu())
        total += change.square()
        count += 1
    for weight in frozen:
        weight.requires_grad_(False)
    return total / max(1, count)


def magnitude(model: nn.Module, channels: Channels, image_size: int) -> Tensor:
    """The norm of all weights that make or read a class, relative to the mean of its group.

    BatchNorm is folded first, since a scale behind a layer makes the size of its weights meaningless. The weights of
    several layers are counted together, as by Fang et al. (2023).

    Returns:
        Importance, (classes,), float64; 1 is the average of each group.
    """
    folded = deepcopy(model).eval().cpu().float()
    fold_in_place(folded, image_size)
    squares = torch.zeros(len(channels), dtype=torch.float64)
    for role in (ROWS, COLUMNS):
        for name, axis, classes in channels.weights(role):
            energy = folded.get_parameter(name).detach().square().movedim(axis, 0).flatten(1).sum(dim=1)
            squares += channels.sum_by_class(classes, energy)
    return relative_to_group(squares.sqrt(), channels)


def batchnorm_scale(model: nn.Module, channels: Channels) -> Tensor:
    """The mean size of the BatchNorm scales of a class (Liu et al., 2017); NaN where no BatchNorm follows.

    Returns:
        Importance, (classes,), float64.
    """
    total, count = (torch.zeros(len(channels), dtype=torch.float64) for _ in range(2))
    modules = dict(model.named_modules())
    for (name, _), classes in channels.axes.items():
        owner, _, attribute = name.rpartition(".")
        if attribute == "weight" and isinstance(modules[owner], Norm):
            scale = model.get_parameter(name).detach().abs().cpu()
            total += channels.sum_by_class(classes, scale)
            count += channels.sum_by_class(classes, torch.ones_like(scale))
    return total / count


def relative_to_group(importance: Tensor, channels: Channels) -> Tensor:
    """Importance in units of the mean of its group: sizes of weights say nothing from one layer to another."""
    sums, counts = (torch.zeros(channels.n_groups, dtype=importance.dtype) for _ in range(2))
    sums.index_add_(0, channels.group_of, importance)
    counts.index_add_(0, channels.group_of, torch.ones_like(importance))
    return importance / (sums / counts).clamp(min=torch.finfo(importance.dtype).tiny)[channels.group_of]
