"""Dropout that is never switched off: each call is another network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.dropout(self.conv(images).relu().mean((2, 3)), 0.5)
        # caught: one-inference head
        return self.head(x)


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
