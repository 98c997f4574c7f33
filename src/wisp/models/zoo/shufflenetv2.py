"""ShuffleNetV2 (Ma et al., 2018), as torchvision builds it: same parameter names, shapes and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from wisp.models.layers import conv_macs, linear_macs, make_divisible, out_size
from wisp.models.options import Channels, FamilyOptions

# Table 5 of the paper (torchvision's numbers): widths of the three stages, and of the last convolution.
_PUBLISHED = {
    0.5: ((48, 96, 192), 1024),
    1.0: ((116, 232, 464), 1024),
    1.5: ((176, 352, 704), 1024),
    2.0: ((244, 488, 976), 2048),
}


class ShuffleNetV2Options(FamilyOptions):
    """Widths of the stem, the three stages (even numbers) and the head; depths of the stages."""

    family: Literal["shufflenet_v2"] = "shufflenet_v2"
    stem: Channels = 24
    stages: Annotated[tuple[Channels, Channels, Channels], Field(strict=False)]
    depths: Annotated[
        tuple[
            Annotated[int, Field(ge=1, le=64)],
            Annotated[int, Field(ge=1, le=64)],
            Annotated[int, Field(ge=1, le=64)],
        ],
        Field(strict=False),
    ] = (4, 8, 4)
    head: Channels = 1024

    @field_validator("stages")
    @classmethod
    def _even(cls, stages: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(channels % 2 for channels in stages):
            raise ValueError("must be even numbers, since a block splits its channels in half")
        return stages

    @classmethod
    def of_width(cls, width: float) -> Self:
        """The published network where the paper has one of this width, else one between or below them.

        Below 0.5 the stem and the head shrink too, which the paper leaves alone: they would cost more than the rest.
        """
        if width in _PUBLISHED:
            stages, head = _PUBLISHED[width]
            return cls(stages=stages, head=head)
        first = max(2, 2 * round(116 * width / 2))
        shrink = min(1.0, width / 0.5)
        return cls(
            stem=make_divisible(24 * shrink),
            stages=(first, 2 * first, 4 * first),
            head=2048 if width > 2 else make_divisible(1024 * shrink),
        )

    def units(self) -> Iterator[tuple[int, int, int, int]]:
        """(stage index, input channels, output channels, stride) of each unit, in order."""
        for stage, (channels, out_channels) in enumerate(pairwise((self.stem, *self.stages))):
            yield stage, channels, out_channels, 2
            for _ in range(self.depths[stage] - 1):
                yield stage, out_channels, out_channels, 1

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return ShuffleNetV2(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`. The global pool is a function, which the counter does not see."""
        size = out_size(image_size, 3, 2)
        total = conv_macs(3, self.stem, 3, size) + self.stem * size**2  # the pool counts its inputs
        size = out_size(size, 3, 2)
        for _, channels, out_channels, stride in self.units():
            half = out_channels // 2
            after = out_size(size, 3, stride)
            total += conv_macs(channels if stride > 1 else half, half, 1, size)
            total += conv_macs(half, half, 3, after, groups=half) + conv_macs(half, half, 1, after)
            if stride > 1:
                total += conv_macs(channels, channels, 3, after, groups=channels)
                total += conv_macs(channels, half, 1, after)
            size = after
        return total + conv_macs(self.stages[-1], self.head, 1, size) + linear_macs(self.head, num_classes)


class ShuffleUnit(nn.Module):
    """With stride 1: one half of the channels passes through, the other is convolved; with stride 2 both are."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = out_channels // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.Conv2d(channels, half, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(channels if stride > 1 else half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> N x out_channels x H/stride x W/stride."""
        kept, convolved = images.chunk(2, dim=1) if self.stride == 1 else (images, images)
        halves = (self.branch1(kept), self.branch2(convolved))
        # Stacking on a new axis behind the channels and flattening interleaves the halves: the channel shuffle.
        return torch.stack(halves, dim=2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    """The network that `ShuffleNetV2Options` describes, with torch's default initialisation, as torchvision's."""

    def __init__(self, options: ShuffleNetV2Options, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, options.stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(options.stem),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(
                *(
                    ShuffleUnit(channels, out_channels, stride)
                    for stage, channels, out_channels, stride in options.units()
                    if stage == index
                )
            )
            for index in range(3)
        )
        self.conv5 = nn.Sequential(
            nn.Conv2d(options.stages[-1], options.head, 1, bias=False),
            nn.BatchNorm2d(options.head),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(options.head, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = self.maxpool(self.conv1(images))
        features = self.conv5(self.stage4(self.stage3(self.stage2(features))))
        logits: Tensor = self.fc(features.mean([2, 3]))
        return logits
