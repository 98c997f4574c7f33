"""Distances to prototypes: matrix products inside cdist."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.prototypes = nn.Parameter(torch.randn(num_classes, 16))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().mean((2, 3))
        # caught: hidden-computation the network itself
        return -torch.cdist(x, self.prototypes)


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
