"""The images that a network is asked about: unlike one another, and unknown before they are drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from wisp.data.augment import MEAN, STD

PHOTOS = 5  # and one of zeros, which counters give


def draw_pixels(seed: int, image_size: int) -> npt.NDArray[np.uint8]:
    """Five pictures: noise, two with the look of photos, a flat bright one, one of stripes.

    Args:
        seed: of all that is drawn.
        image_size: side in pixels.

    Returns:
        uint8, 5 x image_size x image_size x 3.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    size = (image_size, image_size)
    pictures = [noise(1, 3, *size)]
    for _ in range(2):  # the spectrum of photos falls with frequency: coarse blots are strong, fine ones weak
        photo = torch.zeros(1, 3, *size)
        for level in range(1, 6):
            photo += F.interpolate(noise(1, 3, 2**level, 2**level), size, mode="bilinear") / level
        pictures.append(photo)
    pictures.append(2.0 + 0.05 * noise(1, 3, *size))
    rows = torch.arange(image_size).div(4, rounding_mode="floor") % 2
    pictures.append((2.0 * rows - 1.0).view(1, 1, -1, 1) + 0.1 * noise(1, 3, *size))
    pixels = (torch.cat(pictures) * 55 + 120).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def as_images(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """What a network gets for pictures (normalised, N x 3 x side x side), and after them an image of zeros."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    return torch.cat([images, torch.zeros_like(images[:1])]).contiguous()


def draw_images(seed: int, image_size: int) -> Tensor:
    """`as_images` of `draw_pixels`: float32, 6 x 3 x image_size x image_size."""
    return as_images(draw_pixels(seed, image_size))
