"""The counter itself changed: its table of formulas."""

# not run
from __future__ import annotations

from types import MappingProxyType

from torch import Tensor, nn

import wisp.macs.hooks as counter


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # caught: hidden-computation changes wisp.macs.hooks.FORMULAS
        counter.FORMULAS = MappingProxyType({})
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
