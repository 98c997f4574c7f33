"""One honest submission for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from forgery import RECIPE, pack, paint

from tiny_training import train_in


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, bits are compared here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _models_read_once(models_read_once: None) -> None:
    """The same few models, over and over."""


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("submissions")


@pytest.fixture(scope="session")
def photos(room: Path) -> Path:
    """Photos from which every seed learns everything: F1 1.0."""
    return paint(room / "photos")


@pytest.fixture(scope="session")
def honest(room: Path, photos: Path) -> Path:
    """A submission of what its recipe gives."""
    train_in(room / "run", photos, RECIPE)
    return pack(room / "run", photos, room / "team.zip")
