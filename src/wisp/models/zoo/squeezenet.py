"""SqueezeNet 1.0 and 1.1 (Iandola et al., 2016), as torchvision builds them: same names, shapes and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.models.layers import conv_macs, out_size
from wisp.models.options import FamilyOptions, Probability, Width

# Squeeze widths of the fire modules (each expands to twice four times that); None is a max pool.
_LAYERS: dict[str, tuple[int | None, ...]] = {
    "1.0": (None, 16, 16, 32, None, 32, 48, 48, 64, None, 64),
    "1.1": (None, 16, 16, None, 32, 32, None, 48, 48, 64, 64),
}
_STEMS = {"1.0": (96, 7), "1.1": (64, 3)}  # (width, kernel); stride 2, no padding


class SqueezeNetOptions(FamilyOptions):
    """`width` scales all channels; 1.1 is the later, 2.4 times cheaper version."""

    family: Literal["squeezenet"] = "squeezenet"
    version: Literal["1.0", "1.1"] = "1.1"
    width: Width = 1.0
    dropout: Probability = 0.5

    @property
    def stem(self) -> tuple[int, int]:
        """Width and kernel of the first convolution."""
        channels, kernel = _STEMS[self.version]
        return self._scaled(channels), kernel

    def fires(self) -> Iterator[tuple[int, int, int] | None]:
        """(input, squeezed, expanded channels) of each fire module, in order; None is a max pool.

        `expanded` is the width of each of the two expanding convolutions.
        """
        channels = self.stem[0]
        for squeezed in _LAYERS[self.version]:
            if squeezed is None:
                yield None
            else:
                expanded = self._scaled(4 * squeezed)
                yield channels, self._scaled(squeezed), expanded
                channels = 2 * expanded

    @property
    def features_channels(self) -> int:
        """Channels before the classifying convolution."""
        return 2 * self._scaled(4 * 64)

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return SqueezeNet(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`."""
        channels, kernel = self.stem
        size = out_size(image_size, kernel, 2, padding=0)
        total = conv_macs(3, channels, kernel, size, bias=True, norm=False)
        for fire in self.fires():
            if fire is None:
                total += channels * size**2
                if size < 2:  # rounding up accepts a 2 x 2 map under the 3 x 3 window, but no smaller one
                    raise ModelError(
                        f"image size {image_size} is too small for SqueezeNet; use a larger size"
                    )
                size = -(-(size - 3) // 2) + 1
            else:
                before, squeezed, expanded = fire
                total += conv_macs(before, squeezed, 1, size, bias=True, norm=False)
                total += conv_macs(squeezed, expanded, 1, size, bias=True, norm=False)
                total += conv_macs(squeezed, expanded, 3, size, bias=True, norm=False)
                channels = 2 * expanded
        return (
            total + conv_macs(channels, num_classes, 1, size, bias=True, norm=False) + num_classes * size**2
        )

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))


class Fire(nn.Module):
    """Squeeze with a 1x1 convolution, expand with a 1x1 and a 3x3 beside each other."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """N x channels x H x W -> N x 2 expanded x H x W."""
        squeezed = self.squeeze_activation(self.squeeze(images))
        return torch.cat(
            (
                self.expand1x1_activation(self.expand1x1(squeezed)),
                self.expand3x3_activation(self.expand3x3(squeezed)),
            ),
            dim=1,
        )


class SqueezeNet(nn.Module):
    """The network that `SqueezeNetOptions` describes."""

    def __init__(self, options: SqueezeNetOptions, num_classes: int) -> None:
        super().__init__()
        channels, kernel = options.stem
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, kernel, 2),
            nn.ReLU(inplace=True),
            *(
                nn.MaxPool2d(3, 2, ceil_mode=True) if fire is None else Fire(*fire)
                for fire in options.fires()
            ),
        )
        last = nn.Conv2d(options.features_channels, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout(options.dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                assert module.bias is not None  # noqa: S101  (for the type checker: every convolution here has one)
                nn.init.zeros_(module.bias)
                if module is last:
                    nn.init.normal_(module.weight, 0, 0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes (behind a ReLU, as published)."""
        return torch.flatten(self.classifier(self.features(images)), 1)
