"""Cut annotated objects out of photos: COCO annotations become a folder of photos, one class a folder.

Everything that decides the result (annotations, class map, margin, split, seed) stands in `crops.json` before the
first crop is written. Names and splits follow from that alone, so that an interrupted run goes on where it stopped,
and photos that turn up later join the split they always had.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from wisp.data.boxes import Frame, Rectangle, clip, find_frame, with_margin
from wisp.data.coco import Coco, CocoObject, CocoPhoto, LeftOut
from wisp.data.crop_folder import (
    INDEX_FILE,
    LEFT_OUT_FILE,
    NOT_IN_CLASS_MAP,
    SETTINGS_FILE,
    CropReport,
    claimed,
    write_csv,
)
from wisp.data.grouped_split import split_groups
from wisp.data.photo_store import PhotoStore
from wisp.errors import DataError, RecipeError
from wisp.files import replacing, write_json
from wisp.images import open_photo
from wisp.records import TEST, TRAIN, VAL

_FORMAT = 1  # raised whenever the same settings would give other files
# JPEG, since crops are photos: lossless PNG takes six times the space and cannot be decoded at a reduced scale later.
# Quality 95 with full-resolution colour keeps what a second encoding could lose below what training can see.
_QUALITY = 95
_JPEG_LIMIT = 65_500  # pixels a side, libjpeg
_EXIF_ORIENTATION = 0x0112

DEFAULT_SPLIT: Mapping[str, float] = {TRAIN: 0.8, VAL: 0.1, TEST: 0.1}

PHOTO_MISSING = "photo missing"
PHOTO_UNREADABLE = "photo unreadable"
PHOTO_OF_ANOTHER_SIZE = "photo does not have the annotated aspect ratio"
OUTSIDE = "box outside the photo"
TOO_SMALL = "box smaller than the minimal size"
TOO_LARGE = f"crop longer than {_JPEG_LIMIT:,} pixels"


@dataclass(frozen=True)
class _Target:
    """A crop to be: the object, its class, and the file's name relative to the output folder."""

    item: CocoObject
    label: str
    name: str


