"""The wisp family: inverted residuals with everything free, meant for 0.1 to 5 M MACs at 32 to 96 pixels.

    stem    k x k conv - BN - act                       (k = stride = 4 gives non-overlapping patches)
    stages  [1x1 conv - BN - act, k x k depthwise - BN - act, (squeeze-excite), 1x1 conv - BN] x depth
    head    1x1 conv - BN - act                         (width 0: none)
    global average pool, flatten, dropout, linear

The block is MobileNetV2's (Sandler et al., 2018): a residual where stride is 1 and the widths agree, and no expanding
convolution where the expansion is 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from wisp.models.inverted_residual import Block, InvertedResidual
from wisp.models.layers import conv_bn_act, conv_macs, initialise, linear_macs, out_size
from wisp.models.options import Channels, FamilyOptions, Probability, Record

ActivationName = Literal["relu", "relu6", "hardswish"]


def _activation(name: ActivationName) -> nn.Module:
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "relu6":
            return nn.ReLU6(inplace=True)
        case "hardswish":
            return nn.Hardswish(inplace=True)


class Stem(Record):
    """The first convolution. Padding is (kernel - 1) // 2."""

    width: Channels = 8
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=16)] = 2


class Stage(Record):
    """`depth` inverted residual blocks of one width; the first of them has the stride."""

    width: Channels
    depth: Annotated[int, Field(ge=1, le=64)] = 1
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    expansion: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] = 3.0
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    squeeze_excite: bool = False

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:  # an even kernel would shrink the map by a pixel and break the residual
            raise ValueError("must be odd")
        return kernel


