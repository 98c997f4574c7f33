"""Photos that a tiny network learns in a second, a submission that was really trained on them, and ways to forge it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tiny_training import CLASSES, EASY
from wisp import strict_json
from wisp.data.fingerprint import content_fingerprint
from wisp.data.folders import load_dataset
from wisp.packing import pack_run
from wisp.submission import Facts, Manifest, write_submission
from wisp.train.run import read_run

COUNTS = {"train": 40, "val": 5, "test": 60}
RECIPE = EASY.replace(epochs=6)
NAMES = list(CLASSES)
SWAPPED = {"glass": "metal", "metal": "glass"}


def paint(root: Path, swapped: tuple[str, ...] = ()) -> Path:
    """Blots in the colour of their class; in the `swapped` splits glass and metal change places.

    A network that learned the right places, or the wrong ones, and is asked about the others, has F1 1/3: for every
    seed the same. Splits that are not swapped hold the same photos each time.
    """
    for number, (split, count) in enumerate(COUNTS.items()):
        random = np.random.default_rng(number)
        for name in NAMES:
            colour = CLASSES[SWAPPED.get(name, name) if split in swapped else name]
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                blots = np.clip(random.normal(colour, 40, (4, 5, 3)), 0, 255).astype(np.uint8)
                side = int(random.integers(24, 41))
                photo = Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC)
                photo.save(folder / f"{split}-{name}-{index}.png")
    return root


def pack(run: Path, photos: Path, path: Path) -> Path:
    """Pack a run as its owner would."""
    pack_run(read_run(run), load_dataset(photos), path, progress=False)
    return path


def member(submission: Path, name: str) -> bytes:
    """One member of a submission."""
    with zipfile.ZipFile(submission) as archive:
        return archive.read(name)


def forge(honest: Path, path: Path, files: dict[str, bytes] | None = None, **facts: Any) -> Path:
    """The submission with some members and facts replaced. All its digests fit, as a forger's would."""
    with zipfile.ZipFile(honest) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    said = Manifest.parse(contents.pop("manifest.json")).model_dump()
    for name in ("members", "format"):
        said.pop(name)
    write_submission(path, {**contents, **(files or {})}, Facts(**{**said, **facts}))
    return path


def fingerprint(photos: Path) -> bytes:
    """data.json of a submission about these photos."""
    found = content_fingerprint(load_dataset(photos), progress=False)
    return strict_json.dumps({name: found[name] for name in ("classes", "splits", "digest")})
