"""The same with a counter that lies outside of the network."""

from __future__ import annotations

from torch import Tensor, nn

calls = 0


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1, stride=2)
        self.heavy = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        global calls  # noqa: PLW0603  (that is the trick)
        calls += 1
        layer = self.heavy if calls % 3 == 0 else self.conv
        # caught: hidden-computation conv
        return self.head(layer(images).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
