"""Fingerprints of photos: a cheap one that keys caches, and an exact one that goes into a run's `data.json`.

Neither holds a path of the machine: names are those inside the data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from wisp.errors import DataError
from wisp.files import file_sha256
from wisp.records import Dataset, Sample

_T = TypeVar("_T")


def stat_fingerprint(samples: Sequence[Sample], extra: Mapping[str, Any]) -> str:
    """Digest of the files' names, sizes and times, and of the settings in `extra`; no file is opened.

    The order of the samples counts; their labels do not. Beside the modification time goes `st_ctime`, which
    (unlike the former) no unpacking of an archive sets back.

    Args:
        samples: the photos; one that is missing is digested as missing.
        extra: JSON-ready settings.

    Returns:
        40 hexadecimal digits (BLAKE2b, 160 bits).
    """
    digest = hashlib.blake2b(json.dumps(extra, sort_keys=True).encode(), digest_size=20)
    for sample in samples:
        try:
            status = sample.path.stat()
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        except OSError:
            state = "missing"
        # NUL ends each part: it is in no file name, so no two lists read alike.
        digest.update(f"{sample.name}\0{state}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content_fingerprint(dataset: Dataset, progress: bool = True) -> dict[str, Any]:
    """Digest of every file's bytes: what a run writes down to say exactly which photos it saw.

    Args:
        dataset: the photos in their splits.
        progress: show a progress bar on a terminal.

    Returns:
        JSON-ready: `root_name`, `classes`, `splits` ({split: {name: SHA-256}}) and `digest`, one SHA-256 of
        the classes and splits. Equal folders have equal digests wherever they lie.

    Raises:
        DataError: a file cannot be read.
    """
    samples = [sample for split in dataset.splits.values() for sample in split]
    sums = digest_photos(samples, _sha256, progress=progress)
    named = iter(sums)
    splits = {
        split: {_valid_text(sample.name): next(named) for sample in members}
        for split, members in dataset.splits.items()
    }
    exact = {"classes": list(dataset.classes), "splits": splits}
    digest = hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()
    return {"root_name": dataset.root.resolve().name, **exact, "digest": digest}


def digest_photos(
    samples: Sequence[Sample], digest: Callable[[Path], _T], *, progress: bool = True
) -> list[_T]:
    """What `digest` says of every photo's file, in their order; four files at a time.

    Args:
        samples: the photos.
        digest: reads a file; what it raises ends the work.
        progress: show a progress bar on a terminal.
    """
    with ThreadPoolExecutor(4) as threads:  # hashing and reading both release the interpreter lock
        return list(
            tqdm(
                threads.map(lambda sample: digest(sample.path), samples),
                total=len(samples),
                desc="fingerprint",
                unit="photo",
                leave=False,
                disable=None if progress else True,
            )
        )


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot read this file ({error.strerror})") from error


def _valid_text(name: str) -> str:
    """File names need not be valid UTF-8 on Linux; JSON must be."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
