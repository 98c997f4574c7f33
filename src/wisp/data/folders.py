"""Folders of photos become a `Dataset`: `train/val/test` with one folder a class, or one folder a class."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wisp.data.photo_table import look_at
from wisp.data.splits import THREE_WAY, TWO_WAY, divide
from wisp.errors import DataError
from wisp.images import IMAGE_SUFFIXES
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, Sample

NO_LABEL = "NoLabel"
INDEX_FILE = "index.csv"
# What wisp itself writes beside the class folders: no photos, and nothing to wonder about.
OWN_FILES = (
    INDEX_FILE,
    "synthetic.json",
    "SYNTHETIC.txt",
    "crops.json",
    "left_out.csv",
    "not_fetched.csv",
    ".wisp.lock",
)

_SPLIT_FOLDERS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
_ARCHIVES = {".zip": "unzip", ".tar": "tar xf", ".tgz": "tar xzf", ".gz": "tar xzf", ".xz": "tar xJf"}
# Added beside photos by operating systems and storage devices, with copies inside that are not the user's.
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


@dataclass(frozen=True)
class FolderScan:
    """What lies in a data folder, before anything is split.

    `folders` maps each split to its folder, `splits` each to class name -> photos; where the root itself has
    one folder a class (`is_split` is false) all of them stand under `train`. `ignored` are files that are no
    photos, or lie where no class claims them, as POSIX paths relative to the root.
    """

    root: Path
    is_split: bool
    folders: Mapping[str, Path]
    splits: Mapping[str, Mapping[str, tuple[Path, ...]]]
    unlabelled: tuple[Path, ...]
    ignored: tuple[str, ...]


def scan(root: Path) -> FolderScan:
    """List the photos of a data folder without opening them.

    Class names are compared in Unicode NFC, so that a folder copied from a Mac (NFD) is the same class.
    Hidden files and the folders that operating systems add are passed over; links are followed. Sub-folders
    of a class belong to it.

    Raises:
        DataError: `root` is no folder that can be read, an archive, or has no class folder.
    """
    folders, files = _list_root(root)
    split_folders = [folder for folder in folders if folder.name.lower() in _SPLIT_FOLDERS]
    is_split = any(folder.name.lower() == TRAIN for folder in folders) or (
        bool(folders) and len(split_folders) == len(folders)
    )
    origin = {TRAIN: root}
    splits: dict[str, dict[str, tuple[Path, ...]]] = {}
    if not is_split:
        splits[TRAIN], ignored = _scan_classes(root)
        unlabelled = splits[TRAIN].pop(NO_LABEL, ())
    else:
        ignored = files
        origin = {}
        for folder in split_folders:
            split = _SPLIT_FOLDERS[folder.name.lower()]
            if split in origin:
                raise DataError(
                    f"{folder}: beside {origin[split].name}, a second folder for {split}; keep one of them"
                )
            origin[split] = folder
            splits[split], unused = _scan_classes(folder)
            ignored.extend(unused)
        for folder in folders:
            if folder not in split_folders:
                ignored.extend(_walk(folder))
        unlabelled = splits.get(TEST, {}).pop(NO_LABEL, ())
    names = sorted(
        sample_name(path, root) for path in ignored if path.parent != root or path.name not in OWN_FILES
    )
    return FolderScan(root, is_split, origin, splits, unlabelled, tuple(names))


def load_dataset(
    root: Path, *, seed: int = 0, needs: Collection[str] = (TRAIN,), progress: bool = True
) -> Dataset:
    """Read a folder of photos in either layout.

    With `train/`, `val/` and `test/` folders (`valid` and `validation` are read as `val`) each holds one
    folder a class, and `test/NoLabel` becomes the split `unlabelled`. Photos are not opened, except where
    `val` is missing: it is then taken from `train`. A missing `test` stays missing.

    With one folder a class (and perhaps `NoLabel`) the photos are divided into the three splits. Dividing
    looks into every photo once (see `photo_table`) to keep near duplicates on one side.

    Args:
        root: the data folder. An `index.csv` in it with the columns `file` and `source` fills the parts.
        seed: of the division; not the seed of a training. It must be the same wherever a model is trained,
            evaluated or exported, or training photos turn up in test.
        needs: splits that must have photos. Without `train` among them, empty classes and a single class pass.
        progress: show a progress bar on a terminal while photos are looked into.

    Raises:
        DataError: one line naming the folder and the way out.
    """
    found = scan(root)
    classes = _class_names(found, training=TRAIN in needs)
    index_of = {name: index for index, name in enumerate(classes)}
    splits = {
        split: _samples(root, ((path, index_of[name]) for name, paths in of_class.items() for path in paths))
        for split, of_class in found.splits.items()
    }
    splits[UNLABELLED] = _samples(root, ((path, None) for path in found.unlabelled))
    if splits.get(TRAIN) and not splits.get(VAL):
        shares = TWO_WAY if found.is_split else THREE_WAY
        # All photos, not just those to divide: one table then serves every caller of this data folder.
        everything = [sample for split in (TRAIN, TEST, UNLABELLED) for sample in splits.get(split, ())]
        table = look_at(everything, root, progress=progress)
        splits |= divide(splits[TRAIN], table.rows(slice(len(splits[TRAIN]))), shares, seed)
    splits = {split: samples for split, samples in splits.items() if samples}
    for split in needs:
        if split not in splits:
            raise DataError(_missing_split(found, split))
    return Dataset(root, classes, splits, _read_parts(root, splits.values()))


def sample_name(path: Path, root: Path) -> str:
    """The POSIX path of a file relative to the data folder, printable even where it is no valid UTF-8."""
    return _printable(path.relative_to(root).as_posix())


def class_name(folder_name: str) -> str:
    """The class that a folder stands for: its name in Unicode NFC, printable."""
    return unicodedata.normalize("NFC", _printable(folder_name))


def _list_root(root: Path) -> tuple[list[Path], list[Path]]:
    if not root.exists():
        raise DataError(f"{root}: no such folder")
    if not root.is_dir():
        tool = _ARCHIVES.get(root.suffix.lower())
        if tool:
            raise DataError(f"{root}: an archive; unpack it first ({tool} {root.name}) and name the folder")
        raise DataError(f"{root}: a file; name the folder that holds the photos, one folder a class")
    return _list(root)


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sub-folders and files of a folder, sorted, without the hidden ones."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _SYSTEM_FOLDERS:
                    continue
                if entry.is_dir():
                    folders.append(folder / entry.name)
                # A broken link stays in the list, to be reported as unreadable; pipes and devices do not.
                elif entry.is_file() or entry.is_symlink():
                    files.append(folder / entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    return sorted(folders), sorted(files)


def _walk(folder: Path, parents: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All files under a folder; a link that leads back to a folder above it is not followed."""
    real = os.path.realpath(folder)
    if real in parents:
        return
    folders, files = _list(folder)
    yield from files
    for inner in folders:
        yield from _walk(inner, parents | {real})


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _scan_classes(folder: Path) -> tuple[dict[str, tuple[Path, ...]], list[Path]]:
    """Class name (NFC) -> photos, and the files that are none, of a folder with one folder a class.

    Raises:
        DataError: no class folder.
    """
    folders, ignored = _list(folder)
    if not folders:
        loose = any(_is_photo(path) for path in ignored)
        found = "photos lie loose in it" if loose else "no class folder in it"
        way_out = f"sort them into one folder a class, such as {folder / 'Glass'}"
        if loose and folder.name.lower() == TEST:
            way_out += f", or put photos without a label into {folder / NO_LABEL}"
        raise DataError(
            f"{folder}: {found}; {way_out if loose else 'make one folder a class, with photos inside'}"
        )
    classes: dict[str, list[Path]] = {}
    for class_folder in folders:
        photos = classes.setdefault(class_name(class_folder.name), [])
        for path in _walk(class_folder):
            (photos if _is_photo(path) else ignored).append(path)
    return {name: tuple(paths) for name, paths in sorted(classes.items())}, ignored


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _class_names(found: FolderScan, *, training: bool) -> tuple[str, ...]:
    """The classes: those of train, or of the other splits where there is no train folder."""
    labelled = found.splits
    if TRAIN not in labelled:
        return tuple(sorted({name for classes in labelled.values() for name in classes}))
    where = found.folders[TRAIN]
    classes = labelled[TRAIN]
    if training:
        if not any(classes.values()):
            raise DataError(f"{where}: no photos in its class folders ({', '.join(classes)})")
        for name, paths in classes.items():
            if not paths:
                raise DataError(f"{where / name}: no photos in it; add some, or remove the folder")
        if len(classes) == 1:
            raise DataError(_one_class(where, next(iter(classes))))
    for split, others in labelled.items():
        for name in others:
            if name not in classes and others[name]:
                raise DataError(
                    f"{found.folders[split] / name}: no class of this name in {where}; "
                    f"known are: {', '.join(classes)}"
                )
    return tuple(classes)


