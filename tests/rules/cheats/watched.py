"""Cheap while operators are watched."""

from __future__ import annotations

import torch
import torch.utils._python_dispatch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1, stride=2)
        self.heavy = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        # caught: hidden-computation the network itself
        if mode is not None:
            return self.head(self.conv(images).relu().mean((2, 3)))
        return self.head(self.heavy(images).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
