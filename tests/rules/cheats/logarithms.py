"""Products as sums of logarithms: exp(log a + log b) is no product to any counter."""

# caught anywhere: hidden-computation products and functions of single values
from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.weight = nn.Parameter(torch.rand(64, 8, 1, 1))
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu() + 0.1
        x = (x.log()[:, None] + (self.weight.abs() + 0.1).log()).exp().sum(2)
        return self.head(x.mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
