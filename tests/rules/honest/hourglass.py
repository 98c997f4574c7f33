"""Down and up again: transposed convolutions and nn.Upsample, with a skip."""

from __future__ import annotations

from torch import Tensor, nn


class Hourglass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.lower = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.raised = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x).relu()
        y = y + self.raised(self.lower(y).relu())
        return x + self.up(y)


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        Hourglass(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
