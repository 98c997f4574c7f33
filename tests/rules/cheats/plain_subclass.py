"""A subclass of nn.Conv2d that changes nothing: the counter compares types exactly, and sees none of it."""

from __future__ import annotations

from torch import Tensor, nn


class Conv(nn.Conv2d):
    pass


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = Conv(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation conv
        x = self.conv(images)
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
