"""Blocks that training skips at random (stochastic depth, Huang et al., 2016), by code of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.training:
            keep = torch.rand(len(x), 1, 1, 1) >= self.drop
            y = y * keep / (1 - self.drop)
        return x + y


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        Residual(8, 0.1),
        Residual(8, 0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, num_classes),
    )
