"""Fusing: the same function in fewer steps. BatchNorm goes into the layer before it, branches into one kernel."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from wisp.compress.branches import merge_in_place
from wisp.compress.change import Change, Costs, describe_change
from wisp.errors import ModelError
from wisp.models.edits import Edit, Fold
from wisp.models.folding import fold_in_place

# Largest difference of a logit, relative to the largest logit, that passes as rounding: the families' are below 2e-6.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class FuseConfig:
    """What to fuse.

    Attributes:
        norms: fold each BatchNorm into the convolution or linear layer before it.
        branches: merge parallel convolutions and BatchNorms whose results are added.
    """

    norms: bool = True
    branches: bool = True


def fuse(model: nn.Module, config: FuseConfig, *, image_size: int) -> tuple[nn.Module, Change]:
    """Fuse what inference does not need apart.

    Args:
        model: takes float images N x 3 x image_size x image_size, gives logits. Left as it was.
        config: what to fuse.
        image_size: pixels.

    Returns:
        The network in evaluation mode, float32, on the CPU, with the same outputs up to rounding; and the change.

    Raises:
        ModelError: the network cannot run on such images, or the fused one would compute something else.
    """
    before = deepcopy(model).eval().cpu().float()
    after = deepcopy(before)
    edits: list[Edit] = []
    if config.norms:
        edits += [Fold(layer=layer, norm=norm) for layer, norm in fold_in_place(after, image_size)]
    if config.branches:
        edits += merge_in_place(after, image_size)
    images = torch.randn(4, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = before(images), after(images)
    difference = float((expected - got).abs().max() / expected.abs().max().clamp(min=1.0))
    if not difference <= TOLERANCE:
        raise ModelError(f"the fused network would compute something else: logits differ by {difference:.1e}")
    notes = [f"largest difference of a logit on noise images: {difference:.1e} (relative)"]
    if not edits:
        notes.append("there is nothing to fuse: no BatchNorm behind a layer, no parallel branches")
    return after, describe_change(
        before, after, method="fuse", costs=Costs(image_size), edits=edits, notes=notes
    )
