from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from wisp.data.folders import load_dataset, scan
from wisp.errors import DataError
from wisp.records import Dataset

Paint = Callable[..., Path]


def _split_folders(root: Path, *splits: str, classes: tuple[str, ...] = ("Glass", "Metal")) -> Path:
    # Folders in the first layout are listed, not opened: empty files do.
    for split in splits:
        for name in classes:
            for number in range(2):
                photo = root / split / name / f"{number}.jpg"
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.touch()
    return root


def _names(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [sample.name for sample in samples] for split, samples in dataset.splits.items()}


def test_three_split_folders(tmp_path: Path) -> None:
    dataset = load_dataset(_split_folders(tmp_path, "train", "val", "test"))
    assert dataset.classes == ("Glass", "Metal")
    assert _names(dataset) == {
        split: [
            f"{split}/Glass/0.jpg",
            f"{split}/Glass/1.jpg",
            f"{split}/Metal/0.jpg",
            f"{split}/Metal/1.jpg",
        ]
        for split in ("train", "val", "test")
    }
    assert [sample.label for sample in dataset.split("train")] == [0, 0, 1, 1]
    assert all(sample.path == tmp_path / sample.name for sample in dataset.split("val"))
    assert dataset.parts == {}


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_other_names_of_val(tmp_path: Path, name: str) -> None:
    dataset = load_dataset(_split_folders(tmp_path, "Train", name))
    assert len(dataset.split("train")) == len(dataset.split("val")) == 4


def test_unlabelled_test_photos(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    _split_folders(root, "test", classes=("NoLabel",))
    dataset = load_dataset(root)
    assert [(sample.name, sample.label) for sample in dataset.split("unlabelled")] == [
        ("test/NoLabel/0.jpg", None),
        ("test/NoLabel/1.jpg", None),
    ]
    assert dataset.split("test") == ()
    assert "NoLabel" not in dataset.classes


def test_missing_val_comes_out_of_train_and_missing_test_stays_missing(tmp_path: Path, paint: Paint) -> None:
    for number in range(40):
        paint(tmp_path / "train" / ("Glass" if number % 2 else "Metal") / f"{number}.jpg", number)
    dataset = load_dataset(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 34, "val": 6}
    assert sum(sample.label == 0 for sample in dataset.split("val")) == 3
    assert load_dataset(tmp_path).splits == dataset.splits


def test_one_folder_a_class_is_divided_in_three(tmp_path: Path, paint: Paint) -> None:
    for number in range(40):
        paint(tmp_path / ("Glass" if number % 2 else "Metal") / "deeper" / f"{number}.jpg", number)
    paint(tmp_path / "NoLabel" / "x.jpg", 1000)
    dataset = load_dataset(tmp_path)
    counts = {split: len(samples) for split, samples in dataset.splits.items()}
    assert counts == {"train": 28, "test": 6, "val": 6, "unlabelled": 1}
    names = [name for names in _names(dataset).values() for name in names]
    assert len(set(names)) == 41
    assert all(list(names) == sorted(names) for names in _names(dataset).values())
    assert load_dataset(tmp_path, seed=1).splits != dataset.splits


def test_test_folder_alone_serves_to_evaluate(tmp_path: Path) -> None:
    dataset = load_dataset(_split_folders(tmp_path, "test"), needs=("test",))
    assert dataset.classes == ("Glass", "Metal")
    assert len(dataset.split("test")) == 4
    with pytest.raises(
        DataError, match=r"no photos for the split 'train'; put some into .*train, one folder"
    ):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("split", "hint"), [("test", r"put some into .*test, one folder a class"), ("unlabelled", "test.NoLabel")]
)
def test_needed_split_is_missing(tmp_path: Path, split: str, hint: str) -> None:
    root = _split_folders(tmp_path, "train", "val")
    with pytest.raises(DataError, match=hint):
        load_dataset(root, needs=("train", split))


def test_needed_split_cannot_be_divided_off(tmp_path: Path, paint: Paint) -> None:
    for seed, name in enumerate(("Glass", "Metal")):
        paint(tmp_path / name / "0.jpg", seed)
    assert set(load_dataset(tmp_path).splits) == {"train"}
    with pytest.raises(DataError, match="too few photos to be divided"):
        load_dataset(tmp_path, needs=("train", "val"))
    with pytest.raises(DataError, match="NoLabel"):
        load_dataset(tmp_path, needs=("unlabelled",))


