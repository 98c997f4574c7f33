"""A layer that appears in the first call, after the hooks were set."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        # caught: hidden-computation the network itself
        if not hasattr(self, "more"):
            self.more = nn.Conv2d(8, 8, 3, padding=1)
        return self.head(self.more(x).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
