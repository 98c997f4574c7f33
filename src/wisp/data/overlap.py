"""Photos that a model has learnt from, found again among those that it is measured on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wisp import strict_json
from wisp.data.fingerprint import digest_photos
from wisp.files import file_sha256
from wisp.records import TRAIN, VAL, Sample

DATA, RECIPE = "data.json", "recipe.toml"


def learnt_photos(folder: Path, samples: Sequence[Sample]) -> int | None:
    """How many of some photos a run has learnt from; equal photos are known by their bytes, not by their names.

    Args:
        folder: where the run lies; its `data.json` holds the SHA-256 of every photo that it saw, its `recipe.toml` says
            whether it learnt those of validation too.
        samples: the photos; none is read where the folder does not say.

    Returns:
        Their number, without those that cannot be read; None where the folder does not say what the run has learnt
        from.
    """
    try:
        described = strict_json.loads((folder / DATA).read_bytes())
        recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, strict_json.StrictJsonError):
        return None
    learnt = learnt_digests(described, train_on_val=bool(recipe.get("train_on_val")))
    return None if learnt is None else count_learnt(learnt, readable_digests(samples))


def learnt_digests(described: Mapping[str, Any], *, train_on_val: bool) -> frozenset[str] | None:
    """The SHA-256 of every photo that a run has learnt from; None where `described`, its `data.json`, has none."""
    try:
        splits = described["splits"]
        learnt = (TRAIN, VAL) if train_on_val else (TRAIN,)
        return frozenset(str(digest) for split in learnt for digest in splits.get(split, {}).values())
    except (KeyError, TypeError, AttributeError):
        return None


def readable_digests(samples: Sequence[Sample], *, progress: bool = True) -> list[str]:
    """The SHA-256 of every photo that can be read; `progress` shows a bar on a terminal."""
    return [digest for digest in digest_photos(samples, _digest, progress=progress) if digest is not None]


def count_learnt(learnt: frozenset[str], digests: Sequence[str]) -> int:
    """How many of the photos with these digests were learnt."""
    return sum(digest in learnt for digest in digests)


def overlap_note(n_learnt: int | None, n_images: int) -> str | None:
    """One line of warning, None where there is nothing to warn of."""
    if not n_learnt:
        return None
    return f"learnt from {n_learnt:,} of these {n_images:,} photos: F1 on new ones will be lower"


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
