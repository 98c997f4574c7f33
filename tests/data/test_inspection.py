from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wisp.data.inspection import SYNTHETIC_WARNING, Spread, inspect_folder
from wisp.data.synthetic import render_dataset
from wisp.errors import DataError

Paint = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, paint: Paint) -> Path:
    """A sound data set: two classes, 20 training photos each."""
    for split, first, count in (("train", 0, 20), ("val", 50, 3), ("test", 60, 3)):
        for label, name in enumerate(("Glass", "Metal")):
            for number in range(count):
                paint(tmp_path / "data" / split / name / f"{number}.jpg", 100 * label + first + number)
    return tmp_path / "data"


def test_sound_data_set(photos: Path) -> None:
    inspection, dataset = inspect_folder(photos, progress=False)
    assert inspection.warnings == ()
    assert inspection.is_split
    assert inspection.classes == dataset.classes == ("Glass", "Metal")
    assert inspection.counts == {
        "train": {"Glass": 20, "Metal": 20},
        "val": {"Glass": 3, "Metal": 3},
        "test": {"Glass": 3, "Metal": 3},
    }
    assert inspection.n_images == 52
    assert inspection.imbalance == 1
    assert inspection.widths == Spread(64, 64, 64, 64, 64)
    assert inspection.aspect_ratios is not None
    assert inspection.aspect_ratios.median == pytest.approx(4 / 3, abs=1e-4)
    assert inspection.formats == {"JPEG": 52}
    assert inspection.duplicates == inspection.leaks == ()
    assert json.loads(json.dumps(inspection.to_json()))["n_images"] == 52


def test_duplicates_inside_and_across_splits(photos: Path, paint: Paint) -> None:
    shutil.copy(photos / "train/Glass/0.jpg", photos / "train/Glass/copy.jpg")
    shutil.copy(photos / "train/Glass/1.jpg", photos / "test/Glass/leak.jpg")
    paint(photos / "val/Glass/near.jpg", 2, quality=50)  # the shot of train/Glass/2.jpg
    shutil.copy(photos / "train/Glass/3.jpg", photos / "train/Metal/wrong.jpg")
    (photos / "test/NoLabel").mkdir()
    shutil.copy(photos / "train/Metal/4.jpg", photos / "test/NoLabel/known.jpg")
    inspection, _ = inspect_folder(photos, progress=False)
    found = [(group.kind, [photo.name for photo in group.photos]) for group in inspection.duplicates]
    assert found == [
        ("exact", ["train/Glass/0.jpg", "train/Glass/copy.jpg"]),
        ("exact", ["train/Glass/1.jpg", "test/Glass/leak.jpg"]),
        ("near", ["train/Glass/2.jpg", "val/Glass/near.jpg"]),
        ("exact", ["train/Glass/3.jpg", "train/Metal/wrong.jpg"]),
        ("exact", ["train/Metal/4.jpg", "test/NoLabel/known.jpg"]),
    ]
    assert [group.leaks for group in inspection.duplicates] == [False, True, True, False, True]
    assert [group.contradicts for group in inspection.duplicates] == [False, False, False, True, False]
    assert inspection.warnings == (
        "leakage: 3 shots have photos in more than one split, which makes results on val and test look better "
        "than they are",
        "labels: 1 shot has more than one label (first: train/Glass/3.jpg = train/Metal/wrong.jpg)",
    )
    assert inspection.counts["unlabelled"] == {"": 1}
    assert len(inspection.to_json()["leaks"]) == 3


def test_unreadable_files_are_listed_with_their_reason(photos: Path) -> None:
    (photos / "train/Glass/empty.jpg").touch()
    (photos / "val/Glass/empty.jpg").touch()
    (photos / "train/Metal/text.png").write_text("hello")
    inspection, _ = inspect_folder(photos, progress=False)
    assert list(inspection.unreadable) == [
        "train/Glass/empty.jpg",
        "train/Metal/text.png",
        "val/Glass/empty.jpg",
    ]
    assert inspection.unreadable["train/Glass/empty.jpg"] == "the file is empty"
    assert inspection.duplicates == ()
    assert inspection.warnings == ("unreadable: 3 photos; training stops at them unless --skip-unreadable",)