@dataclass(frozen=True)
class _Cut:
    """What became of one photo."""

    crops: tuple[tuple[_Target, Rectangle], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    written: int = 0
    clipped: int = 0
    problem: str | None = None


def crop_objects(
    coco: Coco,
    photos: PhotoStore,
    out: Path,
    *,
    class_map: Mapping[str, str] | None = None,
    margin: float = 0.1,
    min_size: int = 16,
    split: Mapping[str, float] | None = DEFAULT_SPLIT,
    seed: int = 0,
    source: str = "",
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> CropReport:
    """Cut every annotated object out and write it as a JPEG under `out/SPLIT/CLASS/`.

    Crops are upright whatever the EXIF orientation, and the crops of one photo stay in one split. Beside them stand
    `index.csv` (one row a crop; x, y, w, h are the rectangle cut out, in pixels of the upright photo),
    `left_out.csv` (one row for each annotation without a crop) and `crops.json` (settings and counts).

    Args:
        coco: the annotations.
        photos: where their photos are.
        out: the folder to write. Crops of an earlier call with the same settings are kept.
        class_map: category -> class; categories without an entry, or with an empty one, are left out. None: every
            category is a class.
        margin: added on each side, as a fraction of the box's width and height, as far as the photo reaches.
        min_size: the longer side of the box, in pixels of the photo, must be at least this.
        split: fraction of each split, or None for one folder a class without splits.
        seed: of the split.
        source: what `index.csv` says in its `source` column.
        workers: threads (Pillow decodes outside Python's lock); None: one a core.
        overwrite: remove crops of an earlier call with other settings instead of refusing.
        progress: show a bar (on a terminal).

    Raises:
        RecipeError: an argument that makes no sense.
        DataError: nothing to cut, or `out` holds something else.
    """
    _check_arguments(margin, min_size, split, workers)
    targets, left_out = _plan(coco, class_map, split, seed)
    settings = {
        "format": _FORMAT,
        "annotations_sha256": coco.sha256,
        "class_map": None if class_map is None else dict(sorted(class_map.items())),
        "margin": margin,
        "min_size": min_size,
        "split": None if split is None else dict(split),
        "seed": seed,
    }
    stored = {photo: photos.find(photo.file_name) for photo in targets}
    if not any(stored.values()):
        first = next(iter(targets)).file_name
        raise DataError(f"{photos.root}: none of the photos of {coco.where} is in here (first: {first})")
    with claimed(out, settings, overwrite=overwrite):
        cuts = _cut_all(targets, stored, photos, out, margin, min_size, workers, progress)
        report = _report(cuts, [*left_out, *(item for cut in cuts for item in cut.left_out)])
        rows = [crop for cut in cuts for crop in cut.crops]
        if not rows:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in report.reasons().items())
            raise DataError(f"{coco.where}: no crop could be made ({reasons})")
        write_csv(
            out / INDEX_FILE,
            ("file", "class", "source", "group", "annotation_id", "category", "x", "y", "w", "h"),
            (
                (
                    target.name,
                    target.label,
                    source,
                    target.item.photo.file_name,
                    target.item.id,
                    target.item.category,
                    *_as_xywh(box),
                )
                for target, box in rows
            ),
        )
        write_csv(
            out / LEFT_OUT_FILE,
            ("annotation_id", "photo", "category", "reason"),
            ((item.id, item.file_name, item.category, item.reason) for item in report.left_out),
        )
        summary = {"counts": report.counts, "left_out": report.reasons(), "unmapped": report.unmapped()}
        write_json(out / SETTINGS_FILE, {"settings": settings, **summary})
    return report


def _check_arguments(
    margin: float, min_size: int, split: Mapping[str, float] | None, workers: int | None
) -> None:
    if not (math.isfinite(margin) and 0 <= margin <= 10):
        raise RecipeError(f"margin must be between 0 and 10 (a fraction of the box), got {margin}")
    if min_size < 1:
        raise RecipeError(f"min-size must be at least 1 pixel, got {min_size}")
    if workers is not None and workers < 1:
        raise RecipeError(f"workers must be at least 1, got {workers}")
    if split is not None:
        fractions = list(split.values())
        if not all(0 <= fraction <= 1 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
            raise RecipeError(f"split must be fractions that sum to 1, got {','.join(map(str, fractions))}")
        if not split.get(TRAIN):
            raise RecipeError("split leaves nothing for train")


def _plan(
    coco: Coco, class_map: Mapping[str, str] | None, split: Mapping[str, float] | None, seed: int
) -> tuple[dict[CocoPhoto, list[_Target]], list[LeftOut]]:
    """Class, split and file name of every crop: of the annotations alone, whatever photos are at hand."""
    if class_map is None:
        class_map = {category: category for category in coco.categories}
    for name in filter(None, class_map.values()):
        if (
            not re.fullmatch(r"[^./\\:*?\"<>|\x00-\x1f][^/\\:*?\"<>|\x00-\x1f]*", name)
            or name != name.strip()
        ):
            raise DataError(
                f"{coco.where}: {name!r} cannot be a folder's name; give it a class in a class map"
            )
    left_out = list(coco.left_out)
    mapped: list[tuple[CocoObject, str]] = []
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in sorted(coco.objects, key=lambda item: (item.photo.file_name, item.id)):
        if label := class_map.get(item.category):
            mapped.append((item, label))
            counts[item.photo.file_name][label] += 1
        else:
            left_out.append(LeftOut(str(item.id), item.photo.file_name, item.category, NOT_IN_CLASS_MAP))
    if not mapped:
        known = ", ".join(coco.categories[:5]) or "none"
        raise DataError(f"{coco.where}: no usable annotation has a class (categories: {known}, ...)")
    # Photos are grouped by file, since merged annotation files list one photo under several ids.
    splits = split_groups(counts, split, seed) if split is not None else {}
    targets: dict[CocoPhoto, list[_Target]] = defaultdict(list)
    taken: Counter[str] = Counter()
    for item, label in mapped:
        stem = re.sub(r"[^\w-]+", "-", item.photo.file_name.rpartition(".")[0] or item.photo.file_name)
        # Photo names may be long: 40 characters are at most 160 bytes, of the 255 that file systems allow.
        name = f"{stem[-40:].strip('-')}_{item.id}"
        taken[name] += 1
        name += f"-{taken[name]}.jpg" if taken[name] > 1 else ".jpg"
        folder = splits.get(item.photo.file_name)
        targets[item.photo].append(_Target(item, label, "/".join(filter(None, (folder, label, name)))))
    return dict(targets), left_out


def _cut_all(
    targets: Mapping[CocoPhoto, Sequence[_Target]],
    stored: Mapping[CocoPhoto, str | None],
    photos: PhotoStore,
    out: Path,
    margin: float,
    min_size: int,
    workers: int | None,
    progress: bool,
) -> list[_Cut]:
    def cut(photo: CocoPhoto) -> _Cut:
        return _cut_photo(photo, targets[photo], photos, stored[photo], out, margin, min_size)

    # Pillow warns of photos over 89 million pixels, which phones write today; `open_photo` has its own limit.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            hidden = None if progress else True
            return list(tqdm(pool.map(cut, targets), "Crops", len(targets), unit="photo", disable=hidden))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cut_photo(
    photo: CocoPhoto,
    targets: Sequence[_Target],
    photos: PhotoStore,
    stored: str | None,
    out: Path,
    margin: float,
    min_size: int,
) -> _Cut:
    if stored is None:
        return _unusable(photo, targets, PHOTO_MISSING, "")
    try:
        content = photos.open(stored)
        frame = read_frame(content, photo)
        if frame is None:
            return _unusable(photo, targets, PHOTO_OF_ANOTHER_SIZE, f" (annotated: {photo.size})")
        crops, left_out, clipped = _rectangles(targets, frame, margin, min_size)
        missing = [(target, box) for target, box in crops if not (out / target.name).is_file()]
        if missing:
            image = open_photo(content)
            if image.size != frame.upright:
                return _unusable(photo, targets, PHOTO_UNREADABLE, f" (decoded to {image.size})")
    except (DataError, OSError) as error:
        return _unusable(photo, targets, PHOTO_UNREADABLE, f" ({error})")
    for target, box in missing:
        with replacing(out / target.name) as temporary:
            image.crop(box).save(temporary, "JPEG", quality=_QUALITY, subsampling=0)
    return _Cut(tuple(crops), tuple(left_out), len(missing), clipped)


def read_frame(content: Path | bytes, photo: CocoPhoto) -> Frame | None:
    """The frame of a photo's boxes, from its header alone; None where it is not the annotated photo.

    Raises:
        DataError: not a photo.
    """
    try:
        with Image.open(content if isinstance(content, Path) else BytesIO(content)) as image:
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
            # Pillow tells a TIFF's size as it will be after turning, which it does by itself.
            if image.format == "TIFF" or orientation not in range(1, 9):
                orientation = 1
            return find_frame(photo.size, image.size, orientation)
    except Exception as error:  # damaged headers make Pillow raise almost anything
        raise DataError(f"{photo.file_name}: not a readable photo ({error})") from error


def _rectangles(
    targets: Sequence[_Target], frame: Frame, margin: float, min_size: int
) -> tuple[list[tuple[_Target, Rectangle]], list[LeftOut], int]:
    crops: list[tuple[_Target, Rectangle]] = []
    left_out: list[LeftOut] = []
    clipped = 0
    for target in targets:
        box = frame.to_upright(target.item.box)
        inside = clip(box, frame.upright)
        reason = None
        if inside is None:
            reason = OUTSIDE
        elif max(inside[2:]) < min_size:
            reason = TOO_SMALL
        else:
            rectangle = with_margin(inside, frame.upright, margin)
            if max(rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]) > _JPEG_LIMIT:
                reason = TOO_LARGE
        if reason:
            left_out.append(_left_out(target.item, reason))
        else:
            crops.append((target, rectangle))
            # Annotation tools round to pixels: half a pixel over the edge is not worth counting.
            clipped += any(abs(a - b) > 0.5 for a, b in zip(box, inside or box, strict=True))
    return crops, left_out, clipped


def _unusable(photo: CocoPhoto, targets: Sequence[_Target], reason: str, detail: str) -> _Cut:
    left_out = tuple(_left_out(target.item, reason) for target in targets)
    return _Cut(left_out=left_out, problem=f"{photo.file_name}: {reason}{detail}")


def _left_out(item: CocoObject, reason: str) -> LeftOut:
    return LeftOut(str(item.id), item.photo.file_name, item.category, reason)


def _report(cuts: Sequence[_Cut], left_out: Sequence[LeftOut]) -> CropReport:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for cut in cuts:
        for target, _ in cut.crops:
            split = target.name.rpartition("/")[0].rpartition("/")[0]
            counts[split][target.label] += 1
    return CropReport(
        {split: dict(sorted(counts[split].items())) for split in (TRAIN, VAL, TEST, "") if split in counts},
        sum(cut.written for cut in cuts),
        sum(cut.clipped for cut in cuts),
        tuple(left_out),
        tuple(cut.problem for cut in cuts if cut.problem),
    )


def _as_xywh(box: Rectangle) -> tuple[int, int, int, int]:
    return box[0], box[1], box[2] - box[0], box[3] - box[1]
