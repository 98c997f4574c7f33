from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wisp.data import photo_table
from wisp.data.photo_table import PhotoTable, look_at, perceptual_hash
from wisp.records import Sample

Paint = Callable[..., Path]


def _look(root: Path) -> PhotoTable:
    paths = sorted(path for path in root.rglob("*") if not path.is_dir())
    return look_at(
        [Sample(path, path.relative_to(root).as_posix(), 0) for path in paths], root, progress=False
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the photos that were opened."""
    opened: list[str] = []
    look = photo_table._look

    def counting(sample: Sample) -> object:
        opened.append(sample.name)
        return look(sample)

    monkeypatch.setattr(photo_table, "_look", counting)
    return opened


def test_what_is_seen(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "a.jpg", 1, size=(300, 200))
    turned = Image.Exif()
    turned[0x0112] = 8
    paint(tmp_path / "b.jpg", 2, size=(301, 200), exif=turned)
    paint(tmp_path / "c.png", 3, size=(1, 70))
    (tmp_path / "d.jpg").write_bytes(b"")
    (tmp_path / "e.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    (tmp_path / "f.jpg").symlink_to(tmp_path / "missing.jpg")
    table = _look(tmp_path)
    assert len(table) == 6
    assert table.widths.tolist() == [300, 200, 1, 0, 0, 0]
    assert table.heights.tolist() == [200, 301, 70, 0, 0, 0]
    assert table.formats == ("JPEG", "JPEG", "PNG", "", "", "")
    assert table.readable.tolist() == [True, True, True, False, False, False]
    assert table.errors[3] == "the file is empty"
    assert "truncated" in table.errors[4]
    assert table.errors[5] == "No such file or directory"
    assert len({row.tobytes() for row in table.digests}) == 6
    part = table.rows(slice(1, 3))
    assert part.formats == ("JPEG", "PNG")
    assert part.widths.tolist() == [200, 1]


def test_second_look_opens_nothing(tmp_path: Path, paint: Paint, counted: list[str]) -> None:
    for seed in range(5):
        paint(tmp_path / f"{seed}.jpg", seed)
    first = _look(tmp_path)
    assert len(counted) == 5
    second = _look(tmp_path)
    assert len(counted) == 5
    for name, column in vars(first).items():
        np.testing.assert_array_equal(column, vars(second)[name])


def test_only_changed_photos_are_opened_again(tmp_path: Path, paint: Paint, counted: list[str]) -> None:
    for seed in range(5):
        paint(tmp_path / f"{seed}.png", seed)
    _look(tmp_path)
    counted.clear()
    paint(tmp_path / "2.png", 20)
    paint(tmp_path / "new.png", 30)
    (tmp_path / "4.png").unlink()
    table = _look(tmp_path)
    assert sorted(counted) == ["2.png", "new.png"]
    (file,) = Path(os.environ["WISP_CACHE"], "tables").iterdir()
    assert len(np.load(file)) == len(table) == 5


def test_unreadable_photos_are_tried_again(tmp_path: Path, paint: Paint, counted: list[str]) -> None:
    paint(tmp_path / "a.jpg", 1)
    (tmp_path / "b.jpg").write_bytes(b"nothing")
    _look(tmp_path)
    counted.clear()
    _look(tmp_path)
    assert counted == ["b.jpg"]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x93NUMPY\x01\x00"])
def test_damaged_table_is_made_anew(tmp_path: Path, paint: Paint, counted: list[str], damage: bytes) -> None:
    paint(tmp_path / "a.jpg", 1)
    first = _look(tmp_path)
    (file,) = Path(os.environ["WISP_CACHE"], "tables").iterdir()
    file.write_bytes(damage)
    assert _look(tmp_path).digests.tolist() == first.digests.tolist()
    assert len(counted) == 2


def test_table_of_another_kind_is_made_anew(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "a.jpg", 1)
    _look(tmp_path)
    (file,) = Path(os.environ["WISP_CACHE"], "tables").iterdir()
    np.save(file, np.zeros(3))
    assert _look(tmp_path).formats == ("JPEG",)


def test_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WISP_CACHE", str(tmp_path / "file"))
    paint(tmp_path / "photos/a.jpg", 1)
    assert _look(tmp_path / "photos").formats == ("JPEG",)


def test_an_interrupted_look_keeps_what_it_saw(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(paint(tmp_path / f"{seed}.jpg", seed), f"{seed}.jpg", 0) for seed in range(6)]
    look, opened = photo_table._look, []

    def interrupted(sample: Sample) -> object:
        opened.append(sample.name)
        if sample.name == "3.jpg" and len(opened) == 4:
            raise KeyboardInterrupt
        return look(sample)

    monkeypatch.setattr(photo_table, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look_at(samples, tmp_path, workers=1, progress=False)
    opened.clear()
    assert len(look_at(samples, tmp_path, workers=1, progress=False)) == 6
    assert opened == ["3.jpg", "4.jpg", "5.jpg"]


def test_hash_of_a_single_frequency() -> None:
    """One cosine alone lies above the median: exactly its bit is set."""
    points = np.arange(32)
    for row, column in ((1, 1), (2, 5), (8, 8)):
        wave = np.outer(*(np.cos(np.pi * k * (2 * points + 1) / 64) for k in (row, column)))
        pixels = np.repeat(np.rint(128 + 100 * wave)[:, :, None], 3, axis=2).astype(np.uint8)
        frequencies = perceptual_hash(pixels).reshape(8, 8)
        assert frequencies[row - 1, column - 1]


def test_hash_ignores_brightness_and_contrast() -> None:
    pixels = np.random.default_rng(0).integers(0, 128, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(perceptual_hash(pixels), perceptual_hash(pixels * 2))
    np.testing.assert_array_equal(perceptual_hash(pixels), perceptual_hash(pixels + 100))
    assert perceptual_hash(pixels).sum() == 32
