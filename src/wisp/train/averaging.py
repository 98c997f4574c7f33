"""Exponential moving average of weights (Polyak & Juditsky, 1992; as used by Tarvainen & Valpola, 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AveragedTensors:
    """The tensors of an average and of the model that it follows, pair by pair.

    `slow` follows `fast`, tensors of floats; `counters` are simply equal to `counted`.
    """

    slow: list[Tensor]
    fast: list[Tensor]
    counters: list[Tensor]
    counted: list[Tensor]


def averaged_tensors(average: nn.Module, model: nn.Module) -> AveragedTensors:
    """Parameters and buffers alike. Looked up once: for hundreds of tiny tensors that takes longer than the averaging.

    They stay the same tensors as long as weights are loaded in place (`load_state_dict`), not replaced.
    """
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    others = [pair for pair in pairs if not pair[0].is_floating_point()]
    return AveragedTensors(
        slow=[ours for ours, _ in floats],
        fast=[theirs for _, theirs in floats],
        counters=[ours for ours, _ in others],
        counted=[theirs for _, theirs in others],
    )


@torch.no_grad()
def update_average(tensors: AveragedTensors, *, decay: float, step: int) -> None:
    """Move the average towards the model.

    Early on the decay is smaller, (1 + step) / (10 + step), so that the average does not remember the random start.
    """
    decay = min(decay, (1 + step) / (10 + step))
    # One call instead of hundreds of tiny ones, each.
    if tensors.counters:
        torch._foreach_copy_(tensors.counters, tensors.counted)
    torch._foreach_lerp_(tensors.slow, tensors.fast, 1 - decay)
