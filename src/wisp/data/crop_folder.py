"""The folder that crops are written to: whose it is, with which settings, and the tables beside the crops."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wisp.data.coco import LeftOut
from wisp.errors import DataError
from wisp.files import replacing, write_json

SETTINGS_FILE = "crops.json"
INDEX_FILE = "index.csv"
LEFT_OUT_FILE = "left_out.csv"
_LOCK_FILE = ".wisp.lock"

NOT_IN_CLASS_MAP = "category not in the class map"


@dataclass(frozen=True)
class CropReport:
    """What `crop_objects` did.

    Args:
        counts: crops for each split and class; without splits under the split "".
        written: crops made by this call; the others were there already.
        clipped: crops whose box reached over the edge of its photo.
        left_out: every annotation without a crop, with its reason.
        photo_problems: photos that could not be used, and why, one line each.
    """

    counts: Mapping[str, Mapping[str, int]]
    written: int
    clipped: int
    left_out: tuple[LeftOut, ...]
    photo_problems: tuple[str, ...]

    @property
    def total(self) -> int:
        """All crops there are."""
        return sum(sum(of_class.values()) for of_class in self.counts.values())

    def reasons(self) -> dict[str, int]:
        """How many annotations were left out for each reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.left_out).most_common())

    def unmapped(self) -> dict[str, int]:
        """How many annotations of each category the class map left out, the most frequent first."""
        return dict(
            Counter(item.category for item in self.left_out if item.reason == NOT_IN_CLASS_MAP).most_common()
        )


@contextmanager
def claimed(out: Path, settings: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
    """Hold `out` for this process alone, with `settings` written down in it.

    Args:
        out: the folder; made where missing, and removed again where a `DataError` ends its first use.
        settings: what decides the crops; must equal those that `out` was made with.
        overwrite: with other settings, empty the folder instead of refusing.

    Raises:
        DataError: the folder is somebody else's, in use, or made with other settings.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file; --out needs a folder")
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / _LOCK_FILE, timeout=0):
            _prepare(out, settings, overwrite=overwrite)
            yield
    except Timeout as error:
        raise DataError(f"{out}: another wisp process is writing here; wait for it to end") from error
    except DataError:
        if is_new:  # nothing came of it: leave no trace
            shutil.rmtree(out, ignore_errors=True)
        raise


def _prepare(out: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    content = [path for path in out.iterdir() if path.name != _LOCK_FILE]
    marker = out / SETTINGS_FILE
    if content and not marker.is_file():
        raise DataError(f"{out}: not empty, and not written by this command; choose another --out")
    if content:
        try:
            earlier = json.loads(marker.read_text(encoding="utf-8"))["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{marker}: damaged; remove the folder or choose another --out") from error
        changed = [key for key in settings if earlier.get(key) != settings[key]]
        if changed and not overwrite:
            shown = ", ".join(
                f"{key}: {earlier.get(key)} there, {settings[key]} now"
                if isinstance(settings[key], int | float)
                else key
                for key in changed
            )
            raise DataError(
                f"{out}: holds crops with other settings ({shown}); use another --out or --overwrite"
            )
        if changed:
            # The marker goes last, by being replaced: killed here, the folder is still known as ours.
            for path in content:
                if path == marker:
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            write_json(marker, {"settings": settings})
        for leftover in out.rglob(".part-*"):  # of a process that was killed while writing
            leftover.unlink()
    if not marker.is_file():
        write_json(marker, {"settings": settings})


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