class WispOptions(FamilyOptions):
    """Everything that decides a network of the wisp family, apart from the number of classes."""

    family: Literal["wisp"] = "wisp"
    stem: Stem = Stem()
    # JSON has lists, not tuples: this one field converts.
    stages: Annotated[tuple[Stage, ...], Field(strict=False, min_length=1, max_length=32)]
    head: Annotated[int, Field(ge=0, le=8192)] = 128
    activation: ActivationName = "relu"
    dropout: Probability = 0.0

    @model_validator(mode="after")
    def _hidden_widths(self) -> Self:
        for block in self.blocks():
            if block.hidden < 1:
                raise ValueError(f"a stage's expansion leaves no channel of its {block.in_channels} inputs")
        return self

    def blocks(self) -> Iterator[Block]:
        """The blocks in order; `hidden` is round(in_channels * expansion)."""
        channels = self.stem.width
        for stage in self.stages:
            for index in range(stage.depth):
                hidden = round(channels * stage.expansion)
                yield Block(
                    in_channels=channels,
                    hidden=hidden,
                    out_channels=stage.width,
                    kernel=stage.kernel,
                    stride=stage.stride if index == 0 else 1,
                    expands=stage.expansion != 1,
                    squeezed=max(1, hidden // 4) if stage.squeeze_excite else 0,
                )
                channels = stage.width

    def build(self, num_classes: int) -> nn.Module:
        """See `FamilyOptions.build`."""
        return WispNet(self, num_classes)

    def macs(self, num_classes: int, image_size: int) -> int:
        """See `FamilyOptions.macs`."""
        stem = self.stem
        size = out_size(image_size, stem.kernel, stem.stride)
        total = conv_macs(3, stem.width, stem.kernel, size)
        for block in self.blocks():
            block_macs, size = block.macs(size)
            total += block_macs
        channels = self.stages[-1].width
        if self.head:
            total += conv_macs(channels, self.head, 1, size)
            channels = self.head
        return total + channels * size**2 + linear_macs(channels, num_classes)

    def scaled(self, width: float) -> WispOptions:
        """The same shape with every width multiplied by `width` (at least one channel)."""

        def scale(channels: int) -> int:
            return max(1, round(channels * width))

        return WispOptions(
            stem=Stem(width=scale(self.stem.width), kernel=self.stem.kernel, stride=self.stem.stride),
            stages=tuple(
                Stage.model_validate({**stage.model_dump(), "width": scale(stage.width)})
                for stage in self.stages
            ),
            head=scale(self.head) if self.head else 0,
            activation=self.activation,
            dropout=self.dropout,
        )


class WispNet(nn.Module):
    """The network that `WispOptions` describes."""

    def __init__(self, options: WispOptions, num_classes: int) -> None:
        super().__init__()
        stem = options.stem

        def activation() -> nn.Module:
            return _activation(options.activation)

        self.stem = conv_bn_act(3, stem.width, stem.kernel, stem.stride, activation=activation)
        self.blocks = nn.Sequential(*(InvertedResidual(block, activation) for block in options.blocks()))
        channels = options.stages[-1].width
        self.head = (
            conv_bn_act(channels, options.head, 1, activation=activation) if options.head else nn.Sequential()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.head or channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images N x 3 x H x W -> logits N x classes."""
        features = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(self.dropout(self.flatten(self.pool(features))))
        return logits


def wisp_options(
    *,
    stem: int,
    stages: tuple[tuple[int, int, int, float, int], ...],
    head: int,
    stem_kernel: int = 3,
    stem_stride: int = 2,
    dropout: float = 0.0,
    activation: ActivationName = "relu",
    gated: int = 0,
) -> WispOptions:
    """Options from rows (width, depth, stride, expansion, kernel), the way papers print such networks.

    The last `gated` stages have squeeze-excite.
    """
    return WispOptions(
        stem=Stem(width=stem, kernel=stem_kernel, stride=stem_stride),
        stages=tuple(
            Stage(
                width=width,
                depth=depth,
                stride=stride,
                expansion=float(expansion),
                kernel=kernel,
                squeeze_excite=index >= len(stages) - gated,
            )
            for index, (width, depth, stride, expansion, kernel) in enumerate(stages)
        ),
        head=head,
        activation=activation,
        dropout=dropout,
    )


_patch_options = functools.partial(wisp_options, stem_kernel=4, stem_stride=4, dropout=0.1)
_gated_options = functools.partial(_patch_options, activation="hardswish", gated=2)

# Named by their MACs at 64 px. All begin with 4 x 4 patches: at equal MACs that measured better, and trains faster,
# than a strided 3 x 3 stem, whose 32 x 32 maps spend a fifth of the budget on BatchNorm and one depthwise layer.
NAMED: Mapping[str, WispOptions] = MappingProxyType(
    {
        "wisp-4m": _patch_options(
            stem=20, stages=((16, 1, 1, 2, 3), (32, 3, 2, 3, 5), (64, 4, 2, 3, 5)), head=160
        ),
        "wisp-2m": _patch_options(
            stem=14, stages=((12, 1, 1, 2, 3), (24, 3, 2, 3, 5), (48, 3, 2, 3, 5)), head=128
        ),
        "wisp-1m": _patch_options(stem=12, stages=((20, 2, 2, 2, 5), (40, 3, 2, 2, 5)), head=96),
        "wisp-500k": _patch_options(stem=8, stages=((12, 2, 2, 2, 5), (24, 3, 2, 2, 5)), head=64),
        "wisp-250k": _patch_options(stem=6, stages=((8, 1, 2, 2, 5), (20, 3, 2, 2, 5)), head=48),
        "wisp-4m-se": _gated_options(
            stem=20, stages=((16, 1, 1, 2, 3), (32, 3, 2, 3, 5), (64, 4, 2, 3, 5)), head=256
        ),
        "wisp-2m-se": _gated_options(
            stem=14, stages=((12, 1, 1, 2, 3), (24, 2, 2, 3, 5), (48, 2, 2, 3, 5)), head=128
        ),
        "wisp-1200k-se": _gated_options(stem=12, stages=((24, 2, 2, 2, 5), (48, 3, 2, 2, 5)), head=128),
        "wisp-1m-se": _gated_options(stem=12, stages=((20, 2, 2, 2, 5), (40, 3, 2, 2, 5)), head=96),
    }
)
