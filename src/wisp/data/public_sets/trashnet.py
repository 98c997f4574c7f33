"""TrashNet: 2,527 photos of single pieces of waste on a white board, six classes (Thung & Yang, 2016; MIT licence).

The authors' own split is used, so that results compare: 1,768 photos to train, 328 to validate, 431 to test.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from wisp.data.download import AddressGoneError, Downloader
from wisp.data.photo_store import FolderStore, PhotoStore, open_store
from wisp.data.public_sets.origin import Origin, find_origin
from wisp.errors import DataError, DownloadError
from wisp.files import replacing
from wisp.records import TEST, TRAIN, VAL

CLASSES = ("glass", "paper", "cardboard", "plastic", "metal", "trash")  # 1..6 in the authors' lists

_ARCHIVE = "dataset-resized.zip"
_REPOSITORY = "https://github.com/garythung/trashnet/raw"
_ARCHIVE_URL = f"{_REPOSITORY}/master/data/{_ARCHIVE}"
# The authors drew their split twice; this commit holds the one that these checksums stand for.
_LISTS_URL = f"{_REPOSITORY}/dcc3071376fcd62b07cead020ddfdd112adfac44/data/"
_LIST_SHA256 = {
    TRAIN: "420971a4248b42b07a741ef277059d92ded0c559cae8960c6a488e9c316ff789",
    VAL: "a6c01936e4a4adce41e8da776db39b366d1db46acf07f63215bbe24709081340",
    TEST: "a8cc4e520e4676c6e1bd6346d51a101f80e468763a36f2818ed4e32abb05bb79",
}
# Of the photos rather than of one archive, since copies are packed anew or unpacked: the SHA-256 of the lines
# "SHA256  class/file" of all photos, sorted by class/file.
_PHOTOS_SHA256 = "ed83a59e593e0a8dcd05442089ebc5474e3531e93772decedf6e63087def39ab"
_LOCK_FILE = ".wisp.lock"


@dataclass(frozen=True)
class TrashNetReport:
    """Photos for each split and class, and how many of them this call wrote."""

    counts: Mapping[str, Mapping[str, int]]
    written: int


def get_trashnet(
    out: Path, source: str | None = None, *, downloader: Downloader | None = None, progress: bool = True
) -> TrashNetReport:
    """Lay TrashNet out as `out/SPLIT/CLASS/photo.jpg`, by the authors' lists.

    All photos are checked before the first is written; those already there and right are kept.

    Args:
        out: the folder to write.
        source: None for the public address; a folder (`dataset-resized.zip` in it, or unpacked), a zip archive, or
            the address of either. The lists are taken from the same place, else from their public address.
        downloader: fetches what is not here.
        progress: show bars (on a terminal).

    Raises:
        DataError: the source is incomplete or altered, or `out` holds other files.
        DownloadError: something cannot be fetched.
    """
    downloader = downloader or Downloader()
    origin = _with_photos(
        find_origin("trashnet", source, downloader, progress=progress), downloader, progress
    )
    store = origin.store
    assert store is not None  # noqa: S101  (_with_photos sees to it)
    splits = {
        f"{label}/{name}": split
        for split in _LIST_SHA256
        for name, label in _parse(_list(split, origin, store, downloader))
    }
    photos = _checked(splits, origin, store)
    with _claimed(out, {f"{split}/{photo}" for photo, split in splits.items()}):
        written = 0
        hidden = None if progress else True
        for photo, split in tqdm(splits.items(), "TrashNet", unit="photo", disable=hidden):
            content, path = store.read(photos[photo]), out / split / photo
            if not (path.is_file() and path.read_bytes() == content):
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
                written += 1
    counts: dict[str, Counter[str]] = {split: Counter() for split in _LIST_SHA256}
    for photo, split in splits.items():
        counts[split][photo.partition("/")[0]] += 1
    return TrashNetReport({split: dict(sorted(of.items())) for split, of in counts.items()}, written)


def _with_photos(origin: Origin, downloader: Downloader, progress: bool) -> Origin:
    """The origin with a store of photos: fetched where there is none, the archive inside a folder where it has one."""
    if origin.store is None:
        archive = origin.downloads / _ARCHIVE
        with origin.locked():
            downloader.fetch(origin.address(_ARCHIVE, _ARCHIVE_URL), archive, progress=progress)
        return replace(origin, store=open_store(archive), archive=archive)
    if isinstance(origin.store, FolderStore) and (inner := origin.store.find(_ARCHIVE)):
        return replace(origin, store=open_store(origin.store.open(inner)))
    return origin


def _list(split: str, origin: Origin, store: PhotoStore, downloader: Downloader) -> bytes:
    """The authors' list of one split: from beside the photos, else from the mirror, else from its public address."""
    name, sha256 = f"one-indexed-files-notrash_{split}.txt", _LIST_SHA256[split]
    beside = store.root.parent / name
    if inside := store.find(name):
        where, content = f"{store.root}: {inside}", store.read(inside)
    elif beside.is_file():
        where, content = str(beside), beside.read_bytes()
    else:
        with origin.locked():
            return _fetch_list(name, origin, downloader, sha256).read_bytes()
    content = content.replace(b"\r\n", b"\n")
    if (got := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(f"{where}: not the authors' list (sha256 expected {sha256}, got {got})")
    return content


def _fetch_list(name: str, origin: Origin, downloader: Downloader, sha256: str) -> Path:
    public = _LISTS_URL + name
    try:
        return downloader.fetch(origin.address(name, public), origin.downloads / name, sha256=sha256)
    except AddressGoneError:
        if origin.base is None:
            raise
    return downloader.fetch(public, origin.downloads / name, sha256=sha256)


def _parse(content: bytes) -> Iterator[tuple[str, str]]:
    """File name and class of every line `file label`; the checksum has vouched for the form."""
    for line in content.decode("ascii").splitlines():
        name, _, label = line.partition(" ")
        yield name, CLASSES[int(label) - 1]


def _checked(splits: Mapping[str, str], origin: Origin, store: PhotoStore) -> dict[str, str]:
    """`class/file` -> its name in the store, after every photo was read and compared with the published ones."""
    found = {photo: store.find(photo) for photo in splits}
    missing = sorted(photo for photo, name in found.items() if name is None)
    if missing:
        problem = f"{len(missing):,} of {len(splits):,} photos of TrashNet are missing (first: {missing[0]})"
    else:
        names = {photo: name for photo, name in found.items() if name is not None}
        digest = hashlib.sha256()
        for photo in sorted(names):
            digest.update(f"{hashlib.sha256(store.read(names[photo])).hexdigest()}  {photo}\n".encode())
        if digest.hexdigest() == _PHOTOS_SHA256:
            return names
        problem = (
            f"the photos are not TrashNet's (sha256 expected {_PHOTOS_SHA256}, got {digest.hexdigest()})"
        )
    if origin.archive is not None:
        origin.archive.unlink(missing_ok=True)
        raise DownloadError(f"{origin.archive}: {problem}; removed, run again to fetch it anew")
    raise DataError(f"{store.root}: {problem}")


@contextmanager
def _claimed(out: Path, expected: set[str]) -> Iterator[None]:
    """Hold `out` for this process alone; refuse one that holds photos of another set."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file; --out needs a folder")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / _LOCK_FILE, timeout=0):
            for split in _LIST_SHA256:
                for path in sorted((out / split).rglob("*")):
                    if path.name.startswith(".part-"):  # of a process that was killed while writing
                        path.unlink()
                    elif path.is_file() and path.relative_to(out).as_posix() not in expected:
                        raise DataError(f"{path}: not a photo of TrashNet; choose another --out")
            yield
    except Timeout as error:
        raise DataError(f"{out}: another wisp process is writing here; wait for it to end") from error
