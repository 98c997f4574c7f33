"""Branches of different kernels, a pool among them (Inception, Szegedy et al., 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, 4, 1)
        self.three = nn.Sequential(nn.Conv2d(inputs, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(inputs, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(inputs, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1).relu()


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        Inception(3),
        nn.MaxPool2d(2),
        Inception(18),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(18, num_classes),
    )
