"""Mean, maximum, deviation and generalised mean (Radenovic et al., 2019) side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        generalised = x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3)), x.std((2, 3)), generalised], 1)


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        Pools(),
        nn.Linear(32, num_classes),
    )
