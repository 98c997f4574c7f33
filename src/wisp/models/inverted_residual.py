"""The inverted residual block (Sandler et al., 2018; Howard et al., 2019), shared by MobileNets and wisp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from wisp.models.layers import SqueezeExcite, conv_bn_act, conv_macs, out_size


@dataclass(frozen=True, slots=True)
class Block:
    """One block with all its widths known. `squeezed` is the width inside squeeze-excite, 0 for none.

    Without `expands` the expanding 1x1 convolution is left out; `hidden` then equals `in_channels`.
    """

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    expands: bool
    squeezed: int = 0

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def macs(self, size: int) -> tuple[int, int]:
        """MACs on a `size` x `size` map, and the side of the map that comes out."""
        total = conv_macs(self.in_channels, self.hidden, 1, size) if self.expands else 0
        size = out_size(size, self.kernel, self.stride)
        total += conv_macs(self.hidden, self.hidden, self.kernel, size, groups=self.hidden)
        if self.squeezed:
            total += self.hidden * size**2  # the pool
            total += conv_macs(self.hidden, self.squeezed, 1, 1, bias=True, norm=False)
            total += conv_macs(self.squeezed, self.hidden, 1, 1, bias=True, norm=False)
        return total + conv_macs(self.hidden, self.out_channels, 1, size), size


class InvertedResidual(nn.Module):
    """Expand, filter each channel, (squeeze-excite), project. Parameter names are torchvision's MobileNetV3's."""

    def __init__(
        self,
        block: Block,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.residual = block.residual
        hidden = block.hidden
        layers: list[nn.Module] = []
        if block.expands:
            layers.append(conv_bn_act(block.in_channels, hidden, 1, norm=norm, activation=activation))
        layers.append(
            conv_bn_act(
                hidden, hidden, block.kernel, block.stride, groups=hidden, norm=norm, activation=activation
            )
        )
        if block.squeezed:
            layers.append(SqueezeExcite(hidden, block.squeezed))
        layers.append(conv_bn_act(hidden, block.out_channels, 1, norm=norm))
        self.block = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """N x in_channels x H x W -> N x out_channels x H/stride x W/stride."""
        out: Tensor = self.block(images)
        return images + out if self.residual else out
