"""MicroNet-M0 and M1 (Li et al., 2021), for 224 pixels: `build_m0`, `build_m1`; `build` is M0.

Convolutions are factorised twice: k x k into k x 1 and 1 x k, and 1 x 1 into two with groups and a shuffle between
them. Groups then talk to each other in the activation, Dynamic Shift-Max. Tables, shuffles and the head (norm and
hard swish also behind the classifier) are those of the authors' release.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wisp.models.layers import initialise, make_divisible

_GAIN = 4.0  # coefficients move by up to half of it to either side
_DROPOUT = 0.05


class Row(NamedTuple):
    """One block. `squeeze` divides the channels inside the activations; no `groups_in`: micro-block A."""

    stride: int
    width: int
    kernel: int
    expansion: int
    groups_in: int  # of the expanding 1 x 1
    shuffle: int  # groups that the expanded channels are shuffled between
    groups_out: int  # of the projecting 1 x 1; 0: there is none (micro-block C)
    squeeze: int
    dynamic: bool = True  # whether the activation behind the depthwise layer is Dynamic Shift-Max


class Table(NamedTuple):
    """One network."""

    stem: tuple[int, int]  # channels of k x 1, and how many 1 x k makes of each
    rows: tuple[Row, ...]
    features: int  # between the two linear layers


M0 = Table(
    stem=(2, 2),
    rows=(
        Row(2, 8, 3, 4, 0, 4, 2, 8, dynamic=False),
        Row(2, 12, 3, 4, 0, 8, 4, 8),
        Row(2, 16, 5, 4, 0, 12, 4, 8),
        Row(1, 32, 5, 4, 4, 4, 4, 8),
        Row(2, 64, 5, 4, 8, 8, 8, 8),
        Row(1, 96, 3, 4, 8, 8, 8, 16),
        Row(1, 384, 3, 4, 12, 12, 0, 16),
    ),
    features=640,
)
M1 = Table(
    stem=(3, 2),
    rows=(
        Row(2, 8, 3, 4, 0, 6, 2, 8, dynamic=False),
        Row(2, 16, 3, 4, 0, 8, 4, 8),
        Row(2, 16, 5, 4, 0, 16, 4, 8),
        Row(1, 32, 5, 6, 4, 4, 4, 8),
        Row(2, 64, 5, 6, 8, 8, 8, 8),
        Row(1, 96, 3, 6, 8, 8, 8, 16),
        Row(1, 576, 3, 6, 12, 12, 0, 16),
    ),
    features=960,
)


class DynamicShiftMax(nn.Module):
    """The larger of two sums of a channel and one of the next group, weighted by what the image's means say.

    Args:
        channels: of the maps.
        groups: the channel's partner is the next one of the next group.
        squeeze: divides the channels between the two linear layers that make the weights.
        pieces: 2 for the maximum of two sums, 1 for a single sum, which is no nonlinearity of its own.
    """

    partner: Tensor

    def __init__(self, channels: int, *, groups: int, squeeze: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        squeezed = make_divisible(channels // squeeze, 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.coefficients = nn.Sequential(
            nn.Linear(channels, squeezed),
            nn.ReLU(inplace=True),
            nn.Linear(squeezed, 2 * pieces * channels),
            nn.Hardsigmoid(),
        )
        partner = torch.arange(channels).view(groups, channels // groups).roll((-1, -1), (0, 1)).flatten()
        self.register_buffer("partner", partner, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> the same shape."""
        count, channels = images.shape[:2]
        weights = (self.coefficients(torch.flatten(self.pool(images), 1)) - 0.5) * _GAIN
        weights = weights.view(count, self.pieces, 2, channels, 1, 1)
        shifted = images[:, self.partner]
        sums = [
            images * (1 + weights[:, piece, 0]) + shifted * weights[:, piece, 1]
            for piece in range(self.pieces)
        ]
        return torch.maximum(*sums) if self.pieces == 2 else sums[0]


