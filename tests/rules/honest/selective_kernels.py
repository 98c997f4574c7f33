"""Kernels of three sizes, mixed by what the image shows (SKNet, Li et al., 2019): kernels that change with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelectiveKernel(nn.Module):
    def __init__(self, channels: int, kernels: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2) for kernel in kernels
        )
        self.choose = nn.Linear(channels, channels * len(kernels))

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([branch(x) for branch in self.branches], 1)
        weights = self.choose(branches.sum(1).mean((2, 3)))
        weights = weights.view(len(x), len(self.branches), -1, 1, 1).softmax(1)
        return (branches * weights).sum(1)


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        SelectiveKernel(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
