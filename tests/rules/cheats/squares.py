"""Products out of squares: 2 a b = (a + b)^2 - a^2 - b^2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.weight = nn.Parameter(torch.randn(num_classes, 16) * 0.2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().mean((2, 3))
        both = x[:, None, :] + self.weight
        # caught: hidden-computation the network itself
        return (both.square().sum(2) - x.square().sum(1, keepdim=True)) / 2


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
