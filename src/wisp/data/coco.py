"""Read COCO annotations: which object of which category lies where on which photo.

The format: https://cocodataset.org/#format-data. Only what object crops need is read, and every annotation that
cannot be used is kept with its reason, so that nothing disappears uncounted.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from wisp.data.boxes import Box, Size
from wisp.errors import DataError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class CocoPhoto:
    """One photo: its file, its size where the annotations tell it, and the addresses it may be fetched from."""

    file_name: str
    size: Size | None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CocoObject:
    """One annotated object; the box in pixels of the annotated photo."""

    id: int
    photo: CocoPhoto
    category: str
    box: Box


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An annotation that yields no crop, and why. `file_name` and `category` are empty where unknown."""

    id: str
    file_name: str
    category: str
    reason: str


@dataclass(frozen=True)
class Coco:
    """What a COCO file holds. `sha256` is the digest of the file, `where` what messages call it."""

    where: str
    sha256: str
    photos: tuple[CocoPhoto, ...]
    objects: tuple[CocoObject, ...]
    categories: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def read_coco(content: bytes, where: str) -> Coco:
    """Parse a COCO annotation file.

    Boxes may leave the photo (they are cut later). Two annotations may share an id, as two pairs in TACO's official
    file do, unless they are equal in everything. Left out, each with its reason: crowds, boxes that are missing,
    malformed, not finite or without area, duplicates, unknown photos and categories. An annotation without `bbox`
    gets the bounding box of its polygons; one with a run-length mask alone is left out.

    Args:
        content: the file's bytes.
        where: how messages name the file.

    Raises:
        DataError: no JSON, not COCO, or ids that stand for two things.
    """
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: broken JSON in line {error.lineno}, column {error.colno} ({error.msg})"
        ) from error
    except (RecursionError, ValueError) as error:  # nested thousands deep, or numbers of thousands of digits
        raise DataError(f"{where}: not a COCO file ({error})") from error
    if not isinstance(document, dict):
        raise DataError(f"{where}: not a COCO file (an object with images, annotations and categories)")
    photos = {
        key: _photo(entry, where) for key, entry in _by_id(document, "images", "file_name", where).items()
    }
    categories = {
        key: _text(entry["name"], "category name", where)
        for key, entry in _by_id(document, "categories", "name", where).items()
    }
    objects: list[CocoObject] = []
    left_out: list[LeftOut] = []
    seen: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in _entries(document, "annotations", where):
        identity = entry.get("id")
        if not isinstance(identity, int) or isinstance(identity, bool):
            raise DataError(f"{where}: annotation id {_shown(identity)} is not an integer")
        photo, category = (
            _lookup(photos, entry.get("image_id")),
            _lookup(categories, entry.get("category_id")),
        )
        box = _box(entry)
        if photo is None:
            box = "unknown image id"
        elif category is None:
            box = "unknown category id"
        elif entry.get("iscrowd"):
            box = "crowd (several objects in one box)"
        elif entry in seen[identity]:
            box = "duplicate of another annotation"
        seen[identity].append(entry)
        if photo is None or category is None or isinstance(box, str):
            file_name = photo.file_name if photo else ""
            left_out.append(LeftOut(str(identity), file_name, category or "", str(box)))
        else:
            objects.append(CocoObject(identity, photo, category, box))
    return Coco(
        where,
        hashlib.sha256(content).hexdigest(),
        tuple(photos.values()),
        tuple(objects),
        tuple(sorted(set(categories.values()))),
        tuple(left_out),
    )


def read_class_map(content: bytes, where: str) -> dict[str, str]:
    """Parse a class map: TOML, one table `[classes]` of `"Category name" = "Class"`.

    A category with an empty class is left out, like one that is not named.

    Raises:
        DataError: no TOML, or another form.
    """
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{where}: broken TOML ({error})") from error
    table = document.get("classes")
    if not isinstance(table, dict) or set(document) != {"classes"}:
        raise DataError(f'{where}: a class map has one table, [classes], of lines "Category name" = "Class"')
    for category, name in table.items():
        if not isinstance(name, str):
            raise DataError(f'{where}: classes."{category}" must be a class name in quotes, got {name!r}')
    return table


def _entries(document: Mapping[str, Any], key: str, where: str) -> Sequence[dict[str, Any]]:
    entries = document.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{where}: not a COCO file: no list {key!r}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{where}: {key}[{number}] is not an object")
    return entries


def _by_id(document: Mapping[str, Any], key: str, needed: str, where: str) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {}
    for number, entry in enumerate(_entries(document, key, where)):
        identity = entry.get("id")
        if not isinstance(identity, int | str) or needed not in entry:
            raise DataError(f"{where}: {key}[{number}] needs 'id' and {needed!r}")
        if identity in found and found[identity] != entry:
            raise DataError(f"{where}: {key} id {_shown(identity)} stands for two different entries")
        found[identity] = entry
    return found


def _photo(entry: Mapping[str, Any], where: str) -> CocoPhoto:
    size = entry.get("width"), entry.get("height")
    known = all(isinstance(side, int | float) and math.isfinite(side) and side >= 1 for side in size)
    addresses = (entry.get(key) for key in ("flickr_url", "coco_url", "flickr_640_url"))
    return CocoPhoto(
        _text(entry["file_name"], "file_name", where),
        (round(size[0]), round(size[1])) if known else None,  # type: ignore[arg-type]  # checked above
        tuple(address for address in addresses if isinstance(address, str) and address),
    )


def _text(value: object, what: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {what} must be a text, got {_shown(value)}")
    return value.strip()


def _lookup(table: Mapping[int | str, _Value], key: object) -> _Value | None:
    return table.get(key) if isinstance(key, int | str) else None


def _box(entry: Mapping[str, Any]) -> Box | str:
    """The bounding box, or why there is none."""
    values = entry.get("bbox")
    if values is None or values == []:
        mask = entry.get("segmentation")
        if isinstance(mask, dict):
            return "no box (a run-length mask alone)"
        values = _around(mask)
        if values is None:
            return "no box"
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    if not numbers or len(values) != 4:
        return "malformed box"
    x, y, w, h = values
    # Integers of any length are legal JSON; the bound keeps later arithmetic finite.
    if not all(abs(value) < 1e9 for value in values):  # false for NaN as well
        return "box not finite"
    if w <= 0 or h <= 0:
        return "box without area"
    return float(x), float(y), float(w), float(h)


def _around(polygons: object) -> list[float] | None:
    """The bounding box of polygons, each a flat list x, y, x, y, ..."""
    if not isinstance(polygons, list) or not polygons:
        return None
    xs: list[float] = []
    ys: list[float] = []
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(isinstance(value, int | float) for value in polygon):
            return None
        xs.extend(polygon[0::2])
        ys.extend(polygon[1::2])
    if not xs or not ys:
        return None
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _shown(value: object) -> str:
    """A value as a message shows it: never more than a few words."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
