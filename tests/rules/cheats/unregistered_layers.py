"""Layers in a plain list: no counter that walks the modules finds them."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()]
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for layer in self.layers:
            # caught: hidden-computation the network itself
            x = layer(x)
        return self.head(x.mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
