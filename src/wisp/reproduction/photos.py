"""The photos that source code of a submission may see: copies of train and val, and nothing of test."""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from wisp.errors import DataError
from wisp.files import new_folder
from wisp.records import TRAIN, VAL, Dataset


def copy_photos(dataset: Dataset, folder: Path, *, progress: bool = True) -> None:
    """Copy the photos of train and val to `folder`, as `train/CLASS/00000001.jpg`.

    Their order is kept, their names are not. A folder that is there already is left as it is: it appears whole.

    Args:
        dataset: the photos.
        folder: a new folder.
        progress: show a progress bar on a terminal.

    Raises:
        DataError: a photo cannot be read.
    """
    if folder.is_dir():
        return
    members = [(split, sample) for split in (TRAIN, VAL) for sample in dataset.split(split)]
    bar = tqdm(members, "copy photos", unit="photo", leave=False, disable=None if progress else True)
    with new_folder(folder) as temporary:
        for number, (split, sample) in enumerate(bar):
            if sample.label is None:
                continue
            target = temporary / split / dataset.classes[sample.label]
            target.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(sample.path, target / f"{number:08d}{sample.path.suffix}")
            except OSError as error:
                raise DataError(f"{sample.path}: cannot read this file ({error.strerror})") from error
