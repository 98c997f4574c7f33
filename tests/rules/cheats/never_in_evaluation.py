"""A network that eval() does not reach."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1, stride=2)
        self.heavy = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        layer = self.heavy if self.training else self.conv
        return self.head(layer(images).relu().mean((2, 3)))

    # caught: hidden-computation the network itself
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(True)


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
