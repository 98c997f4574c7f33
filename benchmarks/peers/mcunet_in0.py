"""MCUNet-in0 (Lin et al., 2020): the network found for 10 images a second on an STM32F746, at 48 x 48 pixels.

Widths, kernels and expansions are those of the authors' configuration (mcunet-10fps_imagenet.json).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wisp.models.inverted_residual import Block, InvertedResidual
from wisp.models.layers import conv_bn_act, initialise

_STEM = 24
# hidden channels, width, kernel, stride; the first block does not expand
_BLOCKS = (
    (24, 16, 3, 1),
    (64, 16, 5, 2),
    (48, 16, 3, 1),
    (64, 16, 3, 1),
    (80, 24, 7, 2),
    (96, 24, 5, 1),
    (120, 24, 5, 1),
    (120, 48, 7, 2),
    (192, 48, 5, 1),
    (240, 56, 3, 1),
    (224, 56, 5, 1),
    (280, 56, 3, 1),
    (336, 112, 3, 2),
    (448, 112, 5, 1),
    (672, 192, 3, 1),
)


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


class MCUNet(nn.Module):
    """Inverted residuals, the global pool, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = conv_bn_act(3, _STEM, 3, 2, activation=_relu6)
        blocks, channels = [], _STEM
        for hidden, width, kernel, stride in _BLOCKS:
            block = Block(channels, hidden, width, kernel, stride, expands=hidden != channels)
            blocks.append(InvertedResidual(block, _relu6))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.blocks(self.stem(images))), 1))
        return logits


def build(num_classes: int = 1000) -> nn.Module:
    """The network with random weights."""
    return MCUNet(num_classes)
