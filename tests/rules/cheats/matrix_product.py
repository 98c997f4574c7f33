"""A 1 x 1 convolution written as a matrix product."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.weight = nn.Parameter(torch.randn(8, 16) * 0.2)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().flatten(2).transpose(1, 2)
        # caught: hidden-computation the network itself
        x = x @ self.weight
        return self.head(x.relu().mean(1))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
