"""ResNet-8, the image classifier of MLPerf Tiny (Banbury et al., 2021).

As in the reference, every convolution has a bias, the shortcuts have no norm, and a strided convolution sees one
pixel of padding on each side (Keras pads only the far side; the costs are equal).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from wisp.models.layers import conv_macs, linear_macs, out_size
from wisp.models.options import Channels, FamilyOptions


class ResNet8Options(FamilyOptions):
    """`filters` is the width of the first of the three stages; each next one is twice as wide. Reference: 16."""

    family: Literal["resnet8"] = "resnet8"
    filters: Channels = 16

    @property
    def stages(self) -> tuple[tuple[int, int, int], ...]:
        """(input channels, output channels, stride) of the three stages."""
        first = self.filters
        return (first, first, 1), (first, 2 * first, 2), (2 * first, 4 * first, 2)

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return ResNet8(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`."""
        size = out_size(image_size, 3, 1)
        total = conv_macs(3, self.filters, 3, size, bias=True)
        for channels, out_channels, stride in self.stages:
            size = out_size(size, 3, stride)
            total += conv_macs(channels, out_channels, 3, size, bias=True)
            total += conv_macs(out_channels, out_channels, 3, size, bias=True)
            if stride > 1:
                total += conv_macs(channels, out_channels, 1, size, bias=True, norm=False)
        features = 4 * self.filters
        return total + features * size**2 + linear_macs(features, num_classes)


class ResidualStage(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> N x out_channels x H/stride x W/stride."""
        hidden = self.relu(self.bn1(self.conv1(images)))
        out: Tensor = self.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))
        return out


class ResNet8(nn.Module):
    """The network that `ResNet8Options` describes."""

    def __init__(self, options: ResNet8Options, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, options.filters, 3, 1, 1)
        self.bn = nn.BatchNorm2d(options.filters)
        self.relu = nn.ReLU(inplace=True)
        self.stages = nn.Sequential(*(ResidualStage(*stage) for stage in options.stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * options.filters, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None  # noqa: S101  (for the type checker: every layer here has one)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = self.stages(self.relu(self.bn(self.conv(images))))
        logits: Tensor = self.fc(torch.flatten(self.pool(features), 1))
        return logits
