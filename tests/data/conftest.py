"""Fixtures for data folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """Write a photo of coarse random blots: another seed is another shot, the same seed the same one."""

    def write(path: Path, seed: int, *, size: tuple[int, int] = (64, 48), **save: Any) -> Path:
        blots = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC).save(path, **save)
        return path

    return write
