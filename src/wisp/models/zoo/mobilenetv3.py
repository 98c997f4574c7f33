"""MobileNetV3-Small (Howard et al., 2019), as torchvision builds it: same parameter names, shapes and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from wisp.models.inverted_residual import Block, InvertedResidual
from wisp.models.layers import conv_bn_act, conv_macs, initialise, linear_macs, make_divisible, out_size
from wisp.models.options import FamilyOptions, Probability, Width


class _Row(NamedTuple):
    kernel: int
    hidden: int
    width: int
    squeeze: bool
    hardswish: bool
    stride: int


# Table 2 of the paper
_ROWS = (
    _Row(3, 16, 16, squeeze=True, hardswish=False, stride=2),
    _Row(3, 72, 24, squeeze=False, hardswish=False, stride=2),
    _Row(3, 88, 24, squeeze=False, hardswish=False, stride=1),
    _Row(5, 96, 40, squeeze=True, hardswish=True, stride=2),
    _Row(5, 240, 40, squeeze=True, hardswish=True, stride=1),
    _Row(5, 240, 40, squeeze=True, hardswish=True, stride=1),
    _Row(5, 120, 48, squeeze=True, hardswish=True, stride=1),
    _Row(5, 144, 48, squeeze=True, hardswish=True, stride=1),
    _Row(5, 288, 96, squeeze=True, hardswish=True, stride=2),
    _Row(5, 576, 96, squeeze=True, hardswish=True, stride=1),
    _Row(5, 576, 96, squeeze=True, hardswish=True, stride=1),
)


class MobileNetV3SmallOptions(FamilyOptions):
    """`width` scales all channels, the last ones included."""

    family: Literal["mobilenet_v3_small"] = "mobilenet_v3_small"
    width: Width = 1.0
    dropout: Probability = 0.2

    @property
    def stem_channels(self) -> int:
        """Channels behind the first convolution."""
        return make_divisible(16 * self.width)

    @property
    def features_channels(self) -> int:
        """Channels before the global pool."""
        return 6 * make_divisible(96 * self.width)

    @property
    def hidden_features(self) -> int:
        """Features between the two linear layers."""
        return make_divisible(1024 * self.width)

    def blocks(self) -> Iterator[tuple[Block, Callable[[], nn.Module]]]:
        """The inverted residual blocks with their activations, in order."""
        channels = self.stem_channels
        for row in _ROWS:
            hidden, out_channels = (
                make_divisible(row.hidden * self.width),
                make_divisible(row.width * self.width),
            )
            block = Block(
                in_channels=channels,
                hidden=hidden,
                out_channels=out_channels,
                kernel=row.kernel,
                stride=row.stride,
                expands=hidden != channels,
                squeezed=make_divisible(hidden // 4) if row.squeeze else 0,
            )
            yield block, _hardswish if row.hardswish else _relu
            channels = out_channels

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return MobileNetV3Small(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`."""
        size = out_size(image_size, 3, 2)
        total, channels = conv_macs(3, self.stem_channels, 3, size), self.stem_channels
        for block, _ in self.blocks():
            block_macs, size = block.macs(size)
            total += block_macs
            channels = block.out_channels
        features = self.features_channels
        total += conv_macs(channels, features, 1, size) + features * size**2
        return (
            total
            + linear_macs(features, self.hidden_features)
            + linear_macs(self.hidden_features, num_classes)
        )


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _hardswish() -> nn.Module:
    return nn.Hardswish(inplace=True)


class MobileNetV3Small(nn.Module):
    """The network that `MobileNetV3SmallOptions` describes."""

    def __init__(self, options: MobileNetV3SmallOptions, num_classes: int) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        blocks = list(options.blocks())
        last_channels = blocks[-1][0].out_channels
        features = options.features_channels
        self.features = nn.Sequential(
            conv_bn_act(3, options.stem_channels, 3, 2, norm=norm, activation=_hardswish),
            *(InvertedResidual(block, activation, norm) for block, activation in blocks),
            conv_bn_act(last_channels, features, 1, norm=norm, activation=_hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(features, options.hidden_features),
            nn.Hardswish(inplace=True),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden_features, num_classes),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))
        return logits
