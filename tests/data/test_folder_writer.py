from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from wisp.data.folder_writer import write_folders
from wisp.data.folders import load_dataset
from wisp.errors import DataError
from wisp.records import Dataset

Paint = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path, paint: Paint) -> Dataset:
    """One folder a class, 20 photos each, with a sub-folder, unlabelled photos and parts."""
    root = tmp_path / "photos"
    for number in range(20):
        paint(root / "Glass" / f"{number}.jpg", number)
        paint(root / "Metal" / "monday" / f"{number}.jpg", 100 + number)
    paint(root / "NoLabel" / "x.jpg", 500)
    (root / "index.csv").write_text("file,source\nGlass/0.jpg,phone\nMetal/monday/3.jpg,robot\n")
    return load_dataset(root, progress=False)


def _inside(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("copy", [False, True])
def test_written_folders_read_back_as_the_same_division(dataset: Dataset, tmp_path: Path, copy: bool) -> None:
    out = tmp_path / "deep" / "out"
    write_folders(dataset, out, copy=copy)
    again = load_dataset(out)
    assert again.classes == dataset.classes
    for split in ("train", "val", "test"):
        assert [(f"{split}/{sample.name}", sample.label) for sample in dataset.split(split)] == [
            (sample.name, sample.label) for sample in again.split(split)
        ]
    assert [sample.name for sample in again.split("unlabelled")] == ["test/NoLabel/x.jpg"]
    assert sorted(again.parts.values()) == ["phone", "robot"]
    assert {name.partition("/")[2] for name in again.parts} == {"Glass/0.jpg", "Metal/monday/3.jpg"}
    assert [path.name for path in out.parent.iterdir()] == ["out"], "nothing half-written stays"
    sample = again.split("train")[0]
    assert (sample.path.stat().st_nlink == 1) == copy


def test_where_hard_links_fail_photos_are_copied(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_folders(dataset, tmp_path / "out")
    assert load_dataset(tmp_path / "out").split("train")[0].path.stat().st_nlink == 1


def test_an_empty_folder_is_taken_a_full_one_is_not(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_folders(dataset, out)
    before = _inside(out)
    with pytest.raises(DataError, match="out: exists already; name a new or an empty folder"):
        write_folders(dataset, out)
    assert _inside(out) == before


def test_inside_the_data_folder_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="where it would count as a class"):
        write_folders(dataset, dataset.root / "out")


def test_photo_that_vanished_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    dataset.split("train")[3].path.unlink()
    with pytest.raises(DataError, match=r"cannot be copied \(No such file or directory\)"):
        write_folders(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_same_name_in_both_unicode_forms_of_a_class(tmp_path: Path, paint: Paint) -> None:
    root = tmp_path / "photos"
    for form, seed in (("NFC", 1), ("NFD", 2)):
        paint(root / "train" / unicodedata.normalize(form, "Plástico") / "0.jpg", seed)
    if len(list((root / "train").iterdir())) == 1:
        pytest.skip("this file system takes both forms for one")
    paint(root / "train" / "Glass" / "0.jpg", 3)
    paint(root / "val" / "Glass" / "0.jpg", 4)
    write_folders(load_dataset(root), tmp_path / "out")
    assert _inside(tmp_path / "out") == {
        "train/Plástico/0.jpg",
        "train/Plástico/0-2.jpg",
        "train/Glass/0.jpg",
        "val/Glass/0.jpg",
    }
