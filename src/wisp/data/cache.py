"""Decode once: photos as one memory-mapped uint8 array at the training size, kept between runs.

An entry is a folder `<cache>/photos/<key>` of two files: `pixels.u8` (rows of size x size x 3 bytes) and
`entry.json` (what was unreadable, and checksums of rows spread over the file). The key is a digest of the files'
names, sizes and times, the resize rule and whatever else decides the pixels. An entry is built under a lock in
`<key>.part` and renamed when complete, so neither a second process nor a killed one leaves half of one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from filelock import FileLock, Timeout
from tqdm import tqdm

from wisp.cores import usable_cores
from wisp.data.fingerprint import stat_fingerprint
from wisp.errors import DataError
from wisp.files import default_cache_dir, write_json
from wisp.images import PREPROCESS_VERSION, preprocess
from wisp.records import ResizeRule, Sample

FORMAT_VERSION = 1
DEFAULT_MAX_GB = 20.0
_PHOTOS_PER_TASK = 16
_CHECKED_ROWS = 256


@dataclass(frozen=True)
class CachedImages:
    """Decoded photos, in the order they were asked for.

    Attributes:
        images: uint8, N x size x size x 3, RGB; a read-only memory map (empty sets: a plain array).
        samples: the photos kept, one a row.
        labels: int64, N; -1 where a photo has no label.
        skipped: the photos left out as unreadable, each with the reason.
    """

    images: npt.NDArray[np.uint8]
    samples: tuple[Sample, ...]
    labels: npt.NDArray[np.int64]
    skipped: tuple[tuple[Sample, str], ...]

    def __len__(self) -> int:
        return len(self.samples)


def build_cache(
    samples: Sequence[Sample],
    rule: ResizeRule,
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    skip_unreadable: bool = False,
) -> CachedImages:
    """Decode `samples` once, or find them decoded already. Rows are exactly `preprocess(path, rule)`.

    Args:
        samples: the photos.
        rule: side length in pixels and geometry.
        cache_dir: where entries are kept; None means `default_cache_dir()`.
        workers: decoding threads; None means one for each core this process may use. Threads, since Pillow
            releases the interpreter lock while it decodes, and processes would first have to start.
        progress: show a progress bar on a terminal.
        skip_unreadable: leave unreadable photos out instead of refusing them.

    Raises:
        DataError: photos cannot be read, or the cache folder cannot be written.
    """
    samples = tuple(samples)
    folder = (cache_dir or default_cache_dir()) / "photos"
    settings = {
        "format": FORMAT_VERSION,
        "preprocess": PREPROCESS_VERSION,
        "pillow": PIL.__version__,
        "rule": asdict(rule),
    }
    entry = folder / stat_fingerprint(samples, settings)
    cached = _load(entry, samples, rule)  # without the lock: a finished entry never changes
    if cached is None:
        with _plain_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(entry, progress):
                cached = _load(entry, samples, rule)  # another process may have been faster
                if cached is None:
                    _make_room(entry, len(samples) * _row_bytes(rule))
                    _build(entry, samples, rule, workers or usable_cores(), progress)
                    cached = _load(entry, samples, rule)
        if cached is None:
            raise DataError(f"{entry}: the cache just written does not read back; is the disk in order?")
    _refuse_unreadable(cached, len(samples), skip_unreadable)
    return cached


def _refuse_unreadable(cached: CachedImages, asked: int, skip_unreadable: bool) -> None:
    if not cached.skipped or (skip_unreadable and cached.samples):
        return
    sample, reason = cached.skipped[0]
    way_out = (
        "remove or repair them, or leave them out with --skip-unreadable"
        if cached.samples
        else "none is left"
    )
    raise DataError(
        f"{sample.path}: {reason}; {len(cached.skipped)} of {asked} photos cannot be read: {way_out}"
    )


def _load(entry: Path, samples: tuple[Sample, ...], rule: ResizeRule) -> CachedImages | None:
    """The entry as `build_cache` returns it, or None where it is missing or damaged."""
    try:
        description = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        skipped = {int(index): str(reason) for index, reason in description["skipped"]}
        kept = [index for index in range(len(samples)) if index not in skipped]
        shape = (len(kept), rule.size, rule.size, 3)
        if (entry / "pixels.u8").stat().st_size != len(kept) * _row_bytes(rule):
            return None
        images = _map(entry / "pixels.u8", shape)
        if _checksums(images) != description["checksums"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):  # a read-only cache serves as well
        os.utime(entry / "entry.json")  # when it was last used, for _make_room
    labels = [samples[index].label for index in kept]
    return CachedImages(
        images=images,
        samples=tuple(samples[index] for index in kept),
        labels=np.array([-1 if label is None else label for label in labels], np.int64),
        skipped=tuple((samples[index], reason) for index, reason in skipped.items()),
    )


def _build(entry: Path, samples: tuple[Sample, ...], rule: ResizeRule, workers: int, progress: bool) -> None:
    part = entry.with_name(entry.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # a killed process left it
    part.mkdir()
    skipped: list[tuple[int, str]] = []
    try:
        with (
            (part / "pixels.u8").open("wb") as stream,
            closing(_decoded(samples, rule, workers)) as rows,
            tqdm(
                total=len(samples),
                desc="decode",
                unit="photo",
                leave=False,
                disable=None if progress else True,
            ) as bar,
        ):
            for index, row in enumerate(rows):
                if isinstance(row, str):
                    skipped.append((index, row))
                else:
                    stream.write(row.data)
                bar.update()
            stream.flush()
            os.fsync(stream.fileno())  # the rename below must not reach the disk before the pixels
        images = _map(part / "pixels.u8", (len(samples) - len(skipped), rule.size, rule.size, 3))
        write_json(part / "entry.json", {"skipped": skipped, "checksums": _checksums(images)})
        del images
        shutil.rmtree(entry, ignore_errors=True)  # damaged, otherwise we would not be here
        part.rename(entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _decoded(
    samples: Sequence[Sample], rule: ResizeRule, workers: int
) -> Generator[npt.NDArray[np.uint8] | str]:
    """Pixels of each photo, or why it cannot be read, in order; only a few tasks are ever in flight."""
    pending: deque[Future[list[npt.NDArray[np.uint8] | str]]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for start in range(0, len(samples), _PHOTOS_PER_TASK):
                pending.append(threads.submit(_decode, samples[start : start + _PHOTOS_PER_TASK], rule))
                if len(pending) > 2 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _decode(samples: Sequence[Sample], rule: ResizeRule) -> list[npt.NDArray[np.uint8] | str]:
    rows: list[npt.NDArray[np.uint8] | str] = []
    for sample in samples:
        try:
            rows.append(preprocess(sample.path, rule))
        except DataError as error:
            # Without the path: the entry serves the same photos wherever their folder moves.
            rows.append(str(error).removeprefix(f"{sample.path}: "))
    return rows


def _map(path: Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    if shape[0] == 0:  # an empty file cannot be mapped
        return np.empty(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", shape=shape)


def _checksums(images: npt.NDArray[np.uint8]) -> list[int]:
    """CRC-32 of rows spread evenly from the first to the last: finds damage in a time that does not grow."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), _CHECKED_ROWS)).astype(int))
    return [zlib.crc32(images[row]) for row in rows]


