"""MobileNetV2 (Sandler et al., 2018), as torchvision builds it: same parameter names, shapes and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from wisp.models.inverted_residual import Block
from wisp.models.layers import conv_bn_act, conv_macs, initialise, linear_macs, make_divisible, out_size
from wisp.models.options import Channels, FamilyOptions, Probability, Width

# (expansion, width, depth, stride): Table 2 of the paper
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2Options(FamilyOptions):
    """`width` scales all channels; `head` is the last width, None for the paper's 1280 x max(1, width)."""

    family: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: Width = 1.0
    head: Channels | None = None
    dropout: Probability = 0.2

    @property
    def stem_channels(self) -> int:
        """Channels behind the first convolution."""
        return make_divisible(32 * self.width)

    @property
    def head_channels(self) -> int:
        """Channels before the classifier."""
        return self.head or make_divisible(1280 * max(1.0, self.width))

    def blocks(self) -> Iterator[Block]:
        """The inverted residual blocks, in order."""
        channels = self.stem_channels
        for expansion, stage_width, depth, stage_stride in _STAGES:
            out_channels = make_divisible(stage_width * self.width)
            for index in range(depth):
                yield Block(
                    in_channels=channels,
                    hidden=channels * expansion,
                    out_channels=out_channels,
                    kernel=3,
                    stride=stage_stride if index == 0 else 1,
                    expands=expansion != 1,
                )
                channels = out_channels

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return MobileNetV2(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`. The global pool is a function, which the counter does not see."""
        size = out_size(image_size, 3, 2)
        total = conv_macs(3, self.stem_channels, 3, size)
        channels = self.stem_channels
        for block in self.blocks():
            block_macs, size = block.macs(size)
            total += block_macs
            channels = block.out_channels
        return (
            total
            + conv_macs(channels, self.head_channels, 1, size)
            + linear_macs(self.head_channels, num_classes)
        )


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


class LinearBottleneck(nn.Module):
    """An inverted residual under torchvision's MobileNetV2 names, where the projection is not nested."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.residual
        hidden = block.hidden
        layers: list[nn.Module] = []
        if block.expands:
            layers.append(conv_bn_act(block.in_channels, hidden, 1, activation=_relu6))
        layers += [
            conv_bn_act(hidden, hidden, block.kernel, block.stride, groups=hidden, activation=_relu6),
            nn.Conv2d(hidden, block.out_channels, 1, bias=False),
            nn.BatchNorm2d(block.out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """N x in_channels x H x W -> N x out_channels x H/stride x W/stride."""
        out: Tensor = self.conv(images)
        return images + out if self.residual else out


class MobileNetV2(nn.Module):
    """The network that `MobileNetV2Options` describes."""

    def __init__(self, options: MobileNetV2Options, num_classes: int) -> None:
        super().__init__()
        blocks = list(options.blocks())
        self.features = nn.Sequential(
            conv_bn_act(3, options.stem_channels, 3, 2, activation=_relu6),
            *(LinearBottleneck(block) for block in blocks),
            conv_bn_act(blocks[-1].out_channels, options.head_channels, 1, activation=_relu6),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(options.dropout), nn.Linear(options.head_channels, num_classes)
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits
