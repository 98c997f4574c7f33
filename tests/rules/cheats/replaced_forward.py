"""The forward of one layer replaced by a functional one, without any code of its own."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1, stride=4)
        self.kernel = nn.Parameter(torch.randn(8, 3, 5, 5) * 0.1)
        self.conv.forward = partial(F.conv2d, weight=self.kernel, stride=4)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation conv
        x = self.conv(images)
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
