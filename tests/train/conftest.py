"""Fixtures for trainings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tiny_training import paint_photos, train_in


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, bits are compared here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def reference(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the busy recipe that nothing ever interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "reference"
    train_in(folder, photos, cache_dir=tmp_path_factory.mktemp("reference-cache"))
    return folder
