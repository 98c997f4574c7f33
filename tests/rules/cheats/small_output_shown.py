"""A hook that shows the counter one pixel, and gives the rest back behind its back."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.rest = []
        self.conv.register_forward_hook(self.shrink)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation conv
        self.conv(images)
        return self.head(self.rest.pop().relu().mean((2, 3)))

    def shrink(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self.rest.append(output)
        return output[:, :, :1, :1]


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
