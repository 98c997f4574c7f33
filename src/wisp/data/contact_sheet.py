"""A contact sheet: rows of small photos under their captions, in one PNG (Pillow only)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wisp.errors import DataError
from wisp.files import replacing
from wisp.images import preprocess
from wisp.records import Dataset, ResizeRule

MAX_ROWS = 200
_GAP = 4
_CAPTION = 22
_FONT_SIZE = 14
_BACKGROUND = (255, 255, 255)
_INK = (30, 30, 30)

# Pillow's own font has Latin letters only; these have more, Hangul first. The first that is installed is taken.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansKR-Regular.ttf",
    "NanumGothic.ttf",
    "malgun.ttf",
    "AppleSDGothicNeo.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def class_rows(dataset: Dataset, columns: int) -> list[tuple[str, list[Path]]]:
    """One row a class: its number, name and size, and photos taken evenly from all its splits."""
    paths: list[list[Path]] = [[] for _ in dataset.classes]
    for samples in dataset.splits.values():
        for sample in samples:
            if sample.label is not None:
                paths[sample.label].append(sample.path)
    rows = []
    for index, (name, of_class) in enumerate(zip(dataset.classes, paths, strict=True)):
        chosen = np.unique(np.linspace(0, len(of_class) - 1, min(columns, len(of_class))).astype(int))
        rows.append((f"{index}  {name}  ({len(of_class):,})", [of_class[photo] for photo in chosen]))
    return rows


def write_contact_sheet(rows: Sequence[tuple[str, Sequence[Path]]], path: Path, *, tile: int = 96) -> None:
    """Write captioned rows of photos as a PNG.

    Photos keep their aspect ratio; one that cannot be read becomes a crossed box. After 200 rows a last line
    says how many were left out.

    Args:
        rows: caption and photos of each row.
        path: the PNG to write.
        tile: side of a tile, pixels.
    """
    shown = rows[:MAX_ROWS]
    captions = [caption for caption, _ in shown]
    if len(rows) > len(shown):
        captions.append(f"... and {len(rows) - len(shown)} more")
    columns = max((len(paths) for _, paths in shown), default=0)
    width = max(
        columns * (tile + _GAP) + _GAP, *(2 * _GAP + _width(caption) for caption in captions), tile + 2 * _GAP
    )
    pitch = _CAPTION + tile + _GAP
    sheet = Image.new("RGB", (width, pitch * len(shown) + _CAPTION), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, caption in enumerate(captions):
        draw.text((_GAP, row * pitch + 3), _drawable(caption), fill=_INK, font=_font(caption.isascii()))
    for row, (_, paths) in enumerate(shown):
        for column, photo in enumerate(paths):
            sheet.paste(_tile(photo, tile), (_GAP + column * (tile + _GAP), row * pitch + _CAPTION))
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=False)


def _tile(photo: Path, side: int) -> Image.Image:
    try:
        return Image.fromarray(preprocess(photo, ResizeRule(side, "pad")))
    except DataError:
        box = Image.new("RGB", (side, side), (235, 235, 235))
        draw = ImageDraw.Draw(box)
        draw.line((0, 0, side, side), fill=(200, 60, 60), width=2)
        draw.line((0, side, side, 0), fill=(200, 60, 60), width=2)
        return box


def _width(caption: str) -> int:
    return int(_font(caption.isascii()).getlength(_drawable(caption))) + 1


@cache
def _font(ascii_only: bool) -> Font:
    for name in () if ascii_only else _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, _FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(_FONT_SIZE)


def _drawable(caption: str) -> str:
    """What the font can take: one line, and Latin-1 alone where Pillow was built without FreeType."""
    line = "".join(letter if letter.isprintable() else "?" for letter in caption)
    if isinstance(_font(caption.isascii()), ImageFont.FreeTypeFont):
        return line
    return line.encode("latin-1", "replace").decode("latin-1")
