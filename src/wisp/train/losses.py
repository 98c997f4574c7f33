"""Targets and losses as plain functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """One-hot targets, N x classes, with `smoothing` of the mass spread evenly (Szegedy et al., 2016)."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def class_weights(counts: Tensor, exponent: float) -> Tensor:
    """Inverse class frequency to the power `exponent`, scaled so that the mean weight of a photo is 1.

    Args:
        counts: photos of each class; a class without photos gets weight 0.
        exponent: 0 weighs every photo alike, 1 every class alike.
    """
    counts = counts.double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -exponent, 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over photos of the cross entropy to soft `targets`, each class's part times its weight."""
    return -(targets * weights * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL divergence to the teacher's softened distribution, times T squared (Hinton et al., 2015)."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