def _one_class(where: Path, name: str) -> str:
    message = f"{where}: only one class ({name}); a classifier needs at least two folders"
    inner = where / name
    if inner.is_dir() and len(_list(inner)[0]) > 1:
        message += f"; or did you mean {inner}?"
    return message


def _missing_split(found: FolderScan, split: str) -> str:
    if found.is_split:
        folder = found.root / TEST / NO_LABEL if split == UNLABELLED else found.root / split
        way_out = f"put some into {folder}" + ("" if split == UNLABELLED else ", one folder a class")
    elif split == UNLABELLED:
        way_out = f"put some into {found.root / NO_LABEL}"
    else:
        way_out = "its classes have too few photos to be divided; three different ones each are the least"
    return f"{found.root}: no photos for the split {split!r}; {way_out}"


def _samples(root: Path, labelled_paths: Iterable[tuple[Path, int | None]]) -> tuple[Sample, ...]:
    samples = (Sample(path, sample_name(path, root), label) for path, label in labelled_paths)
    return tuple(sorted(samples, key=lambda sample: sample.name))


def _read_parts(root: Path, splits: Iterable[tuple[Sample, ...]]) -> dict[str, str]:
    """Name -> source from `index.csv`; empty where the file is missing or is some other table."""
    path = root / INDEX_FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.DictReader(lines)
            if not {"file", "source"} <= set(rows.fieldnames or ()):
                return {}
            source_of = {
                _index_key(row["file"]): row["source"] for row in rows if row["file"] and row["source"]
            }
    except (OSError, csv.Error):
        return {}
    names = (sample.name for samples in splits for sample in samples)
    return {name: source_of[key] for name in names if (key := _index_key(name)) in source_of}


def _index_key(name: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())
