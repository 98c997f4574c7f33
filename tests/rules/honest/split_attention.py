"""Groups gated one by one in a loop, then joined (ResNeSt, Zhang et al., 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SplitAttention(nn.Module):
    def __init__(self, channels: int, groups: int = 4) -> None:
        super().__init__()
        self.groups = groups
        self.mix = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.gates = nn.ModuleList(nn.Linear(channels // groups, channels // groups) for _ in range(groups))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mix(x).chunk(self.groups, 1)
        gated = [
            part * gate(part.mean((2, 3))).sigmoid()[:, :, None, None]
            for part, gate in zip(parts, self.gates, strict=True)
        ]
        return torch.cat(gated, 1)


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        SplitAttention(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
