"""Gates along rows and along columns (Hou et al., 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CoordinateAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.both = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4), nn.Hardswish())
        self.rows = nn.Conv2d(4, channels, 1)
        self.columns = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        rows, columns = self.both(torch.cat([rows, columns], 2)).split([height, width], 2)
        columns = self.columns(columns).transpose(2, 3)
        return x * self.rows(rows).sigmoid() * columns.sigmoid()


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        CoordinateAttention(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
