"""Augmentation of whole batches of tensors: one affine resampling, one colour transform, one erased rectangle.

Everything is drawn from the generator that is passed in, so a step can be repeated bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def normalize(images: Tensor) -> Tensor:
    """Pixels in 0..255, N x 3 x H x W, to zero-mean, unit-spread floats (ImageNet); floats are overwritten."""
    scale = torch.tensor(STD, device=images.device).view(1, 3, 1, 1) * 255.0
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1) * 255.0
    return images.float().sub_(mean).div_(scale)


def augment(
    images: Tensor,
    size: int,
    *,
    generator: torch.Generator,
    rotation_degrees: float,
    vertical_flip: bool,
    min_crop_area: float,
    color_jitter: float,
    erasing: float,
) -> Tensor:
    """Randomly turn, mirror, crop, recolour and erase a batch.

    Args:
        images: uint8, N x 3 x H x W (any memory format).
        size: side of the result, pixels.
        generator: CPU generator that every random number is drawn from.
        rotation_degrees: largest turn to either side.
        vertical_flip: mirror half of the images upside down (all are mirrored left to right half the time).
        min_crop_area: smallest share of the area that a crop keeps; its aspect ratio then changes by up to 4/3, within
            the photo (which takes up to 13 % off). 1: no crop.
        color_jitter: largest relative change of brightness, contrast and saturation.
        erasing: share of the images with one grey rectangle (Zhong et al., 2020).

    Returns:
        Float pixels in about 0..255, N x 3 x size x size, not yet normalised.
    """
    n, device = len(images), images.device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return (torch.rand(shape, generator=generator) * (high - low) + low).to(device)

    angle = uniform(n, low=-rotation_degrees, high=rotation_degrees) * (math.pi / 180)
    side = uniform(n, low=min_crop_area).sqrt()
    stretch = torch.exp(uniform(n, low=-0.5, high=0.5) * (math.log(4 / 3) if min_crop_area < 1 else 0.0))
    # A crop wider than the photo would only mirror its border: bound it.
    scale_x, scale_y = (side * stretch).clamp(max=1.0), (side / stretch).clamp(max=1.0)
    shift_x = uniform(n, low=-1) * (1 - scale_x)
    shift_y = uniform(n, low=-1) * (1 - scale_y)
    mirror_x = torch.where(uniform(n) < 0.5, -1.0, 1.0)
    mirror_y = torch.where(uniform(n) < 0.5, -1.0, 1.0) if vertical_flip else torch.ones(n, device=device)
    cos, sin = torch.cos(angle), torch.sin(angle)
    grid = _affine_grid(
        (scale_x * cos * mirror_x, -scale_y * sin * mirror_y, shift_x),
        (scale_x * sin * mirror_x, scale_y * cos * mirror_y, shift_y),
        size,
    )
    # Contiguous before it grows to floats: a quarter of the bytes to move.
    pixels = images.contiguous().float()
    out = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if color_jitter > 0:
        out = _jitter_colors(out, color_jitter, uniform)
    if erasing > 0:
        out = out.masked_fill(_rectangles(n, size, erasing, uniform), 128.0)
    return out


def _affine_grid(row_x: tuple[Tensor, ...], row_y: tuple[Tensor, ...], size: int) -> Tensor:
    """Where each output pixel is taken from, N x size x size x 2: `F.affine_grid`, in a third of its time."""
    center = (torch.arange(size, device=row_x[0].device, dtype=torch.float32) * 2 + 1) / size - 1
    column, row = center.view(1, 1, size), center.view(1, size, 1)
    grid = row_x[0].new_empty(len(row_x[0]), size, size, 2)
    for axis, (of_x, of_y, shift) in enumerate((row_x, row_y)):
        line = of_x.view(-1, 1, 1) * column + shift.view(-1, 1, 1)  # N x 1 x size
        torch.add(line, of_y.view(-1, 1, 1) * row, out=grid[..., axis])
    return grid


def _jitter_colors(images: Tensor, strength: float, uniform: Callable[..., Tensor]) -> Tensor:
    """Change saturation, contrast, brightness and tint, as one 3 x 3 matrix and one offset an image."""
    n, _, height, width = images.shape
    low, high = 1 - strength, 1 + strength
    saturation = uniform(n, 1, 1, low=low, high=high)
    contrast = uniform(n, 1, 1, low=low, high=high)
    gain = uniform(n, 1, 1, low=low, high=high) * uniform(
        n, 3, 1, low=1 - strength / 4, high=1 + strength / 4
    )
    grey = torch.tensor(_GREY, device=images.device).expand(3, 3)
    identity = torch.eye(3, device=images.device)
    matrix = gain * contrast * (saturation * identity + (1 - saturation) * grey)
    flat = images.flatten(2)
    offset = gain * (1 - contrast) * flat.mean(dim=(1, 2), keepdim=True)
    return torch.baddbmm(offset, matrix, flat).view(n, 3, height, width)


def _rectangles(n: int, size: int, share: float, uniform: Callable[..., Tensor]) -> Tensor:
    """Boolean N x 1 x size x size: one rectangle of 10-50 % of each side, in a `share` of the images."""
    chosen = uniform(n, 1) < share
    center_x, center_y = uniform(n, 1, high=size), uniform(n, 1, high=size)
    half_x, half_y = uniform(n, 1, low=0.05, high=0.25) * size, uniform(n, 1, low=0.05, high=0.25) * size
    pixel = torch.arange(size, device=center_x.device, dtype=torch.float32) + 0.5
    rows = ((pixel - center_y).abs() < half_y) & chosen
    columns = (pixel - center_x).abs() < half_x
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
