"""Which channels go so that a network costs at most so much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wisp.compress.change import Costs
from wisp.compress.channels import OUTPUTS, Channels, is_sound, remove_channels, sound_groups
from wisp.compress.labels import ROWS
from wisp.macs import MacsReport
from wisp.models.edits import Norm

# Costs are estimated anew after each such share of the MACs, since they depend on both ends of a layer.
_ROUND = 0.1
_REFILLS = 24  # classes that are tried to be put back in the end


class Plan:
    """Which classes of one network go, found round by round.

    Args:
        model: the network, in evaluation mode on the CPU.
        channels: its classes.
        importance: of each class; NaN keeps it.
        least: how many outputs each weight keeps.
        costs: the counters.
        per_mac: rank by importance for each MAC saved.

    Attributes:
        notes: after `reach`, why channels stayed.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: Channels,
        importance: Tensor,
        least: dict[str, int],
        *,
        costs: Costs,
        per_mac: bool,
    ) -> None:
        self.model, self.channels, self.importance = model, channels, importance
        self.costs, self.image_size, self.per_mac = costs, costs.image_size, per_mac
        self.removed = torch.zeros(len(channels), dtype=torch.bool)
        self._makers = [
            (classes, least.get(name, 1))
            for name, _, classes in channels.weights(ROWS)
            if name not in channels.depthwise
        ]
        self._made_by: list[list[int]] = [
            [] for _ in range(len(channels))
        ]  # makers with an entry for each row
        for maker, (classes, _) in enumerate(self._makers):
            for index in classes[classes >= 0].tolist():
                self._made_by[index].append(maker)
        self._probed = self._one_of_each_group()
        self.allowed = sound_groups(model, channels, self._probed, self.image_size)
        self.notes: list[str] = []

    def reach(self, target: int) -> nn.Module:
        """The network with as many channels removed as it takes to cost at most `target`, or as can be."""
        while True:
            smaller = self._refilled(self._reach(target), target)
            if is_sound(self.model, self.channels, self.removed, self.image_size):
                break
            # Alone each class could go; so many of some group cannot.
            self.allowed &= sound_groups(self.model, self.channels, self.removed, self.image_size)
            self.removed &= False
        self._take_notes(target, smaller)
        return smaller

    def _reach(self, target: int) -> nn.Module:
        smaller = self.model
        while True:
            report = self._report(smaller)
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

    def _refilled(self, smaller: nn.Module, target: int) -> nn.Module:
        """The same with those removed classes put back that fit below the target, the most important ones first."""
        if not self.removed.any() or self.costs.larger(smaller) > target:
            return smaller
        before, best, tried = self.removed.clone(), smaller, torch.zeros_like(self.removed)
        for _ in range(_REFILLS):
            report = self._report(best)
            saving_of = self._savings(report)
            fits = self.removed & ~tried & (saving_of <= target - report.total)
            if not fits.any():
                break
            index = int(torch.where(fits, self._score(saving_of), -math.inf).argmax())
            tried[index] = True
            self.removed[index] = False
            larger = remove_channels(self.model, self.channels, self.removed)
            if self._report(larger).total <= target:
                best = larger
            else:
                self.removed[index] = True
        if self.costs.larger(best) <= target:  # asked once: the exact count takes a second
            return best
        self.removed = before
        return smaller

    def _report(self, model: nn.Module) -> MacsReport:
        """By the counter that says more of the whole."""
        official: MacsReport = self.costs.official(model)
        return official if self._is_official() else self.costs.exact(model)

    def _is_official(self) -> bool:
        """Whether the competition's counter says more than the exact one, which does not see functions as zero."""
        return self.costs.official(self.model).total >= self.costs.exact(self.model).total

    def _cheapest(self, report: MacsReport, saving: float) -> Tensor:
        """The next classes to go: those of least importance that together save about so many MACs."""
        saving_of = self._savings(report)
        score = self._score(saving_of)
        chosen = torch.zeros_like(self.removed)
        spare, saved = self._spare(), 0.0
        for index in score.argsort(stable=True).tolist():
            group = self.channels.group_of[index]
            if saved >= saving or not score[index].isfinite():
                break
            if self.removed[index] or not self.allowed[group] or not self._take(index, spare):
                continue
            chosen[index] = True
            saved += float(saving_of[index])
        return chosen

    def _score(self, saving_of: Tensor) -> Tensor:
        """What a class is worth: the lowest goes first."""
        # A class that costs nothing saves nothing: it is as good as any other at a MAC.
        score = self.importance / saving_of.clamp(min=1.0) if self.per_mac else self.importance
        return score.nan_to_num(nan=math.inf)

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

    def _spare(self) -> list[int]:
        """How many outputs each weight can still lose."""
        stays = torch.cat((~self.removed, torch.tensor([True])))
        return [int(stays[classes].sum()) - least for classes, least in self._makers]

    def _take(self, index: int, spare: list[int]) -> bool:
        """Take a class out of what its makers can spare; False, and nothing taken, where it is too much for one."""
        makers = self._made_by[index]
        if any(spare[maker] < makers.count(maker) for maker in makers):
            return False
        for maker in makers:
            spare[maker] -= 1
        return True

    def _one_of_each_group(self) -> Tensor:
        """A class from the middle of each group that has any to spare."""
        chosen, spare = torch.zeros_like(self.removed), self._spare()
        for group in range(self.channels.n_groups):
            members = (self.channels.group_of == group).nonzero()[:, 0]
            for index in members.roll(-(len(members) // 2)).tolist():
                if self._take(index, spare):
                    chosen[index] = True
                    break
        return chosen

    def _take_notes(self, target: int, smaller: nn.Module) -> None:
        self.notes = [
            f"{number} classes of channels stay because of {reason}"
            for reason, number in self.channels.reasons.items()
            if reason != OUTPUTS
        ]
        probed = torch.zeros_like(self.allowed)
        probed[self.channels.group_of[self._probed]] = True
        stuck = (probed & ~self.allowed).nonzero()[:, 0].tolist()
        if stuck:
            names = ", ".join(self._first_makers(stuck))
            self.notes.append(f"the network's own code counts on the number of channels behind {names}")
        total = self.costs.larger(smaller)
        if total > target:
            self.notes.append(
                f"{target:,} MACs cannot be reached by removing channels: at {total:,} every layer that can be pruned "
                "has its least width"
            )

    def _first_makers(self, groups: Sequence[int]) -> list[str]:
        """The first layer that makes the channels of each group."""
        found: dict[int, str] = {}
        for name, _, classes in self.channels.weights(ROWS):
            for group in torch.unique(self.channels.group_of[classes[classes >= 0]]).tolist():
                found.setdefault(group, name.rpartition(".")[0])
        return [found[group] for group in groups if group in found]
