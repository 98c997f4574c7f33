"""Structured pruning: channels that matter least for what they cost go, wherever they are made and read."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from tqdm import tqdm

from wisp.compress.change import Change, Costs, describe_change
from wisp.compress.channels import (
    Channels,
    find_channels,
    resize_edits,
)
from wisp.compress.importance import Losses, batchnorm_scale, magnitude, taylor
from wisp.compress.labels import ROWS
from wisp.compress.plan import Plan
from wisp.errors import InputError, ModelError
from wisp.models.edits import Edit

Tune = Callable[[nn.Module, tuple[Edit, ...], int], nn.Module]
"""Fine-tunes a pruned network: (network, all edits so far, step from 1) to the trained one, of the same shape."""


@dataclass(frozen=True)
class PruneConfig:
    """How to prune.

    Attributes:
        max_macs: what the larger of the competition's and the exact count is to become at most.
        importance: `taylor` (needs losses), `magnitude` or `batchnorm`.
        steps: how often to prune and fine-tune; the MACs fall by the same factor each time.
        least_share: the share of each layer's channels that stays in any case (at least one channel does).
        per_mac: rank by importance for each MAC saved instead of importance alone; None: of `taylor` only, which is in
            the loss's own unit. Sizes of weights divided by MACs ruin the cheap first layers
            (docs/records/2026-11-25-compression.md).
    """

    max_macs: int
    importance: Literal["taylor", "magnitude", "batchnorm"] = "magnitude"
    steps: int = 1
    least_share: float = 0.1
    per_mac: bool | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.max_macs < 1 or self.steps < 1:
            raise InputError(
                f"pruning to {self.max_macs} MACs in {self.steps} steps: both must be at least 1"
            )
        if not 0 <= self.least_share <= 1:
            raise InputError(f"least_share = {self.least_share}: must be between 0 and 1")


def prune(
    model: nn.Module,
    config: PruneConfig,
    *,
    image_size: int,
    losses: Losses | None = None,
    tune: Tune | None = None,
    progress: bool = True,
) -> tuple[nn.Module, Change]:
    """Remove channels until the network costs at most `config.max_macs`, or as little as it can.

    Before fine-tuning, the smaller network computes exactly what the larger one does once the weights that read the
    removed channels are zero; that is proven for every removal, and channels for which it fails stay.

    Args:
        model: takes float images N x 3 x image_size x image_size, gives logits. Left as it was.
        config: how far and by what.
        image_size: pixels.
        losses: the loss on a few batches, for `taylor`.
        tune: fine-tunes after each step; None leaves the weights as they are.
        progress: show a bar on a terminal.

    Raises:
        ModelError: the network cannot run, or there is nothing in it that could be removed by this importance.
    """
    start = deepcopy(model).eval().cpu().float()
    current = start
    edits: tuple[Edit, ...] = ()
    notes: list[str] = []
    costs = Costs(image_size)
    per_mac = config.importance == "taylor" if config.per_mac is None else config.per_mac
    before = costs.larger(start)
    least = _least_rows(start, image_size, config.least_share)
    with tqdm(total=config.steps, desc="prune", unit="step", disable=None if progress else True) as bar:
        for step in range(1, config.steps + 1):
            target = _target(before, config, step)
            channels = find_channels(current, image_size)
            importance = _importance(current, channels, config, image_size, losses)
            plan = Plan(current, channels, importance, least, costs=costs, per_mac=per_mac)
            smaller = plan.reach(target)
            edits = resize_edits(start, smaller)
            current = smaller if tune is None or not edits else tune(smaller, edits, step).eval().cpu()
            notes = plan.notes
            bar.update()
    change = describe_change(
        start,
        current,
        method="prune",
        costs=costs,
        edits=edits,
        max_macs=config.max_macs,
        notes=notes,
    )
    return current, change


def _target(before: int, config: PruneConfig, step: int) -> int:
    """MACs after so many steps: the same factor each time."""
    if step == config.steps or before <= config.max_macs:
        return config.max_macs
    factor: float = (config.max_macs / before) ** (step / config.steps)
    return math.floor(before * factor)


def _least_rows(model: nn.Module, image_size: int, share: float) -> dict[str, int]:
    """How many outputs each weight keeps at least."""
    channels = find_channels(model, image_size)
    return {name: max(1, math.ceil(share * len(classes))) for name, _, classes in channels.weights(ROWS)}


def _importance(
    model: nn.Module, channels: Channels, config: PruneConfig, image_size: int, losses: Losses | None
) -> Tensor:
    match config.importance:
        case "taylor":
            if losses is None:
                raise InputError("importance 'taylor' needs photos to compute gradients on; give --data")
            return taylor(model, channels, losses)
        case "magnitude":
            return magnitude(model, channels, image_size)
        case "batchnorm":
            importance = batchnorm_scale(model, channels)
            if not importance.isfinite().any():
                raise ModelError("no BatchNorm behind any channel; choose --importance magnitude or taylor")
            return importance
