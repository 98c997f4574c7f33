"""What is in a folder of photos, and what will trouble a training on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wisp.data.duplicates import duplicate_groups
from wisp.data.folders import load_dataset, scan
from wisp.data.photo_table import PhotoTable, look_at
from wisp.data.synthetic import is_synthetic
from wisp.errors import DataError
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, Sample

# Limits from which a warning is given.
MAX_IMBALANCE = 10.0
MIN_CLASS_PHOTOS = 20
SYNTHETIC_WARNING = (
    "synthetic pictures, rendered by wisp: figures measured on them say nothing about real photos"
)
TINY_SIDE = 16  # pixels
TINY_SHARE = 0.01

_SPLIT_ORDER = (TRAIN, VAL, TEST, UNLABELLED)


@dataclass(frozen=True)
class Spread:
    """Quantiles of one quantity over the readable photos."""

    minimum: float
    q05: float
    median: float
    q95: float
    maximum: float


@dataclass(frozen=True)
class FoundPhoto:
    """One photo of a group of duplicates: its name in the data set, its split, and its class if labelled."""

    name: str
    split: str
    label: str | None


@dataclass(frozen=True)
class DuplicateGroup:
    """Photos that show the same shot: `exact` where their files are equal byte for byte, else `near`."""

    kind: Literal["exact", "near"]
    photos: tuple[FoundPhoto, ...]

    @property
    def leaks(self) -> bool:
        """The same shot lies in more than one split."""
        return len({photo.split for photo in self.photos}) > 1

    @property
    def contradicts(self) -> bool:
        """The same shot has more than one label."""
        return len({photo.label for photo in self.photos if photo.label is not None}) > 1


@dataclass(frozen=True)
class Inspection:
    """Everything `wisp data inspect` finds.

    Attributes:
        root: the data folder, as given.
        is_split: the folder has train/val/test folders; otherwise wisp divided it.
        classes: class names, sorted.
        counts: split -> class -> photos; the unlabelled ones stand under the class "".
        imbalance: photos of the largest class of train over those of the smallest; None without any.
        widths: pixels of the upright photos; None where no photo can be read.
        heights: likewise.
        aspect_ratios: width over height, likewise.
        formats: format -> photos.
        unreadable: name -> reason.
        ignored: files that are no photos or lie outside the class folders.
        duplicates: groups of exact and near duplicates.
        warnings: one line each, the gravest first.
    """

    root: str
    is_split: bool
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    imbalance: float | None
    widths: Spread | None
    heights: Spread | None
    aspect_ratios: Spread | None
    formats: Mapping[str, int]
    unreadable: Mapping[str, str]
    ignored: tuple[str, ...]
    duplicates: tuple[DuplicateGroup, ...]
    warnings: tuple[str, ...]

    @property
    def n_images(self) -> int:
        """All photos, also the unreadable ones."""
        return sum(sum(of_class.values()) for of_class in self.counts.values())

    @property
    def leaks(self) -> tuple[DuplicateGroup, ...]:
        """The groups of duplicates that lie in more than one split."""
        return tuple(group for group in self.duplicates if group.leaks)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes; complete, nothing is cut short."""
        return {
            **asdict(self),
            "n_images": self.n_images,
            "leaks": [asdict(group) for group in self.leaks],
        }


def inspect_folder(root: Path, *, seed: int = 0, progress: bool = True) -> tuple[Inspection, Dataset]:
    """Look into every photo of a data folder; nothing in it is changed.

    Returns:
        What was found, and the data set it was found in.

    Raises:
        DataError: `root` cannot be read as a data set, or has no photo.
    """
    found = scan(root)
    dataset = load_dataset(root, seed=seed, needs=(), progress=progress)
    placed = [(sample, split) for split in _SPLIT_ORDER for sample in dataset.split(split)]
    if not placed:
        raise DataError(f"{root}: no photos in its class folders ({', '.join(dataset.classes)})")
    table = look_at([sample for sample, _ in placed], root, progress=progress)
    readable = table.readable
    widths, heights = table.widths[readable], table.heights[readable]
    counts = _counts(dataset)
    duplicates = _duplicates(placed, dataset.classes, table)
    unreadable = {
        sample.name: reason for (sample, _), reason in zip(placed, table.errors, strict=True) if reason
    }
    of_class = [counts.get(TRAIN, {}).get(name, 0) for name in dataset.classes]
    imbalance = max(of_class) / min(of_class) if all(of_class) else None
    warnings = [
        *([SYNTHETIC_WARNING] if is_synthetic(root) else []),
        *_split_warnings(found.folders, is_split=found.is_split, counts=counts),
        *_duplicate_warnings(duplicates),
        *_class_warnings(counts, dataset.classes, imbalance),
    ]
    if unreadable:
        warnings.append(
            f"unreadable: {_photos(len(unreadable))}; training stops at them unless --skip-unreadable"
        )
    tiny = int((np.minimum(widths, heights) < TINY_SIDE).sum())
    if tiny > TINY_SHARE * len(widths):
        warnings.append(
            f"tiny: {_photos(tiny)} ({tiny / len(widths):.1%}) under {TINY_SIDE} pixels high or wide show little"
        )
    if found.ignored:
        warnings.append(
            f"ignored: {len(found.ignored):,} files that are no photos or lie outside the class folders "
            f"(first: {found.ignored[0]})"
        )
    inspection = Inspection(
        root=str(root),
        is_split=found.is_split,
        classes=dataset.classes,
        counts=counts,
        imbalance=imbalance,
        widths=_spread(widths),
        heights=_spread(heights),
        aspect_ratios=_spread(widths / np.maximum(heights, 1)),
        formats=dict(Counter(name for name in table.formats if name).most_common()),
        unreadable=unreadable,
        ignored=found.ignored,
        duplicates=duplicates,
        warnings=tuple(warnings),
    )
    return inspection, dataset


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for split in _SPLIT_ORDER:
        samples = dataset.split(split)
        if split == UNLABELLED and samples:
            counts[split] = {"": len(samples)}
        elif samples:
            of_label = Counter(sample.label for sample in samples)
            counts[split] = {name: of_label[index] for index, name in enumerate(dataset.classes)}
    return counts


