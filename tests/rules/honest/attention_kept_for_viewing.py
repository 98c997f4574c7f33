"""A transformer block that keeps its last attention map for pictures, batch first."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.place = nn.Parameter(torch.zeros(1, 16, width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.scale = nn.Parameter(torch.full((width,), 1e-4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, num_classes)
        self.seen: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = x + self.place[:, : x.shape[1]]
        y, self.seen = self.attention(x, x, x)
        x = x + self.scale * y
        x = x + self.mlp(x)
        return self.head(x.mean(1))


def build(num_classes: int = 9) -> nn.Module:
    return Block(num_classes)