def _shuffled(channels: int, groups: int) -> nn.Module:
    return nn.ChannelShuffle(groups) if 1 < groups < channels else nn.Identity()


def _factorised(
    channels: int, first: int, second: int, kernel: int, stride: int, groups: int
) -> nn.Sequential:
    """K x 1, then 1 x k on each channel: channels -> first -> second; a norm behind either, nothing between them."""
    half = kernel // 2
    return nn.Sequential(
        nn.Conv2d(channels, first, (kernel, 1), (stride, 1), (half, 0), groups=groups, bias=False),
        nn.BatchNorm2d(first),
        nn.Conv2d(first, second, (1, kernel), (1, stride), (0, half), groups=first, bias=False),
        nn.BatchNorm2d(second),
    )


def _grouped(channels: int, width: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, groups=groups, bias=False), nn.BatchNorm2d(width))


def _block(channels: int, row: Row) -> nn.Sequential:
    """A micro-block; none of M0's and M1's keeps width and size, so none has a shortcut."""
    hidden = channels * row.expansion
    layers: list[nn.Module] = []
    if not row.groups_in:  # A: the depthwise layer expands
        layers.append(_factorised(channels, hidden // 2, hidden, row.kernel, row.stride, channels))
        if row.dynamic:
            layers.append(DynamicShiftMax(hidden, groups=row.shuffle, squeeze=row.squeeze, pieces=2))
        else:
            layers.append(nn.ReLU6(inplace=True))
        layers.append(_shuffled(hidden, row.shuffle))
        if row.dynamic:
            layers.append(_shuffled(hidden, hidden // 2))
        squeeze = row.squeeze // 2
    else:
        pieces = 2 if row.groups_out else 1
        layers += [
            _grouped(channels, hidden, row.groups_in),
            DynamicShiftMax(hidden, groups=row.shuffle, squeeze=row.squeeze, pieces=pieces),
        ]
        if not row.groups_out:  # C: the last block only expands
            return nn.Sequential(*layers)
        layers += [
            _shuffled(hidden, row.shuffle),
            _factorised(hidden, hidden, hidden, row.kernel, row.stride, hidden),
            DynamicShiftMax(hidden, groups=hidden // row.shuffle, squeeze=row.squeeze, pieces=2),
            _shuffled(hidden, hidden // 4),
        ]
        squeeze = row.squeeze // 2 if row.width < hidden else row.squeeze
    layers += [
        _grouped(hidden, row.width, row.groups_out),
        DynamicShiftMax(row.width, groups=row.groups_out, squeeze=squeeze, pieces=1),
        _shuffled(row.width, row.groups_out),
        _shuffled(row.width, row.width // 2),
    ]
    return nn.Sequential(*layers)


def _swish_linear(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.BatchNorm1d(width), nn.Hardswish())


class MicroNet(nn.Module):
    """The network of one table."""

    def __init__(self, table: Table, num_classes: int) -> None:
        super().__init__()
        first, times = table.stem
        channels = first * times
        self.stem = nn.Sequential(
            _factorised(3, first, channels, 3, 2, 1), _shuffled(channels, first), nn.ReLU6(inplace=True)
        )
        blocks = []
        for row in table.rows:
            blocks.append(_block(channels, row))
            channels = row.width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Hardswish())
        self.classifier = nn.Sequential(
            _swish_linear(channels, table.features),
            nn.Dropout(_DROPOUT),
            _swish_linear(table.features, num_classes),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = torch.flatten(self.pool(self.blocks(self.stem(images))), 1)
        logits: Tensor = self.classifier(features)
        return logits


def build_m0(num_classes: int = 1000) -> nn.Module:
    """MicroNet-M0 with random weights."""
    return MicroNet(M0, num_classes)


def build_m1(num_classes: int = 1000) -> nn.Module:
    """MicroNet-M1 with random weights."""
    return MicroNet(M1, num_classes)


build = build_m0
