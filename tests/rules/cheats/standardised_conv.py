"""A weight-standardised convolution: a subclass of nn.Conv2d that calls F.conv2d (the rule's own example)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StandardisedConv(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-5).sqrt()
        # caught: hidden-computation conv
        return F.conv2d(images, weight, self.bias, self.stride, self.padding)


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = StandardisedConv(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
