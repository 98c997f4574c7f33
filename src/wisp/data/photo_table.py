"""Look into every photo once: content digest, perceptual hash, thumbnail, size, format; kept between runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from tqdm import tqdm

from wisp.errors import DataError
from wisp.files import default_cache_dir, replacing
from wisp.images import PREPROCESS_VERSION, describe, open_header, open_photo, preprocess
from wisp.records import ResizeRule, Sample

FORMAT_VERSION = 1
HASH_BITS = 64
THUMBNAIL_SIDE = 16
_RULE = ResizeRule(2 * THUMBNAIL_SIDE)
_WORKERS = 4  # decoding and digesting release the interpreter lock

_ROW = np.dtype(
    [
        ("key", np.uint8, 16),
        ("digest", np.uint8, 16),
        ("hash", np.bool_, HASH_BITS),
        ("thumbnail", np.uint8, (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)),
        ("width", np.int32),
        ("height", np.int32),
        ("format", "S16"),
        ("error", "S240"),
    ]
)
# Rows 1..8 of the orthogonal cosine transform of 32 points: low frequencies without the mean.
_COSINES = np.cos(np.pi * np.arange(1, 9)[:, None] * (2 * np.arange(_RULE.size) + 1) / (2 * _RULE.size))
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class PhotoTable:
    """What is known of N photos, one row each, in the order they were asked for.

    Attributes:
        digests: uint8, N x 16, BLAKE2b of the file's bytes (of its name where the file cannot be read at all).
        hashes: bool, N x 64, perceptual hash; meaningless where unreadable.
        thumbnails: uint8, N x 16 x 16 x 3, RGB, stretched; zero where unreadable.
        widths: int32, N, pixels of the upright photo; 0 where unreadable.
        heights: int32, N.
        formats: Pillow's names, such as "JPEG"; "" where unreadable.
        errors: why a photo cannot be read; "" where it can.
    """

    digests: npt.NDArray[np.uint8]
    hashes: npt.NDArray[np.bool_]
    thumbnails: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    formats: tuple[str, ...]
    errors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.formats)

    def rows(self, part: slice) -> PhotoTable:
        """The table of some of the photos."""
        return PhotoTable(**{name: column[part] for name, column in vars(self).items()})

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """bool, N: which photos could be read."""
        return np.array([not error for error in self.errors], bool)


def look_at(
    samples: Sequence[Sample],
    root: Path,
    *,
    cache_dir: Path | None = None,
    workers: int = _WORKERS,
    progress: bool = True,
) -> PhotoTable:
    """Look into every photo, or find what an earlier run saw of those that have not changed since.

    Args:
        samples: the photos of one data set.
        root: its folder: the rows of one root are kept in one file.
        cache_dir: where that file lies; None means `default_cache_dir()`. A cache that cannot be written is done
            without.
        workers: decoding threads.
        progress: show a progress bar on a terminal.
    """
    path = _table_path(root, cache_dir or default_cache_dir())
    known = {row["key"].tobytes(): row for row in _load(path)}
    rows = np.zeros(len(samples), _ROW)
    missing = []
    for index, sample in enumerate(samples):
        rows[index]["key"] = np.frombuffer(key := _key(sample), np.uint8)
        if key in known:
            rows[index] = known[key]
        else:
            missing.append(index)
    seen: list[int] = []
    try:
        for index, row in _looked_at(samples, missing, workers, progress):
            row["key"] = rows[index]["key"]
            rows[index] = row
            seen.append(index)
    finally:
        # Also after Ctrl-C: what was seen need not be seen again.
        if seen or len(known) > len(samples):
            done = np.ones(len(rows), bool)
            done[missing] = False
            done[seen] = rows["error"][seen] == b""  # what failed may have been the disk, not the photo
            _save(path, rows[done])
    return PhotoTable(
        digests=rows["digest"],
        hashes=rows["hash"],
        thumbnails=rows["thumbnail"],
        widths=rows["width"],
        heights=rows["height"],
        formats=tuple(name.decode() for name in rows["format"].tolist()),
        errors=tuple(reason.decode("utf-8", "ignore") for reason in rows["error"].tolist()),
    )


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """64 bits that stay nearly the same when a photo is resized, recompressed or made a little brighter.

    pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): which of the 8 x 8
    lowest frequencies of the grey picture's cosine transform, without the mean, lie above their median.

    Args:
        pixels: uint8, 32 x 32 x 3, RGB.
    """
    frequencies = _COSINES @ (pixels @ _LUMA) @ _COSINES.T
    above: npt.NDArray[np.bool_] = (frequencies > np.median(frequencies)).ravel()
    return above


def _looked_at(
    samples: Sequence[Sample], indices: Sequence[int], workers: int, progress: bool
) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    threads = ThreadPoolExecutor(workers)
    try:
        rows = threads.map(_look, (samples[index] for index in indices))
        bar = tqdm(
            rows,
            total=len(indices),
            desc="look at photos",
            unit="photo",
            leave=False,
            disable=None if progress and indices else True,
        )
        yield from zip(indices, bar, strict=True)
    finally:
        threads.shutdown(cancel_futures=True)


def _look(sample: Sample) -> npt.NDArray[np.void]:
    row = np.zeros((), _ROW)
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        row["digest"] = _digest(sample.name.encode())
        row["error"] = (error.strerror or type(error).__name__).encode()[:240]
        return row
    row["digest"] = _digest(data)
    try:
        image = open_photo(data, _RULE)
        pixels = preprocess(np.asarray(image), _RULE)  # as pixels: its EXIF has been obeyed already
        header = open_header(BytesIO(data), describe(data))  # the size before any scaled decoding
    except DataError as error:
        row["error"] = str(error).removeprefix(f"{describe(data)}: ").encode()[:240]
        return row
    # EXIF may have turned the photo: the decoded picture tells which side is the long one.
    width, height = header.size
    if (width - height) * (image.width - image.height) < 0:
        width, height = height, width
    row["hash"] = perceptual_hash(pixels)
    halves = pixels.reshape(THUMBNAIL_SIDE, 2, THUMBNAIL_SIDE, 2, 3).mean(axis=(1, 3))
    row["thumbnail"] = np.rint(halves).astype(np.uint8)
    row["width"], row["height"], row["format"] = width, height, (header.format or "").encode()
    return row


def _digest(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)


def _key(sample: Sample) -> bytes:
    try:
        status = sample.path.stat()
        state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    except OSError:
        state = "missing"
    return hashlib.blake2b(f"{sample.name}\0{state}".encode(), digest_size=16).digest()


def _table_path(root: Path, cache_dir: Path) -> Path:
    settings = f"{FORMAT_VERSION} {PREPROCESS_VERSION} {PIL.__version__} {root.resolve()}"
    name = hashlib.blake2b(settings.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return cache_dir / "tables" / f"{name}.npy"


def _load(path: Path) -> npt.NDArray[np.void]:
    with suppress(OSError, ValueError, EOFError):  # missing or damaged: look again
        rows = np.load(path, allow_pickle=False)
        if isinstance(rows, np.ndarray) and rows.dtype == _ROW:
            return rows
    return np.zeros(0, _ROW)


def _save(path: Path, rows: npt.NDArray[np.void]) -> None:
    with suppress(OSError), replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
