"""Exponential moving average of weights (Polyak & Juditsky, 1992; as used by Tarvainen & Valpola, 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def update_average(average: nn.Module, model: nn.Module, *, decay: float, step: int) -> None:
    """Move `average` towards `model`, parameters and buffers alike.

    Early on the decay is smaller, (1 + step) / (10 + step), so that the average does not remember the random start.
    """
    decay = min(decay, (1 + step) / (10 + step))
    slow: list[Tensor] = []
    fast: list[Tensor] = []
    for ours, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if ours.is_floating_point():
            slow.append(ours)
            fast.append(theirs)
        else:
            ours.copy_(theirs)
    with torch.no_grad():
        torch._foreach_lerp_(slow, fast, 1 - decay)  # one call instead of hundreds of tiny ones
