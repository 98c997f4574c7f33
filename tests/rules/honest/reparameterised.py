"""Three branches that are one convolution once trained (RepVGG, Ding et al., 2021); here as they are trained."""

from __future__ import annotations

from torch import Tensor, nn


class RepBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.three = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.one = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.same = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (self.three(x) + self.one(x) + self.same(x)).relu()


def build(num_classes: int = 9) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        RepBlock(8),
        RepBlock(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )
