"""A product of matrices in numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.weight = np.random.default_rng(0).normal(size=(8, num_classes)).astype(np.float32)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().mean((2, 3))
        # caught: hidden-computation the network itself
        return torch.from_numpy(x.detach().numpy() @ self.weight)


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
