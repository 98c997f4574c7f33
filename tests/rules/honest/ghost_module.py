"""Half of the channels made from the other half by cheap filters (GhostNet, Han et al., 2020): allowed by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GhostModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, ratio: int = 2) -> None:
        super().__init__()
        self.outputs = outputs
        first = -(-outputs // ratio)
        self.primary = nn.Sequential(
            nn.Conv2d(inputs, first, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.cheap = nn.Sequential(
            nn.Conv2d(first, first * (ratio - 1), 3, padding=1, groups=first, bias=False),
            nn.BatchNorm2d(first * (ratio - 1)),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)[:, : self.outputs]


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        GhostModule(8, 15),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(15, num_classes),
    )
