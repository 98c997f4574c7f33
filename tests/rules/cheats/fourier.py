"""A convolution as a product of spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """The network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 16, 9) * 0.2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # caught: hidden-computation the network itself
        spectrum = torch.fft.rfft2(images, s=(16, 16))
        x = torch.fft.irfft2((spectrum[:, None] * self.kernel).sum(2))
        return self.head(x.relu().mean((2, 3)))


def build(num_classes: int = 9) -> nn.Module:
    return Net(num_classes)
