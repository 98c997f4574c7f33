from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wisp.data.augment import MEAN, STD, _affine_grid, augment, normalize

OFF: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "vertical_flip": False,
    "min_crop_area": 1.0,
    "color_jitter": 0.0,
    "erasing": 0.0,
}
FULL: dict[str, Any] = {
    "rotation_degrees": 180.0,
    "vertical_flip": True,
    "min_crop_area": 0.3,
    "color_jitter": 0.5,
    "erasing": 1.0,
}


def _photos(n: int, side: int = 20, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # channels last in memory, like the cache's


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_with_everything_off_only_the_mirror_is_left() -> None:
    photos = _photos(32)
    out = augment(photos, 20, generator=_generator(), **OFF)
    mirrored = 0
    for photo, result in zip(photos.float(), out, strict=True):
        distances = [(photo - result).abs().max().item(), (photo.flip(2) - result).abs().max().item()]
        assert min(distances) < 0.01
        mirrored += distances[1] < distances[0]
    assert 6 < mirrored < 26


def test_vertical_flip_adds_the_other_mirror() -> None:
    photos = _photos(64)
    out = augment(photos, 20, generator=_generator(), **{**OFF, "vertical_flip": True})
    ways = [photos.float().flip(dims) for dims in ([], [3], [2], [2, 3])]
    distances = torch.stack([(way - out).abs().amax((1, 2, 3)) for way in ways])
    assert distances.min(0).values.max() < 0.01
    assert torch.bincount(distances.argmin(0), minlength=4).min() > 5


def test_resampling_to_another_size_is_that_of_torch() -> None:
    photos = _photos(8, side=24)
    out = augment(photos, 16, generator=_generator(), **OFF)
    plain = F.interpolate(photos.float(), size=(16, 16), mode="bilinear", align_corners=False)
    nearest = torch.minimum((plain - out).abs().amax((1, 2, 3)), (plain.flip(3) - out).abs().amax((1, 2, 3)))
    assert nearest.max() < 0.01


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("size", [8, 16, 33])
@pytest.mark.parametrize("options", [OFF, FULL], ids=["off", "full"])
def test_size_and_range(n: int, size: int, options: dict[str, Any]) -> None:
    out = augment(_photos(n), size, generator=_generator(n), **options)
    assert out.shape == (n, 3, size, size)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    # the strongest gain, contrast and tint together bound what 0..255 can become
    bound = 255.0 if options is OFF else 255 * 1.5**3 * 1.125
    assert out.min() >= 255 - bound - 0.01
    assert out.max() <= bound + 0.01


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31 - 1))
def test_the_same_generator_state_gives_the_same_bits(seed: int) -> None:
    photos = _photos(3)
    one, other = (augment(photos, 12, generator=_generator(seed), **FULL) for _ in range(2))
    assert torch.equal(one, other)
    generator = _generator(seed)
    first, second = (augment(photos, 12, generator=generator, **FULL) for _ in range(2))
    assert torch.equal(first, one)
    assert not torch.equal(first, second)


def test_torchs_own_random_state_is_not_used() -> None:
    before = torch.get_rng_state()
    augment(_photos(2), 12, generator=_generator(), **FULL)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_format_does_not_matter() -> None:
    photos = _photos(4)
    one = augment(photos, 12, generator=_generator(), **FULL)
    other = augment(photos.contiguous(), 12, generator=_generator(), **FULL)
    assert torch.equal(one, other)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 1000))
def test_affine_grid_is_that_of_torch(n: int, size: int, seed: int) -> None:
    theta = torch.randn(n, 2, 3, generator=_generator(seed))
    rows = [tuple(theta[:, row].unbind(1)) for row in range(2)]
    theirs = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    torch.testing.assert_close(_affine_grid(rows[0], rows[1], size), theirs, rtol=1e-5, atol=1e-5)


def test_a_turn_by_ninety_degrees_moves_the_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    photo[..., 0, 0] = 255
    corners = set()
    for seed in range(200):
        out = augment(photo, 9, generator=_generator(seed), **{**OFF, "rotation_degrees": 180.0})
        bright = (out[0, 0] > 200).nonzero().tolist()
        corners |= {tuple(where) for where in bright}
    assert corners == {(0, 0), (0, 8), (8, 0), (8, 8)}


def test_a_crop_keeps_at_least_its_share() -> None:
    # A ramp from left to right: the range that is left says how wide the crop was.
    ramp = torch.linspace(0, 255, 64).round().to(torch.uint8).expand(200, 3, 64, 64)
    crop = {**OFF, "min_crop_area": 0.25}
    across = augment(ramp, 64, generator=_generator(1), **crop)
    down = augment(ramp.transpose(2, 3), 64, generator=_generator(1), **crop)
    width, height = ((each.amax((1, 2, 3)) - each.amin((1, 2, 3))) / 255 for each in (across, down))
    area = width * height
    assert area.min() > 0.25 * math.sqrt(3 / 4) - 0.03
    assert area.max() <= 1
    assert area.std() > 0.1
    assert (width / height).max() < 4 / 3 + 0.05
    assert (width / height).min() > 3 / 4 - 0.05


def test_colour_jitter_keeps_within_its_strength() -> None:
    grey = torch.full((400, 3, 8, 8), 100, dtype=torch.uint8)
    out = augment(grey, 8, generator=_generator(), **{**OFF, "color_jitter": 0.2})
    # An even grey photo has neither saturation nor contrast: brightness and tint are left.
    assert torch.allclose(out, out.mean((2, 3), keepdim=True).expand_as(out), atol=1e-3)
    gain = out.mean((2, 3)) / 100
    assert gain.min() >= 0.8 * 0.95 - 1e-4
    assert gain.max() <= 1.2 * 1.05 + 1e-4
    assert gain.std() > 0.08
    tint = gain / gain.mean(1, keepdim=True)
    assert 0.01 < tint.std() < 0.05


def test_saturation_keeps_the_luma() -> None:
    photos = _photos(16, side=8)
    out = augment(photos, 8, generator=_generator(), **{**OFF, "color_jitter": 1e-6})
    plain = augment(photos, 8, generator=_generator(), **OFF)
    torch.testing.assert_close(out, plain, rtol=0, atol=0.01)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_erasing_greys_its_share_of_the_photos(share: float) -> None:
    white = torch.full((800, 3, 20, 20), 255, dtype=torch.uint8)
    out = augment(white, 20, generator=_generator(), **{**OFF, "erasing": share})
    erased = out == 128
    assert torch.equal(erased | (out > 254.9), torch.ones_like(erased))
    hit = erased.flatten(1).any(1).float().mean().item()
    assert hit == pytest.approx(share, abs=0.05)
    inside = erased[erased.flatten(1).any(1), 0]
    assert inside.float().mean((1, 2)).max() <= 0.3  # at most half of each side, and a pixel
    for mask in inside[:50]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)  # one rectangle


def test_normalize_against_numpy() -> None:
    photos = _photos(3)
    expected = (photos.numpy().transpose(0, 2, 3, 1) / 255.0 - np.array(MEAN)) / np.array(STD)
    for pixels in (photos, photos.float()):
        np.testing.assert_allclose(
            normalize(pixels.clone()).permute(0, 2, 3, 1).numpy(), expected, rtol=1e-5, atol=1e-5
        )
    assert photos.dtype == torch.uint8
