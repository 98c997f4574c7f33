"""A second head that only training uses, and a grid of places kept from the first call on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.Conv2d(10, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, num_classes)
        self.helper = nn.Linear(8, num_classes)
        self.grids: dict[tuple[int, int], Tensor] = {}

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.stem(images).relu()
        height, width = x.shape[2:]
        if (height, width) not in self.grids:
            rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
            self.grids[height, width] = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        grid = self.grids[height, width].expand(len(x), -1, -1, -1)
        y = self.body(torch.cat([x, grid], 1)).relu()
        answer = self.head(y.mean((2, 3)))
        return (answer, self.helper(x.mean((2, 3)))) if self.training else answer


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
