from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from wisp.data import duplicates
from wisp.data.duplicates import correlation, duplicate_groups, exact_groups
from wisp.data.folders import load_dataset
from wisp.data.photo_table import PhotoTable, look_at
from wisp.records import Sample

Paint = Callable[..., Path]


def _look(*paths: Path) -> PhotoTable:
    return look_at([Sample(path, path.name, 0) for path in paths], paths[0].parent, progress=False)


def test_exact_copies_share_a_group_whatever_their_name(tmp_path: Path, paint: Paint) -> None:
    one, other = paint(tmp_path / "a.jpg", 1), paint(tmp_path / "c.jpg", 2)
    shutil.copy(one, tmp_path / "b.png")
    table = _look(one, other, tmp_path / "b.png")
    assert exact_groups(table).tolist() == duplicate_groups(table).tolist() == [0, 1, 0]


def test_the_same_shot_after_what_happens_to_photos(tmp_path: Path, paint: Paint) -> None:
    original = paint(tmp_path / "original.png", 3, size=(400, 300))
    image = Image.open(original)
    variants = [original]

    def add(name: str, changed: Image.Image, **save: object) -> None:
        changed.save(tmp_path / name, **save)
        variants.append(tmp_path / name)

    add("recompressed.jpg", image, quality=40)
    add("smaller.jpg", image.resize((133, 100)))
    add("brighter.jpg", ImageEnhance.Brightness(image).enhance(1.15))
    add("flatter.jpg", ImageEnhance.Contrast(image).enhance(0.7))
    add("trimmed.jpg", image.crop((4, 3, 396, 297)))
    turned = Image.Exif()
    turned[0x0112] = 6
    add("turned.jpg", image.transpose(Image.Transpose.ROTATE_90), exif=turned)
    assert duplicate_groups(_look(*variants)).tolist() == [0] * 7


def test_different_shots_stay_apart(tmp_path: Path, paint: Paint) -> None:
    table = _look(*(paint(tmp_path / f"{seed}.jpg", seed) for seed in range(60)))
    assert duplicate_groups(table).tolist() == list(range(60))


def test_different_objects_on_a_white_board_stay_apart(tmp_path: Path) -> None:
    paths = []
    for number, colour in enumerate(("green", "brown", "navy")):
        image = Image.new("RGB", (512, 384), (235, 233, 228))
        ImageDraw.Draw(image).ellipse((205, 140, 300 + 3 * number, 240), fill=colour)
        paths.append(tmp_path / f"{number}.jpg")
        image.save(paths[-1])
    table = _look(*paths)
    distance = (table.hashes[0] != table.hashes[1]).sum()
    assert distance <= duplicates.MAX_HASH_DISTANCE, "the hash alone takes them for one"
    assert duplicate_groups(table).tolist() == [0, 1, 2]


def test_another_aspect_ratio_is_another_photo(tmp_path: Path, paint: Paint) -> None:
    wide, square = paint(tmp_path / "a.png", 5, size=(90, 60)), paint(tmp_path / "b.png", 5, size=(60, 60))
    table = _look(wide, square)
    assert correlation(table.thumbnails[:1], table.thumbnails[1:])[0, 0] > 0.99
    assert duplicate_groups(table).tolist() == [0, 1]


def test_photos_of_a_single_colour_match_only_themselves(tmp_path: Path) -> None:
    for name, colour in (("a.png", "white"), ("b.png", "black"), ("c.png", "white")):
        Image.new("RGB", (20, 20), colour).save(tmp_path / name)
    table = _look(*(tmp_path / name for name in ("a.png", "b.png", "c.png")))
    assert duplicate_groups(table).tolist() == [0, 1, 0]


def test_unreadable_photos_match_byte_for_byte_only(tmp_path: Path, paint: Paint) -> None:
    for name, data in (("a.jpg", b"no photo"), ("b.jpg", b"no photo either"), ("c.jpg", b"no photo")):
        (tmp_path / name).write_bytes(data)
    table = _look(tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg", tmp_path / "missing.jpg")
    assert duplicate_groups(table).tolist() == [0, 1, 0, 3]


def test_no_photos() -> None:
    table = look_at([], Path("nowhere"), progress=False)
    assert duplicate_groups(table).tolist() == []


def test_blocks_do_not_matter(tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [paint(tmp_path / f"{n:02}.jpg", n % 7, quality=95 - n) for n in range(30)]
    table = _look(*paths)
    expected = [n % 7 for n in range(30)]
    assert duplicate_groups(table).tolist() == expected
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    assert duplicate_groups(table).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(1, 5))
def test_joining_pairs_gives_connected_components(pairs: list[tuple[int, int]], step: int) -> None:
    groups = np.arange(20)
    for start in range(0, len(pairs), step):
        part = np.array(pairs[start : start + step])
        duplicates._join(groups, part[:, 0], part[:, 1])
    expected = list(range(20))
    for _ in range(20):
        for one, other in pairs:
            low = min(expected[one], expected[other])
            expected[one] = expected[other] = low
    assert groups.tolist() == expected


def test_correlation_is_pearsons() -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4, 3), dtype=np.uint8)
    expected = np.corrcoef(one.reshape(5, -1), other.reshape(5, -1))[:5, 5:]
    np.testing.assert_allclose(correlation(one, other), expected, atol=1e-6)


def test_known_copies_in_trashnet(shared_data: Path, tmp_path: Path) -> None:
    """TrashNet's official lists hold the same file as glass in train and as plastic in test."""
    archives = sorted((shared_data / "trashnet").rglob("*.zip"))
    if not archives:
        pytest.skip(f"no archive under {shared_data / 'trashnet'}")
    wanted = {"glass176.jpg", "plastic152.jpg", "metal122.jpg", "metal57.jpg", "glass344.jpg", "metal272.jpg"}
    with zipfile.ZipFile(archives[0]) as archive:
        for member in archive.infolist():
            name = Path(member.filename)
            if name.name in wanted and "__MACOSX" not in name.parts:
                target = tmp_path / name.parent.name / name.name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.read(member))
    samples = load_dataset(tmp_path, progress=False).splits.values()
    photos = sorted((sample for split in samples for sample in split), key=lambda sample: sample.path.name)
    table = look_at(photos, tmp_path, progress=False)
    groups = dict(zip([photo.path.stem for photo in photos], duplicate_groups(table).tolist(), strict=True))
    assert groups["glass176"] == groups["plastic152"]
    assert groups["metal122"] == groups["metal57"], "two pictures of one piece of foil"
    assert groups["glass344"] != groups["metal272"], "a bottle and a can from above"
