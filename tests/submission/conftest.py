"""One sound submission for all tests here; each test damages a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_submission import Parts, paint_test_photos, tiny_submission
from wisp.records import Dataset


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return paint_test_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def parts(photos: Dataset) -> Parts:
    return tiny_submission(photos)


@pytest.fixture
def team(parts: Parts, tmp_path: Path) -> Path:
    """The sound one, written."""
    return parts.write(tmp_path / "team.zip")
