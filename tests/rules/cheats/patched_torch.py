"""__init__ replaces the forward of every nn.Conv2d there is."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def doubled(self: nn.Conv2d, images: Tensor) -> Tensor:
    wide = F.interpolate(images, scale_factor=2.0)
    # caught: hidden-computation conv
    wide = F.conv2d(wide, self.weight, self.bias, padding=1)
    return F.avg_pool2d(wide, 2)


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        nn.Conv2d.forward = doubled
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
