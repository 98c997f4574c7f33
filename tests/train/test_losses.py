from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wisp.train.losses import class_weights, distillation_loss, soft_targets, weighted_cross_entropy


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=9).filter(any), st.floats(0, 1))
def test_the_mean_weight_of_a_photo_is_one(counts: list[int], exponent: float) -> None:
    weights = class_weights(torch.tensor(counts), exponent)
    mean = (weights * torch.tensor(counts)).sum() / sum(counts)
    assert mean.item() == pytest.approx(1, rel=1e-5)
    assert all(weight == 0 for weight, count in zip(weights.tolist(), counts, strict=True) if not count)


def test_class_weights_between_none_and_full() -> None:
    counts = torch.tensor([10, 40, 0])
    torch.testing.assert_close(class_weights(counts, 0), torch.tensor([1.0, 1.0, 0.0]))
    full = class_weights(counts, 1)
    assert full[0] * 10 == pytest.approx(full[1].item() * 40)
    half = class_weights(counts, 0.5)
    assert (half[0] / half[1]).item() == pytest.approx(2)  # (40 / 10) ** 0.5


def test_soft_targets() -> None:
    targets = soft_targets(torch.tensor([2, 0]), 4, 0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))
    assert torch.equal(soft_targets(torch.tensor([1]), 2, 0), torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    ours = weighted_cross_entropy(logits, soft_targets(labels, 5, smoothing), torch.ones(5))
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=smoothing))
    weights = torch.rand(5)
    ours = weighted_cross_entropy(logits, soft_targets(labels, 5, smoothing), weights)
    theirs = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction="sum") / 7
    torch.testing.assert_close(ours, theirs)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.5, 10), st.integers(0, 1000))
def test_nothing_to_distil_from_oneself(temperature: float, seed: int) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) * 5
    assert distillation_loss(logits, logits, temperature).item() == pytest.approx(0, abs=1e-5)
    # a constant added to all logits changes no probability
    assert distillation_loss(logits + 3, logits, temperature).item() == pytest.approx(0, abs=1e-4)


def test_distillation_against_its_formula() -> None:
    teacher, student, temperature = [math.log(0.8), math.log(0.2)], [0.0, 0.0], 2.0
    softened = [math.exp(value / temperature) for value in teacher]
    p = [value / sum(softened) for value in softened]
    divergence = sum(value * math.log(value / 0.5) for value in p)
    loss = distillation_loss(torch.tensor([student]), torch.tensor([teacher]), temperature)
    assert loss.item() == pytest.approx(divergence * temperature**2, rel=1e-5)
