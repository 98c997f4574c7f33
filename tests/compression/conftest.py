"""A run to compress, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_training import EASY, paint_photos, train_in
from wisp.data.folders import load_dataset
from wisp.train.run import read_run
from wisp.trials import export_run


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_photos(tmp_path_factory.mktemp("compression-data") / "photos")


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compression-runs") / "trained"
    train_in(folder, photos, EASY, cache_dir=tmp_path_factory.mktemp("compression-cache"))
    export_run(read_run(folder), load_dataset(photos))
    return folder