def _row_bytes(rule: ResizeRule) -> int:
    return rule.size * rule.size * 3


@contextmanager
def _locked(entry: Path, progress: bool) -> Iterator[None]:
    lock = FileLock(entry.with_name(entry.name + ".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        if progress:
            tqdm.write("another process is decoding the same photos; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _plain_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{folder}: cannot write the cache of decoded photos ({reason}); free some space, or set WISP_CACHE "
            "to a folder that can be written"
        ) from error


def _make_room(entry: Path, needed: int) -> None:
    """Before `entry` is built: remove what killed processes left, then what was unused for longest, to fit the limit.

    The limit is `$WISP_CACHE_MAX_GB`; one entry may exceed it alone. An entry that is being built is locked and
    stays. One that another process has mapped may lose its name, not its pixels: they live until it is closed.

    Raises:
        DataError: the limit is not a number, or the disk has fewer than `needed` bytes left.
    """
    limit = _limit_bytes()
    folder = entry.parent
    others = [path for path in folder.iterdir() if path.is_dir() and path.stem != entry.name]
    usage = {path: _usage(path) for path in others}
    total = needed + sum(size for _, size in usage.values())
    for path in sorted(others, key=lambda path: usage[path]):
        if path.suffix != ".part" and total <= limit:
            continue
        with suppress(Timeout, OSError), FileLock(path.with_suffix(".lock"), timeout=0):
            # Renamed first: where open files cannot be removed (Windows) this fails and the entry stays whole.
            dead = path.rename(path.with_suffix(".part"))
            shutil.rmtree(dead, ignore_errors=True)
            total -= usage[path][1]
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: the decoded photos need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; free some "
            "space, or set WISP_CACHE to a folder on another disk"
        )


def _limit_bytes() -> float:
    text = os.environ.get("WISP_CACHE_MAX_GB") or str(DEFAULT_MAX_GB)
    try:
        limit = float(text) * 1e9
    except ValueError:
        limit = -1.0
    if not limit >= 0:  # also catches NaN
        raise DataError(f"WISP_CACHE_MAX_GB: {text!r} is not a size in gigabytes, such as 20")
    return limit


def _usage(entry: Path) -> tuple[float, int]:
    """When an entry was last used (seconds since 1970; 0 for half an entry) and its size in bytes."""
    used, size = 0.0, 0
    with suppress(OSError):  # another process may remove it meanwhile
        for file in entry.iterdir():
            status = file.stat()
            size += status.st_size
            used = status.st_mtime if file.name == "entry.json" else used
    return used, size
