"""Write a data set as train/val/test folders with one folder a class."""

from __future__ import annotations

import csv
import os
import shutil
import unicodedata
from contextlib import suppress
from pathlib import Path

from wisp.data.folders import INDEX_FILE, NO_LABEL, class_name
from wisp.errors import DataError
from wisp.files import new_folder, replacing
from wisp.records import TEST, UNLABELLED, Dataset, Sample


def write_folders(dataset: Dataset, out: Path, *, copy: bool = False) -> None:
    """Write the splits of a data set as folders, all of it or nothing.

    Sub-folders of a class are kept. Unlabelled photos go to `test/NoLabel`, the parts to an `index.csv`.

    Args:
        dataset: what to write.
        out: a folder that is missing or empty, outside the data set's own.
        copy: copy the photos; otherwise they are hard-linked where the file system can, which takes no space.

    Raises:
        DataError: `out` cannot be used, or a photo cannot be read.
    """
    _check(out, dataset.root)
    with new_folder(out) as part:
        taken: set[str] = set()
        parts: list[tuple[str, str]] = []
        for split, samples in dataset.splits.items():
            for sample in samples:
                name = _free(_target(dataset, split, sample), taken)
                _place(sample.path, part / name, copy=copy)
                if sample.name in dataset.parts:
                    parts.append((Path(name).as_posix(), dataset.parts[sample.name]))
        if parts:
            with (
                replacing(part / INDEX_FILE) as temporary,
                temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as lines,
            ):
                csv.writer(lines).writerows([("file", "source"), *parts])


def _check(out: Path, root: Path) -> None:
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{out}: inside {root}, where it would count as a class; name a folder elsewhere")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already; name a new or an empty folder")


def _target(dataset: Dataset, split: str, sample: Sample) -> Path:
    """Where a photo goes, relative to the new root: what stands below its class folder stays as it is."""
    label = NO_LABEL if sample.label is None else dataset.classes[sample.label]
    folders = sample.path.relative_to(dataset.root).parts
    below = next(depth for depth, folder in enumerate(folders, 1) if class_name(folder) == label)
    return Path(TEST if split == UNLABELLED else split, label, *folders[below:])


def _free(target: Path, taken: set[str]) -> str:
    """The target, numbered where another photo has it already: folders in NFC and NFD are one class here."""
    name, number = target, 1
    while (key := unicodedata.normalize("NFC", str(name)).casefold()) in taken:
        number += 1
        name = target.with_name(f"{target.stem}-{number}{target.suffix}")
    taken.add(key)
    return str(name)


def _place(source: Path, target: Path, *, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not copy:
            with suppress(OSError):  # another disk, or a file system without hard links
                os.link(source.resolve(), target)
                return
        shutil.copy2(source, target)
    except OSError as error:
        raise DataError(f"{source}: cannot be copied ({error.strerror})") from error
