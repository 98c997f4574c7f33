"""The operator below the functions: torch.ops.aten."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        convolution = torch.ops.aten.convolution.default
        # caught: hidden-computation the network itself
        x = convolution(images, self.weight, None, [2, 2], [0, 0], [1, 1], False, [0, 0], 1)
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
