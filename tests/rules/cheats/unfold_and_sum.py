"""A convolution as patches times weights, added up: no operator of it is a convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.patches = nn.Unfold(3, padding=1, stride=2)
        self.weight = nn.Parameter(torch.randn(1, 6, 36, 1) * 0.2)
        self.head = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(self.stem(images)).unsqueeze(1)
        # caught: hidden-computation the network itself
        x = (x * self.weight).sum(2)
        return self.head(x.relu().mean(2))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