def _duplicates(
    placed: Sequence[tuple[Sample, str]], classes: Sequence[str], table: PhotoTable
) -> tuple[DuplicateGroup, ...]:
    members: dict[int, list[int]] = defaultdict(list)
    for photo, group in enumerate(duplicate_groups(table).tolist()):
        if not table.errors[photo]:  # equal damaged files (often empty) are no finding of their own
            members[group].append(photo)
    groups = []
    for photos in members.values():
        if len(photos) > 1:
            one_file = len({table.digests[photo].tobytes() for photo in photos}) == 1
            described = (
                FoundPhoto(sample.name, split, None if sample.label is None else classes[sample.label])
                for sample, split in (placed[photo] for photo in photos)
            )
            groups.append(DuplicateGroup("exact" if one_file else "near", tuple(described)))
    return tuple(groups)


def _spread(values: npt.NDArray[Any]) -> Spread | None:
    if not len(values):
        return None
    return Spread(*(round(float(value), 4) for value in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))))


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _shots(count: int) -> str:
    return "1 shot has" if count == 1 else f"{count:,} shots have"


def _split_warnings(
    folders: Mapping[str, object], *, is_split: bool, counts: Mapping[str, Mapping[str, int]]
) -> list[str]:
    warnings = []
    if TRAIN not in counts:
        warnings.append("no training photos; this folder serves to evaluate only")
    elif is_split and VAL not in folders and VAL in counts:
        warnings.append(f"no val folder: {_photos(sum(counts[VAL].values()))} of train are used as val")
    elif VAL not in counts:
        warnings.append("no val photos: training cannot tell which epoch was the best")
    if TEST not in counts:
        warnings.append("no test photos: the final score can only be measured on val, which flatters it")
    return warnings


def _duplicate_warnings(duplicates: Sequence[DuplicateGroup]) -> list[str]:
    warnings = []
    leaks = [group for group in duplicates if group.leaks]
    if leaks:
        warnings.append(
            f"leakage: {_shots(len(leaks))} photos in more than one split, which makes results on val and test "
            "look better than they are"
        )
    contradictions = [group for group in duplicates if group.contradicts]
    if contradictions:
        first = contradictions[0].photos
        warnings.append(
            f"labels: {_shots(len(contradictions))} more than one label "
            f"(first: {' = '.join(photo.name for photo in first[:3])})"
        )
    return warnings


def _class_warnings(
    counts: Mapping[str, Mapping[str, int]], classes: Sequence[str], imbalance: float | None
) -> list[str]:
    warnings = []
    if len(classes) < 2:
        warnings.append("only one class; a classifier needs at least two")
    if imbalance and imbalance > MAX_IMBALANCE:
        warnings.append(f"imbalance: the largest class has {imbalance:.1f} times the photos of the smallest")
    if TRAIN in counts:
        few = [f"{name} {counts[TRAIN][name]}" for name in classes if counts[TRAIN][name] < MIN_CLASS_PHOTOS]
        if few:
            warnings.append(f"under {MIN_CLASS_PHOTOS} training photos: {', '.join(few)}")
    for split in (VAL, TEST):
        missing = [name for name in classes if split in counts and not counts[split][name]]
        if missing:
            warnings.append(f"no {split} photos of: {', '.join(missing)}")
    return warnings