def test_what_is_no_photo_is_ignored_and_told(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    for name in (
        "train/Glass/Thumbs.db",
        "train/Glass/.hidden.jpg",
        "train/Glass/._0.jpg",
        "train/.cache/x.jpg",
        "train/Metal/@eaDir/0.jpg",
        "train/loose.jpg",
        "README.md",
        "extra/Glass/0.jpg",
        "__MACOSX/train/Glass/0.jpg",
        "index.csv",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert len(load_dataset(root).split("train")) == 4
    assert scan(root).ignored == (
        "README.md",
        "extra/Glass/0.jpg",
        "train/Glass/Thumbs.db",
        "train/loose.jpg",
    )


def test_suffixes_in_capitals_and_nested_folders_count(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    for name in ("a.JPG", "monday/b.PNG", "monday/late/c.HEIC"):
        (root / "train/Glass" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train/Glass" / name).touch()
    names = _names(load_dataset(root))["train"]
    assert names[2:5] == ["train/Glass/a.JPG", "train/Glass/monday/b.PNG", "train/Glass/monday/late/c.HEIC"]


def test_unicode_forms_of_a_name_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Plástico") for form in ("NFC", "NFD"))
    _split_folders(tmp_path, "train", classes=(composed, "유리"))
    _split_folders(tmp_path, "val", classes=(decomposed, unicodedata.normalize("NFD", "유리")))
    dataset = load_dataset(tmp_path)
    assert dataset.classes == (composed, "유리")
    assert [sample.label for sample in dataset.split("val")] == [0, 0, 1, 1]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes exist on POSIX alone")
def test_names_that_are_no_text_become_printable(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    raw = os.fsencode(root / "train" / "Glass") + b"/bottle\xe9.jpg"
    try:
        Path(os.fsdecode(raw)).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    sample = load_dataset(root).split("train")[2]
    assert sample.name == "train/Glass/bottle\\xe9.jpg"
    assert sample.path.exists()


def test_links_are_followed_loops_are_not_and_broken_ones_are_kept(tmp_path: Path) -> None:
    root = _split_folders(tmp_path / "data", "train", "val")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.jpg").touch()
    (root / "train/Glass/linked").symlink_to(elsewhere)
    (root / "train/Glass/loop").symlink_to(root / "train/Glass")
    (root / "train/Glass/broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "train/Glass/pipe.jpg")
    names = _names(load_dataset(root))["train"]
    assert names[:4] == [
        "train/Glass/0.jpg",
        "train/Glass/1.jpg",
        "train/Glass/broken.jpg",
        "train/Glass/linked/far.jpg",
    ]
    assert len(names) == 6


def test_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _split_folders(tmp_path, "train", "val", classes=("b", "a", "c"))
    expected = load_dataset(root)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert load_dataset(root) == expected


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("file,source\ntrain/Glass/0.jpg,phone\n./val/Metal/1.jpg,web\n", True),
        ("﻿source,other,file\nphone,1,train\\Glass\\0.jpg,surplus\nweb,2,val/Metal/1.jpg\n", True),
        ("file,source\ntrain/Glass/0.jpg,phone\nval/Metal/1.jpg,web\nnot/there.jpg,x\nshort\n,,\n", True),
        ("file,class\ntrain/Glass/0.jpg,Glass\n", False),
        ("", False),
        (f"file,source\n{'x' * 200_000},phone\n", False),
    ],
)
def test_index_file_names_the_parts(tmp_path: Path, table: str, parts: bool) -> None:
    root = _split_folders(tmp_path, "train", "val")
    (root / "index.csv").write_text(table, encoding="utf-8")
    expected = {"train/Glass/0.jpg": "phone", "val/Metal/1.jpg": "web"} if parts else {}
    assert load_dataset(root).parts == expected


def _refused(root: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(root)
    assert "\n" not in str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "missing", "missing: no such folder")


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("photos.zip", r"unpack it first \(unzip photos.zip\)"),
        ("photos.tar.gz", r"\(tar xzf photos.tar.gz\)"),
        ("photo.jpg", "a file; name the folder"),
    ],
)
def test_a_file_is_no_folder(tmp_path: Path, name: str, way_out: str) -> None:
    (tmp_path / name).touch()
    _refused(tmp_path / name, way_out)


def test_empty_folder(tmp_path: Path) -> None:
    _refused(tmp_path, "no class folder in it; make one folder a class")


def test_loose_photos(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    _refused(tmp_path, "photos lie loose in it; sort them into one folder a class")


def test_loose_photos_in_test(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    (root / "test").mkdir()
    (root / "test/0.jpg").touch()
    _refused(root, r"test: photos lie loose.* put photos without a label into .*NoLabel")


def test_only_one_class(tmp_path: Path) -> None:
    _refused(_split_folders(tmp_path, "train", "val", classes=("Glass",)), r"only one class \(Glass\)")


def test_one_folder_too_high(tmp_path: Path) -> None:
    _split_folders(tmp_path, "unpacked")
    _refused(tmp_path, r"only one class \(unpacked\).* or did you mean .*unpacked\?")


def test_empty_class(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    (root / "train/Paper").mkdir()
    _refused(root, "train.Paper: no photos in it; add some, or remove the folder")
    assert load_dataset(root, needs=()).classes == ("Glass", "Metal", "Paper")


def test_all_classes_empty(tmp_path: Path) -> None:
    (tmp_path / "train/Glass").mkdir(parents=True)
    (tmp_path / "train/Metal").mkdir()
    _refused(tmp_path, r"no photos in its class folders \(Glass, Metal\)")


@pytest.mark.parametrize("split", ["valid", "test"])
def test_class_that_train_does_not_have(tmp_path: Path, split: str) -> None:
    root = _split_folders(tmp_path, "train", split)
    _split_folders(root, split, classes=("Paper",))
    _refused(root, rf"{split}.Paper: no class of this name in .*train; known are: Glass, Metal")


def test_empty_class_folder_of_val_that_train_does_not_have(tmp_path: Path) -> None:
    root = _split_folders(tmp_path, "train", "val")
    (root / "val/Paper").mkdir()
    assert load_dataset(root).classes == ("Glass", "Metal")


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    _refused(_split_folders(tmp_path, "train", "val", "valid"), "valid: beside val, a second folder for val")


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # also where the tests run as root
    _refused(tmp_path, r"cannot be read \(Permission denied\); check its permissions")
