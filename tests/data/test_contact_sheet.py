from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from wisp.data import contact_sheet
from wisp.data.contact_sheet import class_rows, write_contact_sheet
from wisp.records import Dataset, Sample

Paint = Callable[..., Path]


@pytest.fixture(autouse=True)
def _fresh_fonts() -> Iterator[None]:
    contact_sheet._font.cache_clear()
    yield
    contact_sheet._font.cache_clear()


def _sheet(path: Path) -> Image.Image:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.copy()


def _dataset(root: Path, counts: dict[str, int]) -> Dataset:
    samples = tuple(
        Sample(root / f"{name}{number:03}.jpg", f"{name}{number:03}.jpg", label)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    )
    return Dataset(
        root, tuple(counts), {"train": samples, "unlabelled": (Sample(root / "x.jpg", "x.jpg", None),)}
    )


def test_rows_take_photos_evenly(tmp_path: Path) -> None:
    rows = class_rows(_dataset(tmp_path, {"Glass": 1001, "Metal": 2, "Paper": 0}), columns=5)
    assert [caption for caption, _ in rows] == ["0  Glass  (1,001)", "1  Metal  (2)", "2  Paper  (0)"]
    assert [path.stem for path in rows[0][1]] == ["Glass000", "Glass250", "Glass500", "Glass750", "Glass1000"]
    assert [len(paths) for _, paths in rows] == [5, 2, 0]


def test_tiles_lie_where_they_should(tmp_path: Path) -> None:
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (100, 100), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_text("no photo")
    red, blue, bad = (tmp_path / f"{name}.png" for name in ("red", "blue", "bad"))
    write_contact_sheet([("one", [red, blue]), ("two", [bad])], tmp_path / "deep/sheet.png", tile=40)
    sheet = _sheet(tmp_path / "deep/sheet.png")
    assert sheet.getpixel((4 + 20, 22 + 20)) == (255, 0, 0)
    assert sheet.getpixel((4 + 44 + 20, 22 + 20)) == (0, 0, 255)
    crossed = np.asarray(sheet.crop((4, 66 + 22, 44, 66 + 62)))
    assert (crossed == (200, 60, 60)).all(axis=2).any(), "an unreadable photo is a crossed box"
    caption = np.asarray(sheet.crop((0, 0, sheet.width, 22)))
    assert caption.min() < 100, "the caption is drawn"


@pytest.mark.parametrize("caption", ["종이팩", "Ünïcode é", "бумага", "🗑", "line\nbreak", "", "long " * 200])
@pytest.mark.parametrize("freetype", [True, False])
def test_any_caption_can_be_drawn(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch, caption: str, freetype: bool
) -> None:
    if not freetype:
        monkeypatch.setattr(contact_sheet, "_WIDE_FONTS", ("no such font.ttf",))
        bitmap = ImageFont.load_default_imagefont()
        monkeypatch.setattr(ImageFont, "load_default", lambda size: bitmap)
    write_contact_sheet([(caption, [paint(tmp_path / "a.jpg", 1)])], tmp_path / "sheet.png")
    assert _sheet(tmp_path / "sheet.png").height == 22 + 96 + 4 + 22


def test_a_thousand_classes_are_cut_short(tmp_path: Path) -> None:
    write_contact_sheet([(f"class {number}", []) for number in range(1000)], tmp_path / "sheet.png", tile=8)
    assert _sheet(tmp_path / "sheet.png").height == 200 * (22 + 8 + 4) + 22


def test_no_rows(tmp_path: Path) -> None:
    write_contact_sheet([], tmp_path / "sheet.png")
    assert _sheet(tmp_path / "sheet.png").size == (104, 22)
