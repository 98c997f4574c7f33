"""A functional convolution under another name, found by a name put together at run time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

convolve = getattr(F, "conv" + "2d")


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation the network itself
        x = convolve(images, self.weight, stride=2)
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
