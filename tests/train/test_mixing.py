from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wisp.train import mixing
from wisp.train.mixing import mix

METHODS = ("mixup", "cutmix", "both")
Method = Literal["mixup", "cutmix", "both"]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(n: int, side: int = 12) -> tuple[Tensor, Tensor]:
    """Photo i is filled with the number i, and its target is class i."""
    images = torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, side, side)
    return images.contiguous(), torch.eye(n)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(METHODS), st.integers(1, 9), st.floats(0.05, 5), st.integers(0, 10_000))
def test_mass_is_conserved(method: Method, n: int, alpha: float, seed: int) -> None:
    images, targets = _batch(n)
    before = images.clone(), targets.clone()
    mixed, soft = mix(images, targets, method=method, alpha=alpha, generator=_generator(seed))
    torch.testing.assert_close(soft.sum(1), torch.ones(n))  # of each photo
    torch.testing.assert_close(soft.sum(0), torch.ones(n))  # of each class, over the batch
    # The mean pixel is the photo's number, so it must be mixed as the classes are.
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft @ torch.arange(n, dtype=torch.float32))
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_the_share_of_a_cutmix_is_its_area(seed: int, side: int) -> None:
    images, targets = _batch(5, side)
    mixed, soft = mix(images, targets, method="cutmix", alpha=1.0, generator=_generator(seed))
    for row, (image, target) in enumerate(zip(mixed, soft, strict=True)):
        kept = (image == row).float().mean().item()
        assert target[row].item() == pytest.approx(kept, abs=1e-5)
        pasted = (image[0] != row).nonzero()
        if len(pasted):  # one rectangle, whole
            height, width = (pasted.max(0).values - pasted.min(0).values + 1).tolist()
            assert height * width == len(pasted)


def test_mixup_blends_pixels_and_classes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "_beta", lambda alpha, generator: 0.25)
    images, targets = _batch(6)
    mixed, soft = mix(images, targets, method="mixup", alpha=0.4, generator=_generator(2))
    partner = torch.randperm(6, generator=_generator(2))
    torch.testing.assert_close(mixed, 0.25 * images + 0.75 * images[partner])
    torch.testing.assert_close(soft, 0.25 * targets + 0.75 * targets[partner])


def test_both_does_both() -> None:
    images, targets = _batch(4)
    seen = set()
    for seed in range(20):
        mixed, _ = mix(images, targets, method="both", alpha=2.0, generator=_generator(seed))
        seen.add(bool((mixed == mixed.round()).all()))  # a paste leaves whole numbers
    assert seen == {True, False}


def test_the_same_generator_gives_the_same_mix() -> None:
    images, targets = _batch(4)
    one, other = (mix(images, targets, method="both", alpha=0.4, generator=_generator(9)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_follows_the_beta_distribution(alpha: float) -> None:
    generator = _generator(1)
    draws = np.array([mixing._beta(alpha, generator) for _ in range(4000)])
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
