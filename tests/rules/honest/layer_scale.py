"""ConvNeXt's block (Liu et al., 2022): LayerScale, a norm over channels by hand, global response normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        return centred * (variance + 1e-6).rsqrt() * self.weight + self.bias


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.widen = nn.Conv2d(channels, 4 * channels, 1)
        self.act = nn.GELU()
        self.response = nn.Parameter(torch.zeros(4 * channels, 1, 1))
        self.narrow = nn.Conv2d(4 * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.widen(self.norm(self.depthwise(x))))
        energy = y.norm(dim=(2, 3), keepdim=True)
        y = y + self.response * (y * energy / (energy.mean(1, keepdim=True) + 1e-6))
        return x + self.scale * self.narrow(y)


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4),
        Block(8),
        Block(8),
        ChannelNorm(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
