"""Weights as products of smaller ones: singular value decomposition and Tucker-2."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from wisp.models.edits import Factor, factor_chain, is_pointwise

Factorable = nn.Conv2d | nn.Linear
_SWEEPS = 20  # of Tucker-2; the first two or three do nearly all
_UNSEEN = 1e-3  # energy that an input has at least, in units of the mean


def split_matrix(matrix: Tensor, rank: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best approximation of a matrix by a product, its scale shared evenly (Eckart & Young, 1936).

    Args:
        matrix: outputs x inputs.
        rank: at most the smaller side.
        moment: E[x x^T] of the inputs, inputs x inputs; then the outputs are what is approximated best, in the mean.

    Returns:
        outputs x rank, and rank x inputs.
    """
    root = _root(moment, matrix)
    left, values, right = torch.linalg.svd(matrix @ root, full_matrices=False)
    scale = values[:rank].sqrt()
    first = torch.linalg.solve_triangular(root, scale[:, None] * right[:rank], upper=False, left=False)
    return left[:, :rank] * scale, first


def split_kernel(kernel: Tensor, ranks: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Tucker-2 of a convolution's kernel over its channels, by alternating least squares (Kim et al., 2016).

    Args:
        kernel: outputs x inputs x height x width.
        ranks: of the inputs and of the outputs.

    Returns:
        ranks[0] x inputs, the core ranks[1] x ranks[0] x height x width, and outputs x ranks[1].
    """
    first, second = ranks
    inputs = _basis(kernel.transpose(0, 1), first)
    for _ in range(_SWEEPS):
        outputs = _basis(torch.einsum("oihw,ir->orhw", kernel, inputs), second)
        inputs = _basis(torch.einsum("oihw,os->ishw", kernel, outputs), first)
    core = torch.einsum("oihw,ir,os->srhw", kernel, inputs, outputs)
    return inputs.t(), core, outputs


def factored(
    layer: Factorable, edit: Factor, moment: Tensor | None = None
) -> tuple[nn.Sequential, nn.Module]:
    """The chain that takes the layer's place, and the layer with the product of the chain's weights as its own.

    Both compute the same. The layer is left as it was. `moment` is that of `split_matrix`; kernels larger than 1x1
    are split by their weights alone.
    """
    weight = layer.weight.detach().double()
    chain, product = factor_chain(layer, edit.ranks, where=edit.layer), deepcopy(layer)
    parts: tuple[Tensor, ...]
    if len(edit.ranks) == 1:
        left, right = split_matrix(weight.flatten(1), edit.ranks[0], moment)
        parts, whole = (right, left), left @ right
    else:
        right, core, left = split_kernel(weight, edit.ranks)
        parts, whole = (right, core, left), torch.einsum("os,srhw,ri->oihw", left, core, right)
    with torch.no_grad():
        for part, value in zip(chain, parts, strict=True):
            target = part.get_parameter("weight")
            target.copy_(value.reshape(target.shape))
        bias: Tensor | None = layer.bias
        if bias is not None:
            chain[-1].get_parameter("bias").copy_(bias)
        product.weight.copy_(whole.reshape(layer.weight.shape))
    return chain, product


def errors_by_rank(layer: Factorable, moment: Tensor | None = None) -> Tensor:
    """The share of the weights' energy that is lost at each rank; with `moment`, of the outputs' energy.

    Returns:
        (ranks + 1,) for a linear layer or a 1x1 convolution; (inputs + 1, outputs + 1) for a k x k convolution, of
        truncated bases, which alternating least squares improves on. Float64; entry 0 stands for rank 0.
    """
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear) or is_pointwise(layer):
        matrix = weight.flatten(1)
        kept = torch.linalg.svdvals(matrix @ _root(moment, matrix)).square().cumsum(0)
        total = kept[-1]
        kept = torch.cat((torch.zeros(1, dtype=torch.float64), kept))
    else:
        inputs = _basis(weight.transpose(0, 1), weight.shape[1])
        outputs = _basis(weight, weight.shape[0])
        core = torch.einsum("oihw,ir,os->rshw", weight, inputs, outputs).square().sum(dim=(2, 3))
        kept = torch.zeros(core.shape[0] + 1, core.shape[1] + 1, dtype=torch.float64)
        kept[1:, 1:] = core.cumsum(0).cumsum(1)
        total = weight.square().sum()
    share: Tensor = kept / total.clamp(min=torch.finfo(torch.float64).tiny)
    return (1 - share).clamp(min=0.0)


def _root(moment: Tensor | None, matrix: Tensor) -> Tensor:
    """A lower triangular root of the inputs' moment, well conditioned; the identity where there is none."""
    size = matrix.shape[1]
    identity = torch.eye(size, dtype=matrix.dtype)
    if moment is None:
        return identity
    mean = (moment.diagonal().sum() / size).clamp(min=torch.finfo(matrix.dtype).tiny)
    # Inputs that a few photos never showed may still occur.
    root: Tensor = torch.linalg.cholesky(moment.to(matrix.dtype) / mean + _UNSEEN * identity)
    return root


def _basis(tensor: Tensor, rank: int) -> Tensor:
    """The leading left singular vectors of a tensor unfolded along its first axis; axis x rank."""
    unfolded = tensor.flatten(1)
    # Fewer columns than rows have fewer vectors: the full set then.
    left: Tensor = torch.linalg.svd(unfolded, full_matrices=unfolded.shape[1] < rank)[0]
    return left[:, :rank]
