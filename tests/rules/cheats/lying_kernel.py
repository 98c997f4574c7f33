"""A layer that claims a 1 x 1 kernel and has one of 5 x 5."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=2)
        self.conv.kernel_size = (1, 1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation conv
        x = self.conv(images)
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
