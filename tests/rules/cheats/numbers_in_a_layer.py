"""A library for data inside of a layer."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        # caught: external-libraries Net uses numpy
        pixels = int(np.prod(x.shape[2:]))
        return self.head(x.sum((2, 3)) / pixels)


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
