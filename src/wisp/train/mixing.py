"""Blending pairs of photos and their targets: mixup and CutMix."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def mix(
    images: Tensor,
    targets: Tensor,
    *,
    method: Literal["mixup", "cutmix", "both"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Blend each photo of a batch with another one of it.

    Args:
        images: N x 3 x H x W.
        targets: N x classes, soft.
        method: `mixup` blends pixels (Zhang et al., 2018), `cutmix` pastes a rectangle (Yun et al., 2019), `both`
            tosses a coin for the batch.
        alpha: both parameters of the Beta distribution of the share that is kept.
        generator: CPU generator that everything is drawn from.

    Returns:
        The blended images and targets.
    """
    keep = _beta(alpha, generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    if method == "both":
        method = "mixup" if torch.rand((), generator=generator).item() < 0.5 else "cutmix"
    if method == "mixup":
        images = torch.lerp(images[partner], images, keep)
    else:
        height, width = images.shape[2:]
        cut_h, cut_w = round(height * math.sqrt(1 - keep)), round(width * math.sqrt(1 - keep))
        top = int(torch.randint(height - cut_h + 1, (), generator=generator))
        left = int(torch.randint(width - cut_w + 1, (), generator=generator))
        area = (slice(None), slice(None), slice(top, top + cut_h), slice(left, left + cut_w))
        images = images.clone()
        images[area] = images[area][partner]
        keep = 1 - cut_h * cut_w / (height * width)
    return images, torch.lerp(targets[partner], targets, keep)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One draw of Beta(alpha, alpha); torch's own takes no generator."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
