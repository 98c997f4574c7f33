"""A convolution hung below a ReLU: the counter does not look below layers that it knows."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.act = nn.ReLU()
        self.act.hidden = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.stem(images))
        # caught: hidden-computation act.hidden
        x = self.act.hidden(x)
        return self.head(x.mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
