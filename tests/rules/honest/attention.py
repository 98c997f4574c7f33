"""Self-attention over patches, by the layer that counters know (Vaswani et al., 2017)."""

from __future__ import annotations

from torch import Tensor, nn


class PatchAttention(nn.Module):
    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.patches(images).flatten(2).permute(2, 0, 1))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(0))


def build(num_classes: int = 9) -> nn.Module:
    return PatchAttention(num_classes)
