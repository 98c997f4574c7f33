"""Photos that a model has learnt from, found again among those that it is measured on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wisp import strict_json
from wisp.files import file_sha256
from wisp.records import TRAIN, VAL, Sample

DATA, RECIPE = "data.json", "recipe.toml"


def learnt_photos(folder: Path, samples: Sequence[Sample]) -> int | None:
    """How many of some photos a run has learnt from; equal photos are known by their bytes, not by their names.

    Args:
        folder: where the run lies; its `data.json` holds the SHA-256 of every photo that it saw, its `recipe.toml` says
            whether it learnt those of validation too.
        samples: the photos.

    Returns:
        Their number, without those that cannot be read; None where the folder does not say what the run has learnt
        from.
    """
    learnt = _learnt(folder)
    if learnt is None:
        return None
    with ThreadPoolExecutor(4) as threads:  # hashing and reading both release the interpreter lock
        return sum(threads.map(lambda sample: _digest(sample.path) in learnt, samples))


def overlap_note(n_learnt: int | None, n_images: int) -> str | None:
    """One line of warning, None where there is nothing to warn of."""
    if not n_learnt:
        return None
    return f"{n_learnt:,} of these {n_images:,} photos it has learnt from: its F1 on new photos will be lower"


def _learnt(folder: Path) -> frozenset[str] | None:
    try:
        splits = strict_json.loads((folder / DATA).read_bytes())["splits"]
        recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
        learnt = (TRAIN, VAL) if recipe.get("train_on_val") else (TRAIN,)
        return frozenset(str(digest) for split in learnt for digest in splits.get(split, {}).values())
    except (OSError, ValueError, strict_json.StrictJsonError, KeyError, TypeError, AttributeError):
        return None


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
