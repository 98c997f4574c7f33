"""A bilinear layer: a module, but none that the counter has a formula for."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.pair = nn.Bilinear(8, 8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().mean((2, 3))
        # caught: hidden-computation pair
        return self.pair(x, x.roll(1, 1))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
