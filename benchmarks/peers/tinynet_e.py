"""TinyNet-E (Han et al., 2020): EfficientNet-B0 (Tan & Le, 2019) at 0.51 of its width and 0.6 of its depth, 106 pixels.

The stem and the last convolution keep their widths, as in the authors' release and in timm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wisp.models.layers import conv_bn_act, initialise, make_divisible

_WIDTH, _DEPTH = 0.51, 0.6
_STEM, _HEAD, _DROPOUT = 32, 1280, 0.2
# Table 1 of EfficientNet: expansion, width, depth, kernel, stride
_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


def _swish() -> nn.Module:
    return nn.SiLU(inplace=True)


class SigmoidSqueezeExcite(nn.Module):
    """Squeeze-and-excitation with a true sigmoid; the squeeze is a quarter of what enters the block."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            _swish(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W -> the same shape."""
        gates: Tensor = self.gate(images)
        return images * gates


class MBConv(nn.Module):
    """EfficientNet's block: expand, filter each channel, squeeze-excite, project."""

    def __init__(self, channels: int, width: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and channels == width
        hidden = channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_bn_act(channels, hidden, 1, activation=_swish))
        layers += [
            conv_bn_act(hidden, hidden, kernel, stride, groups=hidden, activation=_swish),
            SigmoidSqueezeExcite(hidden, round(channels / 4)),
            conv_bn_act(hidden, width, 1),
        ]
        self.block = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> N x width x H/stride x W/stride."""
        out: Tensor = self.block(images)
        return images + out if self.residual else out


class TinyNet(nn.Module):
    """EfficientNet-B0's stages at TinyNet-E's width and depth."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = conv_bn_act(3, _STEM, 3, 2, activation=_swish)
        blocks, channels = [], _STEM
        for expansion, full_width, full_depth, kernel, stride in _STAGES:
            width = make_divisible(full_width * _WIDTH)
            for index in range(max(1, round(full_depth * _DEPTH))):
                first = stride if index == 0 else 1
                blocks.append(MBConv(channels, width, expansion=expansion, kernel=kernel, stride=first))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_bn_act(channels, _HEAD, 1, activation=_swish)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Linear(_HEAD, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = torch.flatten(self.pool(self.head(self.blocks(self.stem(images)))), 1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def build(num_classes: int = 1000) -> nn.Module:
    """The network with random weights."""
    return TinyNet(num_classes)
