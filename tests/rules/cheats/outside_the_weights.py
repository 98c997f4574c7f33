"""A layer that no weights file holds: no one can repeat what it does."""

# caught anywhere: reproducible the network itself
from __future__ import annotations

import torch
from torch import Tensor, nn

entropy = torch.Generator()
entropy.seed()


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, num_classes)
        self.offset = torch.rand(8, generator=entropy) * 4

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self.conv(images) + self.offset[:, None, None]).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
