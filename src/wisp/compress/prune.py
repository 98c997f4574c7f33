"""Structured pruning: channels that matter least for what they cost go, wherever they are made and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wisp.compress.change import Change, Costs, describe_change
from wisp.compress.channels import (
    OUTPUTS,
    Channels,
    find_channels,
    is_sound,
    remove_channels,
    resize_edits,
    sound_groups,
)
from wisp.compress.importance import Losses, batchnorm_scale, magnitude, taylor
from wisp.compress.labels import ROWS
from wisp.errors import InputError, ModelError
from wisp.macs import MacsReport
from wisp.models.edits import Edit, Norm

Tune = Callable[[nn.Module, tuple[Edit, ...], int], nn.Module]
"""Fine-tunes a pruned network: (network, all edits so far, step from 1) to the trained one, of the same shape."""

# Costs are estimated anew after each such share of the MACs, since they depend on both ends of a layer.
_ROUND = 0.1


@dataclass(frozen=True)
class PruneConfig:
    """How to prune.

    Attributes:
        max_macs: what the larger of the competition's and the exact count is to become at most.
        importance: `taylor` (needs losses), `magnitude` or `batchnorm`.
        steps: how often to prune and fine-tune; the MACs fall by the same factor each time.
        least_share: the share of each layer's channels that stays in any case (at least one channel does).
        per_mac: rank by importance for each MAC saved instead of importance alone.
    """

    max_macs: int
    importance: Literal["taylor", "magnitude", "batchnorm"] = "magnitude"
    steps: int = 1
    least_share: float = 0.1
    per_mac: bool = True

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
    before = costs.larger(start)
    least = _least_rows(start, image_size, config.least_share)
    with tqdm(total=config.steps, desc="prune", unit="step", disable=None if progress else True) as bar:
        for step in range(1, config.steps + 1):
            target = _target(before, config, step)
            channels = find_channels(current, image_size)
            importance = _importance(current, channels, config, image_size, losses)
            plan = _Plan(current, channels, importance, least, costs=costs, config=config)
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


class _Plan:
    """Which classes of one network go, found round by round."""

    def __init__(
        self,
        model: nn.Module,
        channels: Channels,
        importance: Tensor,
        least: dict[str, int],
        *,
        costs: Costs,
        config: PruneConfig,
    ) -> None:
        self.model, self.channels, self.importance = model, channels, importance
        self.costs, self.image_size, self.config = costs, costs.image_size, config
        self.removed = torch.zeros(len(channels), dtype=torch.bool)
        self.room = self._room(least)
        probe = self._one_of_each_group()
        self.allowed = sound_groups(model, channels, probe, self.image_size) & (self.room > 0)
        self.notes: list[str] = []

    def reach(self, target: int) -> nn.Module:
        """The network with as many channels removed as it takes to cost at most `target`, or as can be."""
        while True:
            smaller = self._reach(target)
            if is_sound(self.model, self.channels, self.removed, self.image_size):
                break
            # Alone each class could go; so many of some group cannot.
            self.allowed &= sound_groups(self.model, self.channels, self.removed, self.image_size)
            self.removed &= False
        self._take_notes(target, smaller)
        return smaller

    def _reach(self, target: int) -> nn.Module:
        smaller, is_official = self.model, self._is_official()
        while True:
            report: MacsReport = self.costs.official(smaller) if is_official else self.costs.exact(smaller)
            excess = report.total - target
            if excess <= 0:  # by the counter that said more of the whole; the other one is asked at the end
                excess = self.costs.larger(smaller) - target
            if excess <= 0:
                return smaller
            chosen = self._cheapest(report, min(float(excess), _ROUND * report.total))
            if not chosen.any():
                return smaller
            self.removed |= chosen
            smaller = remove_channels(self.model, self.channels, self.removed)

    def _is_official(self) -> bool:
        """Whether the competition's counter says more than the exact one, which does not see functions as zero."""
        return self.costs.official(self.model).total >= self.costs.exact(self.model).total

    def _cheapest(self, report: MacsReport, saving: float) -> Tensor:
        """The next classes to go: those of least importance that together save about so many MACs."""
        saving_of = self._savings(report)
        # A class that costs nothing saves nothing: it is as good as any other at a MAC.
        score = self.importance / saving_of.clamp(min=1.0) if self.config.per_mac else self.importance
        chosen = torch.zeros_like(self.removed)
        room = self.room - torch.bincount(self.channels.group_of[self.removed], minlength=len(self.room))
        saved = 0.0
        for index in score.nan_to_num(nan=math.inf).argsort(stable=True).tolist():
            group = self.channels.group_of[index]
            if saved >= saving or not score[index].isfinite():
                break
            if self.removed[index] or not self.allowed[group] or room[group] < 1:
                continue
            chosen[index] = True
            room[group] -= 1
            saved += float(saving_of[index])
        return chosen

    def _savings(self, report: MacsReport) -> Tensor:
        """About how many MACs go with each class: its share of every layer that makes or reads it."""
        macs: dict[str, int] = {}
        for layer in report.layers:
            macs[layer.name] = macs.get(layer.name, 0) + layer.macs
        modules = dict(self.model.named_modules())
        savings = torch.zeros(len(self.channels), dtype=torch.float64)
        stays = torch.cat((~self.removed, torch.tensor([True])))
        for (name, axis), classes in self.channels.axes.items():
            owner, _, attribute = name.rpartition(".")
            is_weight = (name, axis) in self.channels.roles
            if owner in macs and (is_weight or (attribute == "weight" and isinstance(modules[owner], Norm))):
                share = macs[owner] / max(1, int(stays[classes].sum()))
                savings += self.channels.sum_by_class(classes, torch.full((len(classes),), share))
        return savings

    def _room(self, least: dict[str, int]) -> Tensor:
        """How many classes of each group may go."""
        room = torch.bincount(self.channels.group_of, minlength=self.channels.n_groups) - 1
        for name, _, classes in self.channels.weights(ROWS):
            groups = self.channels.group_of[classes[classes >= 0]]
            if not len(groups) or name in self.channels.depthwise:
                continue
            # A class may hold several channels of one layer.
            rows_per_class = len(groups) / len(torch.unique(classes))
            spare = math.floor((len(classes) - least.get(name, 1)) / rows_per_class)
            room[groups[0]] = min(int(room[groups[0]]), spare)
        return room.clamp(min=0)

    def _one_of_each_group(self) -> Tensor:
        """The middle class of each group that has any to spare."""
        chosen = torch.zeros_like(self.removed)
        for group in range(self.channels.n_groups):
            members = (self.channels.group_of == group).nonzero()[:, 0]
            if self.room[group] > 0:
                chosen[members[len(members) // 2]] = True
        return chosen

    def _take_notes(self, target: int, smaller: nn.Module) -> None:
        self.notes = [
            f"{number} classes of channels stay because of {reason}"
            for reason, number in self.channels.reasons.items()
            if reason != OUTPUTS
        ]
        stuck = ((~self.allowed) & (self.room > 0)).nonzero()[:, 0].tolist()
        if stuck:
            names = ", ".join(self._made_by(stuck))
            self.notes.append(f"the network's own code counts on the number of channels behind {names}")
        total = self.costs.larger(smaller)
        if total > target:
            self.notes.append(
                f"{target:,} MACs cannot be reached by removing channels: at {total:,} every layer that can be pruned "
                f"has its least width (least_share {self.config.least_share:g})"
            )

    def _made_by(self, groups: Sequence[int]) -> list[str]:
        """The first layer that makes the channels of each group."""
        found: dict[int, str] = {}
        for name, _, classes in self.channels.weights(ROWS):
            for group in torch.unique(self.channels.group_of[classes[classes >= 0]]).tolist():
                found.setdefault(group, name.rpartition(".")[0])
        return [found[group] for group in groups if group in found]
