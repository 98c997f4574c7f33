"""Two networks in one."""

from __future__ import annotations

from torch import Tensor, nn


def member(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = member(num_classes)
        self.second = member(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # flagged: one-inference first
        one = self.first(images)
        return (one + self.second(images)) / 2


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
