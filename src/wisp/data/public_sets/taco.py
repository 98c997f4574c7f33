"""TACO: 1,500 photos of litter in the wild, 4,784 annotated objects (Proenca & Simoes, 2020; CC BY 4.0).

The photos lie on Flickr and elsewhere, one address each, and some addresses died: what cannot be fetched is counted.
The objects are cut out and sorted into nine classes by `taco_classes.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tqdm import tqdm

from wisp.data.coco import Coco, CocoPhoto, read_class_map, read_coco
from wisp.data.crop_folder import CropReport, write_csv
from wisp.data.crops import DEFAULT_SPLIT, crop_objects, read_frame
from wisp.data.download import AddressGoneError, Downloader
from wisp.data.photo_store import MAX_MEMBER_BYTES, FolderStore, PhotoStore, open_store, stays_inside
from wisp.data.public_sets.origin import Origin, find_origin
from wisp.errors import DataError, DownloadError

NOT_FETCHED_FILE = "not_fetched.csv"
_ANNOTATIONS = "annotations.json"
_ANNOTATIONS_URL = "https://raw.githubusercontent.com/pedropro/TACO/508da019a19be9ebcdacf164e2152444e57cd12c/data/annotations.json"
_ANNOTATIONS_SHA256 = "ac1ec605c9e1fcda767970de3457c69b4a43b62c02aca8c4c80f51d1b5ae8449"
_CONNECTIONS = 8  # at once: fast enough, and polite
# So many photos in a row without any answer: the network is down, and waiting for the others is pointless.
_SILENT_IN_A_ROW = 16


@dataclass(frozen=True)
class TacoReport:
    """What came of the annotations, and for each photo that could not be fetched: its name and why."""

    crops: CropReport
    not_fetched: tuple[tuple[str, str], ...]


def taco_classes() -> dict[str, str]:
    """TACO category -> one of the nine classes, or "" for what fits none."""
    table = resources.files("wisp.data").joinpath("taco_classes.toml")
    return read_class_map(table.read_bytes(), "taco_classes.toml")


def get_taco(
    out: Path,
    source: str | None = None,
    *,
    class_map: Mapping[str, str] | None = None,
    margin: float = 0.1,
    min_size: int = 16,
    split: Mapping[str, float] | None = DEFAULT_SPLIT,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    downloader: Downloader | None = None,
    progress: bool = True,
) -> TacoReport:
    """Fetch TACO's photos, cut the objects out and lay them out as `out/SPLIT/CLASS/`.

    Photos are kept in the cache's `downloads` folder; a later call fetches what is missing and makes its crops.

    Args:
        out: the folder to write.
        source: None for the public addresses; a folder or zip archive with `annotations.json` and photos (smaller
            copies of them as well), the address of such an archive, or of a folder with the same files.
        class_map: None for `taco_classes()`.
        margin: as in `crop_objects`, like all arguments up to `overwrite`.
        min_size: the longer side of a box, in pixels.
        split: fractions, or None for one folder a class.
        seed: of the split.
        workers: threads that cut.
        overwrite: replace crops made with other settings.
        downloader: fetches what is not here.
        progress: show bars (on a terminal).

    Raises:
        DataError: the source cannot be used, or `out` holds something else.
        DownloadError: the annotations, or none of the photos, can be fetched.
    """
    downloader = downloader or Downloader()
    origin = find_origin("taco", source, downloader, progress=progress)
    not_fetched: list[tuple[str, str]] = []
    if origin.store is not None:
        coco, photos = _read_store(origin.store)
    else:
        with origin.locked():
            coco = _read_annotations(origin, downloader, progress)
            not_fetched = _fetch_photos(coco, origin, downloader, progress)
        photos = FolderStore(origin.downloads)
    crops = crop_objects(
        coco,
        photos,
        out,
        class_map=taco_classes() if class_map is None else class_map,
        margin=margin,
        min_size=min_size,
        split=split,
        seed=seed,
        source="taco",
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )
    write_csv(out / NOT_FETCHED_FILE, ("photo", "reason"), not_fetched)
    return TacoReport(crops, tuple(not_fetched))


def _read_annotations(origin: Origin, downloader: Downloader, progress: bool) -> Coco:
    path = downloader.fetch(
        origin.address(_ANNOTATIONS, _ANNOTATIONS_URL),
        origin.downloads / _ANNOTATIONS,
        # A mirror may hold smaller photos, with annotations of their own.
        sha256=_ANNOTATIONS_SHA256 if origin.base is None else None,
        progress=progress,
    )
    return read_coco(path.read_bytes(), str(path))


def _read_store(store: PhotoStore) -> tuple[Coco, PhotoStore]:
    """Annotations and photos of a copy on this machine: inside it, or the annotations beside the archive."""
    beside = store.root.parent / _ANNOTATIONS
    if name := store.find(_ANNOTATIONS):
        coco = read_coco(store.read(name), f"{store.root}: {name}")
    elif not isinstance(store, FolderStore) and beside.is_file():
        coco = read_coco(beside.read_bytes(), str(beside))
    else:
        raise DataError(f"{store.root}: no {_ANNOTATIONS} in it (or more than one)")
    archives = sorted(store.root.glob("*.zip")) if isinstance(store, FolderStore) else []
    if len(archives) == 1 and not any(store.find(photo.file_name) for photo in coco.photos):
        return _read_store(open_store(archives[0]))
    return coco, store


def _fetch_photos(
    coco: Coco, origin: Origin, downloader: Downloader, progress: bool
) -> list[tuple[str, str]]:
    """Fetch every photo that is not here yet; returns those that failed, with the reason."""
    downloader = replace(downloader, max_bytes=MAX_MEMBER_BYTES)
    failed: dict[str, str] = {}
    silent = 0
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        waiting = {pool.submit(_fetch_photo, photo, origin, downloader): photo for photo in coco.photos}
        hidden = None if progress else True
        try:
            for done in tqdm(as_completed(waiting), "Photos", len(waiting), unit="photo", disable=hidden):
                problem = done.result()
                if problem is None:
                    silent = 0
                    continue
                failed[waiting[done].file_name] = str(problem)
                silent = 0 if isinstance(problem, AddressGoneError) else silent + 1
                _give_up_after(silent, problem)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if len(failed) == len(waiting):
        raise DownloadError(
            f"none of {len(failed):,} photos could be fetched (first: {next(iter(failed.values()))})"
        )
    return sorted(failed.items())


def _give_up_after(silent: int, problem: DownloadError) -> None:
    if silent >= _SILENT_IN_A_ROW:
        raise DownloadError(f"{silent} photos in a row could not be fetched ({problem}); run again to go on")


def _fetch_photo(photo: CocoPhoto, origin: Origin, downloader: Downloader) -> DownloadError | None:
    """Fetch one photo from the first address that has it; returns what went wrong with the last one."""
    if not stays_inside(photo.file_name):
        return AddressGoneError(f"{photo.file_name}: not a name inside a folder")
    target = origin.downloads / photo.file_name
    if target.is_file() and _is_the_photo(target, photo):
        return None
    problem: DownloadError = AddressGoneError(f"{photo.file_name}: no address")
    for address in photo.urls if origin.base is None else (origin.address(photo.file_name, ""),):
        target.unlink(missing_ok=True)
        try:
            downloader.fetch(address, target)
        except DownloadError as error:
            problem = error
            continue
        except DataError as error:  # an address that makes no sense
            problem = AddressGoneError(str(error))
            continue
        if _is_the_photo(target, photo):
            return None
        # Flickr shows "photo unavailable", as a picture, where a photo was removed.
        target.unlink()
        problem = AddressGoneError(f"{address}: not the annotated photo (another picture or aspect ratio)")
    return problem


def _is_the_photo(path: Path, photo: CocoPhoto) -> bool:
    try:
        return read_frame(path, photo) is not None
    except DataError:
        return False