def test_imbalance_small_classes_and_tiny_photos(photos: Path, paint: Paint) -> None:
    for number in range(3, 20):
        (photos / f"train/Metal/{number}.jpg").unlink()
    for number in range(31, 43):
        paint(photos / f"train/Glass/{number}.jpg", 200 + number, size=(15, 400))
    shutil.rmtree(photos / "test/Metal")
    (photos / "notes.txt").touch()
    inspection, _ = inspect_folder(photos, progress=False)
    assert inspection.imbalance == pytest.approx(32 / 3)
    assert inspection.warnings == (
        "imbalance: the largest class has 10.7 times the photos of the smallest",
        "under 20 training photos: Metal 3",
        "no test photos of: Metal",
        "tiny: 12 photos (27.3%) under 16 pixels high or wide show little",
        "ignored: 1 files that are no photos or lie outside the class folders (first: notes.txt)",
    )


def test_missing_splits(photos: Path) -> None:
    shutil.rmtree(photos / "val")
    shutil.rmtree(photos / "test")
    inspection, _ = inspect_folder(photos, progress=False)
    assert inspection.counts == {"train": {"Glass": 17, "Metal": 17}, "val": {"Glass": 3, "Metal": 3}}
    assert inspection.warnings[:2] == (
        "no val folder: 6 photos of train are used as val",
        "no test photos: the final score can only be measured on val, which flatters it",
    )


def test_one_folder_a_class_never_leaks(tmp_path: Path, paint: Paint) -> None:
    for number in range(30):
        for copy in range(2):
            paint(
                tmp_path / ("Glass" if number % 2 else "Metal") / f"{number}-{copy}.jpg",
                number,
                quality=90 - copy,
            )
    inspection, dataset = inspect_folder(tmp_path, progress=False)
    assert not inspection.is_split
    assert len(inspection.duplicates) == 30
    assert inspection.leaks == ()
    assert set(dataset.splits) == {"train", "val", "test"}


def test_test_folder_alone(photos: Path) -> None:
    shutil.rmtree(photos / "train")
    shutil.rmtree(photos / "val")
    inspection, _ = inspect_folder(photos, progress=False)
    assert inspection.imbalance is None
    assert inspection.warnings == ("no training photos; this folder serves to evaluate only",)


def test_single_and_empty_classes_are_warned_of(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "Glass/0.jpg", 0)
    inspection, _ = inspect_folder(tmp_path, progress=False)
    assert "only one class; a classifier needs at least two" in inspection.warnings
    assert "no val photos: training cannot tell which epoch was the best" in inspection.warnings
    (tmp_path / "Metal").mkdir()
    inspection, _ = inspect_folder(tmp_path, progress=False)
    assert inspection.imbalance is None
    assert "under 20 training photos: Glass 1, Metal 0" in inspection.warnings


def test_nothing_readable(tmp_path: Path) -> None:
    for name in ("Glass", "Metal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_text(name)
    inspection, _ = inspect_folder(tmp_path, progress=False)
    assert inspection.widths is None
    assert len(inspection.unreadable) == 2


def test_no_photos_at_all(tmp_path: Path) -> None:
    (tmp_path / "Glass").mkdir()
    with pytest.raises(DataError, match=r"no photos in its class folders \(Glass\)"):
        inspect_folder(tmp_path)


def test_rendered_pictures_are_called_synthetic(tmp_path: Path) -> None:
    render_dataset(tmp_path / "rendered", images=60, seed=0, workers=1, progress=False)
    inspection, _ = inspect_folder(tmp_path / "rendered", progress=False)
    assert inspection.warnings[0] == SYNTHETIC_WARNING
    assert inspection.ignored == ()
