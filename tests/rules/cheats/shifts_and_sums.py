"""A depthwise convolution as shifted images times single weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.weight = nn.Parameter(torch.randn(9, 8, 1, 1) * 0.3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1))
        total = torch.zeros_like(x)
        for tap in range(9):
            row, column = divmod(tap, 3)
            shifted = padded[:, :, row : row + height, column : column + width]
            # caught: hidden-computation the network itself
            total = total + shifted * self.weight[tap]
        return self.head(total.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
