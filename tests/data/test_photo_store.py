"""Folders and archives: what is found, and what an archive may not do."""

from __future__ import annotations

import stat
import struct
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest

from wisp.data import photo_store
from wisp.data.photo_store import FolderStore, PhotoStore, ZipStore, open_store, stays_inside
from wisp.errors import DataError

NAMES = ("data/batch_1/7.jpg", "data/batch_2/7.jpg", "data/batch_2/Ünï.JPG", "top.png")


@pytest.fixture(params=["folder", "zip"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PhotoStore:
    litter = ("__MACOSX/data/batch_1/._7.jpg", "data/.hidden/8.jpg", "data/.DS_Store")
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            archive.writestr("data/", b"")
            for name in NAMES + litter:
                archive.writestr(name, name.encode())
        return open_store(tmp_path / "photos.zip")
    for name in NAMES + litter:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return open_store(tmp_path / "photos")


def test_names_without_litter(store: PhotoStore) -> None:
    assert sorted(store.names()) == sorted(NAMES)
    assert [store.read(name) for name in sorted(NAMES)] == [name.encode() for name in sorted(NAMES)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("data/batch_1/7.jpg", "data/batch_1/7.jpg"),
        ("./data//batch_1/7.jpg", "data/batch_1/7.jpg"),
        ("batch_2/7.JPG", "data/batch_2/7.jpg"),
        ("batch_2\\7.jpg", "data/batch_2/7.jpg"),
        (unicodedata.normalize("NFD", "batch_2/ünï.jpg"), "data/batch_2/Ünï.JPG"),
        ("TOP.PNG", "top.png"),
        ("7.jpg", None),  # two of them
        ("atch_1/7.jpg", None),
        ("8.jpg", None),
        ("", None),
        ("../photos/top.png", None),
        ("data/../top.png", None),
        ("/top.png", None),
        ("C:/top.png", None),
        ("top.png\0", None),
    ],
)
def test_finding(store: PhotoStore, wanted: str, found: str | None) -> None:
    assert store.find(wanted) == found


def test_an_exact_name_wins(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/a/x.jpg", "b/a/X.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    store = FolderStore(tmp_path)
    assert store.find("a/x.jpg") == "a/x.jpg"
    assert store.find("A/X.JPG") == "a/x.jpg"


def test_neither_folder_nor_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or archive"):
        open_store(tmp_path / "none")
    (tmp_path / "x.tar").write_bytes(b"abc")
    with pytest.raises(DataError, match="neither a folder nor a zip archive"):
        open_store(tmp_path / "x.tar")
    with pytest.raises(DataError, match="no such file"):
        ZipStore(tmp_path / "none.zip")


def test_members_that_would_escape_or_link_do_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    link = zipfile.ZipInfo("link.jpg")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../up.jpg", "/root.jpg", "a/../../up.jpg", "good.jpg"):
            archive.writestr(name, b"x")
        archive.writestr(link, b"/etc/passwd")
    assert list(open_store(path).names()) == ["good.jpg"]
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(2_000_000))
    monkeypatch.setattr(photo_store, "MAX_MEMBER_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"zeros\.jpg: 2,000,000 bytes unpacked, over the limit of 1,000,000"):
        open_store(path).read("zeros.jpg")


def test_a_bomb_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(2_000_000))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 2_000_000), struct.pack("<I", 100)))
    with pytest.raises(DataError, match=r"zeros\.jpg: damaged archive"):
        open_store(path).read("zeros.jpg")


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"A" * 1000)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"AAAA", b"AABA", 1))
    with pytest.raises(DataError, match=r"a\.jpg: damaged archive \(Bad CRC"):
        open_store(path).read("a.jpg")
    path.write_bytes(raw[:-40])
    with pytest.raises(DataError, match=r"x\.zip"):
        open_store(path)
    path.write_bytes(raw[:500])
    with pytest.raises(DataError, match=r"x\.zip: x\.zip: damaged archive"):
        ZipStore(path)


def test_encrypted_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"A" * 1000)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the local header's flag
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be unpacked"):
        open_store(path).read("a.jpg")


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("a.jpg", b"old")
        archive.writestr("a.jpg", b"new")
    assert open_store(tmp_path / "x.zip").read("a.jpg") == b"new"


def test_names_that_stay_inside() -> None:
    assert stays_inside("a/b..c/d.jpg")
    assert not stays_inside("a/../b")
