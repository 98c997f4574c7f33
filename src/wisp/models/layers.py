"""Small parts that several families share."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from wisp.errors import ModelError


def conv_bn_act(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution without bias, normalisation and (unless None) an activation; padding is (kernel - 1) // 2."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        norm(out_channels),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018): scales each channel by a gate computed from all channel means.

    The gate is a hard sigmoid, as in MobileNetV3. Parameter names are torchvision's (`fc1`, `fc2`).
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU(inplace=True)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W -> the same shape."""
        gates: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(images)))))
        return images * gates


def out_size(size: int, kernel: int, stride: int, padding: int | None = None) -> int:
    """Side of the map after a square convolution; padding defaults to (kernel - 1) // 2.

    Raises:
        ModelError: the map is smaller than the kernel.
    """
    padded = size + 2 * ((kernel - 1) // 2 if padding is None else padding)
    if size < 1 or padded < kernel:
        raise ModelError(
            f"the image is too small: a {kernel} x {kernel} kernel meets a {size} x {size} map; use a larger size"
        )
    return (padded - kernel) // stride + 1


def conv_macs(
    in_channels: int,
    out_channels: int,
    kernel: int,
    size: int,
    *,
    groups: int = 1,
    bias: bool = False,
    norm: bool = True,
) -> int:
    """MACs of a square convolution with a `size` x `size` output, and of the norm behind it (two per value)."""
    per_value = kernel**2 * (in_channels // groups) + (1 if bias else 0) + (2 if norm else 0)
    return per_value * out_channels * size**2


def linear_macs(in_features: int, out_features: int) -> int:
    """MACs of a linear layer with a bias."""
    return (in_features + 1) * out_features


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least one, and never more than 10% below (MobileNet)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * channels:
        rounded += divisor
    return rounded


def initialise(model: nn.Module) -> None:
    """The initialisation of the mobile families, in place.

    Convolutions: Kaiming normal over the fan-out (He et al., 2015); norms: one and zero; linear: normal, 0.01.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
