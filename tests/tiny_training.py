"""A training that takes a second: generated photos of three classes, a very small network, and ways to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from wisp.data.folders import load_dataset
from wisp.models import ArchSpec
from wisp.train.loop import TrainResult, train
from wisp.train.recipe import Recipe
from wisp.train.run import METRICS, WEIGHTS, Run, describe_data, open_run

CLASSES = {"glass": (60, 160, 70), "metal": (70, 80, 170), "종이": (180, 90, 60)}

ARCH = ArchSpec.from_json(
    {
        "num_classes": 3,
        "options": {
            "family": "wisp",
            "stem": {"width": 6, "kernel": 3, "stride": 2},
            "stages": [{"width": 8, "stride": 2, "expansion": 2.0}],
            "head": 12,
            "dropout": 0.2,
        },
    }
)
# Everything random is on, so that a repetition has a chance to differ.
BUSY = Recipe(
    image_size=16,
    epochs=4,
    batch_size=16,
    learning_rate=0.01,
    rotation_degrees=180.0,
    vertical_flip=True,
    mixing="both",
    erasing=0.3,
    balanced_sampling=0.5,
    class_balance=0.5,
    gradient_clip=5.0,
    ema_decay=0.8,
    seed=3,
)
# What learns the three colours fast.
EASY = Recipe(
    image_size=16, epochs=8, batch_size=16, learning_rate=0.02, ema_decay=0.7, label_smoothing=0.0, seed=1
).resolved(48)


def paint_photos(root: Path, *, train: int = 16, val: int = 5, seed: int = 0) -> Path:
    """Blots in the colour of their class, 24 to 40 pixels a side, JPEG and PNG by turns."""
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for name, color in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                blots = np.clip(random.normal(color, 40, (4, 5, 3)), 0, 255).astype(np.uint8)
                size = tuple(int(side) for side in random.integers(24, 41, 2))
                photo = Image.fromarray(blots).resize((size[0], size[1]), Image.Resampling.BICUBIC)
                photo.save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    return root


def train_in(
    folder: Path, photos: Path, recipe: Recipe = BUSY, arch: ArchSpec = ARCH, **options: Any
) -> TrainResult:
    """Train in `folder`, or go on with what is there, with a checkpoint after every epoch."""
    torch.set_num_threads(1)
    return train(open_in(folder, photos, recipe, arch), load_dataset(photos), **settings(options))


def open_in(folder: Path, photos: Path, recipe: Recipe = BUSY, arch: ArchSpec = ARCH) -> Run:
    return open_run(folder, recipe, arch, describe_data(load_dataset(photos), progress=False), resume=True)


def settings(options: dict[str, Any]) -> dict[str, Any]:
    return {"progress": False, "checkpoint_seconds": 0.0, **options}


def weights(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / WEIGHTS)


def same_bits(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def log_rows(folder: Path) -> list[dict[str, float]]:
    """The log without its times; every line of the file must be whole, and none double."""
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
