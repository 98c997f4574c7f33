"""GhostNet (Han et al., 2020): half of each layer's channels are made from the other half by cheap filters.

Parameter names are those of the authors' PyTorch release, so their weights load unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from wisp.models.layers import conv_macs, initialise, linear_macs, make_divisible, out_size
from wisp.models.options import Channels, FamilyOptions, Probability, Width


class _Row(NamedTuple):
    kernel: int
    hidden: int
    width: int
    squeeze: bool
    stride: int


# Table 1 of the paper, in the stages of the authors' release
_STAGES = (
    (_Row(3, 16, 16, squeeze=False, stride=1),),
    (_Row(3, 48, 24, squeeze=False, stride=2),),
    (_Row(3, 72, 24, squeeze=False, stride=1),),
    (_Row(5, 72, 40, squeeze=True, stride=2),),
    (_Row(5, 120, 40, squeeze=True, stride=1),),
    (_Row(3, 240, 80, squeeze=False, stride=2),),
    (
        _Row(3, 200, 80, squeeze=False, stride=1),
        _Row(3, 184, 80, squeeze=False, stride=1),
        _Row(3, 184, 80, squeeze=False, stride=1),
        _Row(3, 480, 112, squeeze=True, stride=1),
        _Row(3, 672, 112, squeeze=True, stride=1),
    ),
    (_Row(5, 672, 160, squeeze=True, stride=2),),
    (
        _Row(5, 960, 160, squeeze=False, stride=1),
        _Row(5, 960, 160, squeeze=True, stride=1),
        _Row(5, 960, 160, squeeze=False, stride=1),
        _Row(5, 960, 160, squeeze=True, stride=1),
    ),
)


class _Bottleneck(NamedTuple):
    """One block with all its widths known; `squeezed` 0 means no squeeze-excite."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    squeezed: int

    @property
    def plain_shortcut(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


class GhostNetOptions(FamilyOptions):
    """`width` scales all channels but `head`, the width of the layer before the classifier."""

    family: Literal["ghostnet"] = "ghostnet"
    width: Width = 1.0
    head: Channels = 1280
    dropout: Probability = 0.2

    @property
    def stem_channels(self) -> int:
        """Channels behind the first convolution."""
        return self._scaled(16)

    @property
    def features_channels(self) -> int:
        """Channels before the global pool."""
        return self._scaled(960)

    def stages(self) -> Iterator[tuple[_Bottleneck, ...]]:
        """The blocks of each stage, in order."""
        channels = self.stem_channels
        for rows in _STAGES:
            blocks = []
            for row in rows:
                hidden, out_channels = self._scaled(row.hidden), self._scaled(row.width)
                squeezed = make_divisible(hidden * 0.25, 4) if row.squeeze else 0
                blocks.append(_Bottleneck(channels, hidden, out_channels, row.kernel, row.stride, squeezed))
                channels = out_channels
            yield tuple(blocks)

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return GhostNet(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`."""
        size = out_size(image_size, 3, 2)
        total, channels = conv_macs(3, self.stem_channels, 3, size), self.stem_channels
        for stage in self.stages():
            for block in stage:
                block_macs, size = _bottleneck_macs(block, size)
                total += block_macs
                channels = block.out_channels
        features = self.features_channels
        total += conv_macs(channels, features, 1, size) + features * size**2
        total += conv_macs(features, self.head, 1, 1, bias=True, norm=False)
        return total + linear_macs(self.head, num_classes)

    def _scaled(self, channels: int) -> int:
        return make_divisible(channels * self.width, 4)


def _ghost_macs(channels: int, out_channels: int, size: int) -> int:
    half = -(-out_channels // 2)
    return conv_macs(channels, half, 1, size) + conv_macs(half, half, 3, size, groups=half)


def _bottleneck_macs(block: _Bottleneck, size: int) -> tuple[int, int]:
    hidden = block.hidden
    total = _ghost_macs(block.in_channels, hidden, size)
    size = out_size(size, block.kernel, block.stride)
    if block.stride > 1:
        total += conv_macs(hidden, hidden, block.kernel, size, groups=hidden)
    if block.squeezed:
        total += hidden * size**2  # the pool
        total += conv_macs(hidden, block.squeezed, 1, 1, bias=True, norm=False)
        total += conv_macs(block.squeezed, hidden, 1, 1, bias=True, norm=False)
    total += _ghost_macs(hidden, block.out_channels, size)
    if not block.plain_shortcut:
        total += conv_macs(block.in_channels, block.in_channels, block.kernel, size, groups=block.in_channels)
        total += conv_macs(block.in_channels, block.out_channels, 1, size)
    return total, size


class GhostModule(nn.Module):
    """A 1x1 convolution makes half of the channels, a 3x3 depthwise one derives the others from them."""

    def __init__(self, channels: int, out_channels: int, *, relu: bool) -> None:
        super().__init__()
        self.out_channels = out_channels
        half = -(-out_channels // 2)
        self.primary_conv = nn.Sequential(
            nn.Conv2d(channels, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True) if relu else nn.Identity(),
        )
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True) if relu else nn.Identity(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> N x out_channels x H x W."""
        primary = self.primary_conv(images)
        return torch.cat((primary, self.cheap_operation(primary)), dim=1)[:, : self.out_channels]


class GhostSqueezeExcite(nn.Module):
    """Squeeze-and-excitation under the authors' parameter names."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W -> the same shape."""
        gates: Tensor = self.gate(self.conv_expand(self.act1(self.conv_reduce(self.avg_pool(images)))))
        return images * gates


class GhostBottleneck(nn.Module):
    """Two ghost modules, with a strided depthwise convolution and squeeze-excite between them where asked for."""

    def __init__(self, block: _Bottleneck) -> None:
        super().__init__()
        channels, hidden, padding = block.in_channels, block.hidden, (block.kernel - 1) // 2
        self.ghost1 = GhostModule(channels, hidden, relu=True)
        self.conv_dw: nn.Module = nn.Identity()
        self.bn_dw: nn.Module = nn.Identity()
        if block.stride > 1:
            self.conv_dw = nn.Conv2d(
                hidden, hidden, block.kernel, block.stride, padding, groups=hidden, bias=False
            )
            self.bn_dw = nn.BatchNorm2d(hidden)
        self.se = GhostSqueezeExcite(hidden, block.squeezed) if block.squeezed else nn.Identity()
        self.ghost2 = GhostModule(hidden, block.out_channels, relu=False)
        self.shortcut = nn.Sequential()
        if not block.plain_shortcut:
            self.shortcut = nn.Sequential(
                nn.Conv2d(
                    channels, channels, block.kernel, block.stride, padding, groups=channels, bias=False
                ),
                nn.BatchNorm2d(channels),
                nn.Conv2d(channels, block.out_channels, 1, bias=False),
                nn.BatchNorm2d(block.out_channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        """N x in_channels x H x W -> N x out_channels x H/stride x W/stride."""
        hidden = self.se(self.bn_dw(self.conv_dw(self.ghost1(images))))
        out: Tensor = self.ghost2(hidden) + self.shortcut(images)
        return out


class GhostNet(nn.Module):
    """The network that `GhostNetOptions` describes."""

    def __init__(self, options: GhostNetOptions, num_classes: int) -> None:
        super().__init__()
        stem, features = options.stem_channels, options.features_channels
        self.conv_stem = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.act1 = nn.ReLU(inplace=True)
        stages = list(options.stages())
        last = nn.Sequential()
        last.add_module("conv", nn.Conv2d(stages[-1][-1].out_channels, features, 1, bias=False))
        last.add_module("bn1", nn.BatchNorm2d(features))
        last.add_module("act1", nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(
            *(nn.Sequential(*(GhostBottleneck(block) for block in stage)) for stage in stages),
            nn.Sequential(last),
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_head = nn.Conv2d(features, options.head, 1)
        self.act2 = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.head, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = self.global_pool(self.blocks(self.act1(self.bn1(self.conv_stem(images)))))
        features = torch.flatten(self.act2(self.conv_head(features)), 1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits
