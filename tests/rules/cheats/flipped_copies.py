"""Test-time augmentation inside the network: one pass over the image and one over its mirror image."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # flagged: one-inference body
        straight = self.head(self.body(images))
        mirrored = self.head(self.body(images.flip(-1)))
        return (straight + mirrored) / 2


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
