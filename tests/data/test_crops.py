"""Crops of synthetic photos whose every object has a colour of its own, and of the real TACO."""

from __future__ import annotations

import csv
import json
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from wisp.data import crops as crops_module
from wisp.data.coco import Coco, read_coco
from wisp.data.crops import CropReport, crop_objects
from wisp.data.photo_store import open_store
from wisp.errors import DataError, RecipeError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
_TURN_BACK = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


class Scene:
    """Photos under construction: coloured boxes on grey, and their annotations."""

    def __init__(self, root: Path) -> None:
        self.images = root / "images"
        self.images.mkdir()
        self.document: dict[str, Any] = {
            "images": [],
            "categories": [{"id": n, "name": name} for n, name in enumerate(("Red", "Green", "Blue"))],
            "annotations": [],
        }

    def photo(
        self,
        name: str,
        boxes: list[tuple[int, tuple[float, float, float, float]]],
        *,
        size: tuple[int, int] = (100, 80),
        orientation: int = 1,
        **overrides: Any,
    ) -> None:
        """Draw `boxes` (category, x y w h) on an upright photo and store it as `orientation` says."""
        image = Image.new("RGB", size, (128, 128, 128))
        number = len(self.document["images"])
        self.document["images"].append(
            {"id": number, "file_name": name, "width": size[0], "height": size[1], **overrides}
        )
        for category, (x, y, w, h) in boxes:
            image.paste((RED, GREEN, BLUE)[category], (round(x), round(y), round(x + w), round(y + h)))
            self.annotate(number, category, [x, y, w, h])
        exif = Image.Exif()
        exif[0x0112] = orientation
        if turn := _TURN_BACK.get(orientation):
            image = image.transpose(turn)
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))

    def annotate(self, image: int, category: int, bbox: list[float], **fields: Any) -> None:
        number = len(self.document["annotations"]) + 1
        self.document["annotations"].append(
            {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **fields}
        )

    def coco(self) -> Coco:
        return read_coco(json.dumps(self.document).encode(), "coco.json")

    def crop(self, out: Path, **options: Any) -> CropReport:
        return crop_objects(self.coco(), open_store(self.images), out, progress=False, **options)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def rows(out: Path, name: str = "index.csv") -> list[dict[str, str]]:
    with (out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def colour(path: Path) -> tuple[int, ...]:
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return tuple(int(value > 128) * 255 for value in np.median(pixels, axis=0))


def tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".wisp.lock"
    }


def test_every_object_lands_in_its_class(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.jpg", [(0, (10, 10, 20, 30)), (1, (50, 20, 30, 40))])
    scene.photo("sub/b.png", [(2, (0, 0, 40, 20))])
    report = scene.crop(tmp_path / "out", split=None, source="mine")
    assert report.counts == {"": {"Blue": 1, "Green": 1, "Red": 1}}
    assert (report.total, report.written, report.clipped) == (3, 3, 0)
    table = rows(tmp_path / "out")
    assert [row["file"] for row in table] == ["Red/a_1.jpg", "Green/a_2.jpg", "Blue/sub-b_3.jpg"]
    assert table[0] == {
        "file": "Red/a_1.jpg",
        "class": "Red",
        "source": "mine",
        "group": "a.jpg",
        "annotation_id": "1",
        "category": "Red",
        "x": "8",
        "y": "7",
        "w": "24",
        "h": "36",
    }
    for row in table:
        path = tmp_path / "out" / row["file"]
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert image.size == (int(row["w"]), int(row["h"]))
        assert colour(path) == {"Red": RED, "Green": GREEN, "Blue": BLUE}[row["class"]]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_boxes_on_upright_photos(scene: Scene, tmp_path: Path, orientation: int, suffix: str) -> None:
    scene.photo(f"a.{suffix}", [(0, (5, 10, 20, 40)), (1, (60, 5, 30, 20))], orientation=orientation)
    scene.crop(tmp_path / "out", split=None, margin=0)
    for row in rows(tmp_path / "out"):
        assert colour(tmp_path / "out" / row["file"]) == {"Red": RED, "Green": GREEN}[row["class"]]
        assert (row["w"], row["h"]) == {"Red": ("20", "40"), "Green": ("30", "20")}[row["class"]]


@pytest.mark.parametrize(("orientation", "stored"), [(6, [10, 75, 40, 20]), (8, [30, 5, 40, 20])])
@pytest.mark.parametrize("scale", [1, 4])
def test_boxes_on_pixels_as_stored(
    scene: Scene, tmp_path: Path, orientation: int, stored: list[float], scale: int
) -> None:
    scene.photo("a.jpg", [(0, (5, 10, 20, 40))], orientation=orientation)
    # Annotated with a tool that ignores EXIF, perhaps on a larger original: 80 x 100 instead of 100 x 80.
    scene.document["images"][0].update(width=80 * scale, height=100 * scale)
    scene.document["annotations"][0]["bbox"] = [value * scale for value in stored]
    scene.crop(tmp_path / "out", split=None, margin=0)
    (row,) = rows(tmp_path / "out")
    assert (row["x"], row["y"], row["w"], row["h"]) == ("5", "10", "20", "40")
    assert colour(tmp_path / "out" / row["file"]) == RED


def test_crops_come_straight_from_a_zip(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.jpg", [(0, (10, 10, 20, 30))])
    scene.photo("b.jpg", [(1, (10, 10, 20, 30))])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in scene.images.iterdir():
            archive.write(path, f"deep/{path.name.upper()}")
    scene.crop(tmp_path / "folder")
    crop_objects(scene.coco(), open_store(tmp_path / "x.zip"), tmp_path / "zip", progress=True)
    assert tree(tmp_path / "zip") == tree(tmp_path / "folder")


def test_margins_stop_at_the_photo(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.jpg", [(0, (0, 30, 100, 20))])
    scene.crop(tmp_path / "out", split=None, margin=0.5)
    (row,) = rows(tmp_path / "out")
    assert (row["x"], row["y"], row["w"], row["h"]) == ("0", "20", "100", "40")


def test_class_maps_and_what_they_leave_out(scene: Scene, tmp_path: Path) -> None:
    scene.photo(
        "a.jpg", [(0, (10, 10, 20, 30)), (1, (50, 20, 30, 40)), (2, (0, 0, 20, 20)), (2, (0, 50, 20, 20))]
    )
    report = scene.crop(
        tmp_path / "out", class_map={"Red": "Warm", "Green": "Warm", "Blue": "", "Else": "X"}, split=None
    )
    assert report.counts == {"": {"Warm": 2}}
    assert report.unmapped() == {"Blue": 2}
    assert report.reasons() == {"category not in the class map": 2}
    assert json.loads((tmp_path / "out" / "crops.json").read_text())["unmapped"] == {"Blue": 2}
    assert rows(tmp_path / "out", "left_out.csv")[0] == {
        "annotation_id": "3",
        "photo": "a.jpg",
        "category": "Blue",
        "reason": "category not in the class map",
    }


def test_boxes_that_give_no_crop_are_counted(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.jpg", [(0, (10, 10, 20, 30))])
    scene.annotate(0, 0, [10, 10, 15, 15])  # small
    scene.annotate(0, 0, [10, 10, 3, 16])  # long enough
    scene.annotate(0, 0, [200, 10, 20, 20])  # outside
    scene.annotate(0, 0, [90, 70, 40, 40])  # ten pixels of it inside
    scene.annotate(0, 0, [-10, 10, 30, 20])  # partly outside
    scene.annotate(0, 0, [10, 10, 0, 5])
    scene.annotate(77, 0, [10, 10, 30, 20])
    report = scene.crop(tmp_path / "out", split=None)
    assert report.total == 3
    assert report.clipped == 1
    assert report.reasons() == {
        "box smaller than the minimal size": 2,
        "box without area": 1,
        "unknown image id": 1,
        "box outside the photo": 1,
    }
    assert len(report.left_out) + report.total == len(scene.document["annotations"])


def test_photos_that_cannot_be_used_are_named(scene: Scene, tmp_path: Path) -> None:
    box = (0, (10.0, 10.0, 20.0, 30.0))
    scene.photo("good.jpg", [box])
    scene.photo("missing.jpg", [box, box])
    scene.photo("text.jpg", [box])
    scene.photo("cut.jpg", [box])
    scene.photo("other.jpg", [box], width=1000, height=500)
    scene.photo("../up.jpg", [box])
    (scene.images / "missing.jpg").unlink()
    (scene.images / "text.jpg").write_text("no photo")
    (scene.images / "cut.jpg").write_bytes((scene.images / "cut.jpg").read_bytes()[:700])
    report = scene.crop(tmp_path / "out", split=None)
    assert report.total == 1
    assert report.reasons() == {
        "photo missing": 3,
        "photo unreadable": 2,
        "photo does not have the annotated aspect ratio": 1,
    }
    problems = " | ".join(report.photo_problems)
    for name in ("missing.jpg: photo missing", "text.jpg: photo unreadable (", "cut.jpg: photo unreadable ("):
        assert name in problems
    assert "other.jpg: photo does not have the annotated aspect ratio (annotated: (1000, 500))" in problems


def test_a_damaged_photo_in_a_zip_is_named(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.jpg", [(0, (10, 10, 20, 30))])
    scene.photo("b.jpg", [(0, (10, 10, 20, 30))])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.jpg", "b.jpg"):
            archive.write(scene.images / name, name)
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    raw[300] ^= 255
    (tmp_path / "x.zip").write_bytes(raw)
    report = crop_objects(scene.coco(), open_store(tmp_path / "x.zip"), tmp_path / "out", progress=False)
    assert report.reasons() == {"photo unreadable": 1}


def test_the_crops_of_a_photo_never_cross_a_split(scene: Scene, tmp_path: Path) -> None:
    for number in range(40):
        scene.photo(
            f"{number}.png", [(0, (1, 1, 20, 20)), (1 + number % 2, (50, 5, 30, 20)), (0, (5, 50, 20, 20))]
        )
    # Merged sets list one photo twice.
    scene.document["images"].append({**scene.document["images"][0], "id": 1000})
    scene.annotate(1000, 2, [50, 50, 20, 20])
    report = scene.crop(tmp_path / "out")
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows(tmp_path / "out"):
        splits[row["group"]].add(row["file"].split("/")[0])
    assert all(len(split) == 1 for split in splits.values())
    assert {split: sum(of.values()) for split, of in report.counts.items()} == {
        "train": pytest.approx(97, abs=4),
        "val": pytest.approx(12, abs=4),
        "test": pytest.approx(12, abs=4),
    }
    assert all(of_class.keys() == {"Red", "Green", "Blue"} for of_class in report.counts.values())
    scene.crop(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "out")
    scene.crop(tmp_path / "seed", seed=1)
    assert tree(tmp_path / "seed").keys() != tree(tmp_path / "out").keys()


def test_workers_change_nothing(scene: Scene, tmp_path: Path) -> None:
    for number in range(12):
        scene.photo(f"{number}.png", [(number % 3, (1, 1, 20, 20))])
    scene.crop(tmp_path / "one", workers=1)
    scene.crop(tmp_path / "four", workers=4)
    assert tree(tmp_path / "one") == tree(tmp_path / "four")


def test_resuming_keeps_what_is_there(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        scene.photo(f"{number}.png", [(number % 3, (1, 1, 20, 20))])
    out = tmp_path / "out"
    scene.crop(tmp_path / "whole")
    decode, lock, left = crops_module.open_photo, threading.Lock(), [3]

    def killed(source: Any) -> Image.Image:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return decode(source)

    monkeypatch.setattr(crops_module, "open_photo", killed)
    with pytest.raises(KeyboardInterrupt):
        scene.crop(out, workers=1)
    monkeypatch.undo()
    assert len(list(out.rglob("*.jpg"))) == 3
    (out / "train" / ".part-x.jpg").write_bytes(b"half")  # of a killed process
    report = scene.crop(out)
    assert (report.written, report.total) == (3, 6)
    assert tree(out) == tree(tmp_path / "whole")
    monkeypatch.setattr(crops_module, "open_photo", killed)  # nothing is decoded the third time
    assert scene.crop(out).written == 0


def test_photos_that_turn_up_later_join_their_split(scene: Scene, tmp_path: Path) -> None:
    for number in range(10):
        scene.photo(f"{number}.png", [(0, (1, 1, 20, 20))])
    scene.crop(tmp_path / "whole")
    hidden = (scene.images / "3.png").rename(tmp_path / "3.png")
    assert scene.crop(tmp_path / "out").total == 9
    hidden.rename(scene.images / "3.png")
    assert scene.crop(tmp_path / "out").written == 1
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_other_settings_are_refused_or_replace(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30)), (1, (50, 20, 30, 40))])
    out = tmp_path / "out"
    scene.crop(out)
    with pytest.raises(DataError, match=r"other settings \(margin: 0\.1 there, 0\.2 now\)"):
        scene.crop(out, margin=0.2)
    with pytest.raises(
        DataError, match=r"other settings \(class_map, split\); use another --out or --overwrite"
    ):
        scene.crop(out, class_map={"Red": "A"}, split=None)
    (out / "link").symlink_to(scene.images)
    scene.crop(out, class_map={"Red": "A"}, split=None, overwrite=True)
    assert sorted(tree(out)) == ["A/a_1.jpg", "crops.json", "index.csv", "left_out.csv"]
    assert (scene.images / "a.png").is_file()
    scene.document["annotations"].pop()
    with pytest.raises(DataError, match=r"other settings \(annotations_sha256"):
        scene.crop(out, class_map={"Red": "A"}, split=None)


def test_folders_of_somebody_else_are_left_alone(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30))])
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not empty, and not written by this command"):
            scene.crop(out, overwrite=overwrite)
    assert tree(out) == {"mine.txt": b"mine"}
    with pytest.raises(DataError, match="a file; --out needs a folder"):
        scene.crop(out / "mine.txt")
    (out / "mine.txt").rename(out / "crops.json")
    with pytest.raises(DataError, match=r"crops\.json: damaged"):
        scene.crop(out)


def test_two_processes_do_not_share_a_folder(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30))])
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".wisp.lock"), pytest.raises(DataError, match="another wisp process"):
        scene.crop(out)
    assert scene.crop(out).total == 1


def test_nothing_to_cut_leaves_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scene.photo("a.png", [(0, (10, 10, 5, 5))])
    with pytest.raises(DataError, match=r"no crop could be made \(box smaller than the minimal size: 1\)"):
        scene.crop(out)
    with pytest.raises(DataError, match=r"no usable annotation has a class \(categories: Blue, Green, Red"):
        scene.crop(out, class_map={"Bule": "Blue"})
    (scene.images / "a.png").unlink()
    with pytest.raises(DataError, match=r"none of the photos of coco\.json is in here \(first: a\.png\)"):
        scene.crop(out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a\\b", "C:", "tail ", "what?"])
def test_class_names_must_be_folder_names(scene: Scene, tmp_path: Path, name: str) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30))])
    with pytest.raises(DataError, match="cannot be a folder's name"):
        scene.crop(tmp_path / "out", class_map={"Red": name})


def test_names_stay_apart_and_short(scene: Scene, tmp_path: Path) -> None:
    scene.photo("x/" + "ü" * 120 + ".png", [(0, (10, 10, 20, 30)), (0, (40, 10, 20, 30))])
    scene.document["annotations"][1]["id"] = 1
    scene.photo("!?.png", [(0, (10, 10, 20, 30))])
    report = scene.crop(tmp_path / "out", split=None)
    names = [row["file"] for row in rows(tmp_path / "out")]
    assert report.total == len(set(names)) == 3
    assert "Red/" + "ü" * 40 + "_1-2.jpg" in names


def test_a_crop_longer_than_jpeg_allows(scene: Scene, tmp_path: Path) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30)), (0, (0, 0, 66_000, 5))], size=(66_000, 60))
    report = scene.crop(tmp_path / "out", split=None)
    assert report.reasons() == {"crop longer than 65,500 pixels": 1}


def test_a_photo_that_decodes_to_another_size(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30))])
    monkeypatch.setattr(crops_module, "open_photo", lambda _: Image.new("RGB", (7, 7)))
    with pytest.raises(DataError, match="photo unreadable: 1"):
        scene.crop(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must be between 0 and 10"),
        ({"margin": float("nan")}, "margin must be between 0 and 10"),
        ({"min_size": 0}, "min-size must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"split": {"train": 0.8, "val": 0.1, "test": 0.2}}, "fractions that sum to 1, got 0.8,0.1,0.2"),
        ({"split": {"train": 1.5, "val": -0.5, "test": 0}}, "fractions that sum to 1"),
        ({"split": {"train": float("nan"), "val": 0.5, "test": 0}}, "fractions that sum to 1"),
        ({"split": {"train": 0.0, "val": 0.5, "test": 0.5}}, "nothing for train"),
    ],
)
def test_options_that_make_no_sense(
    scene: Scene, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    scene.photo("a.png", [(0, (10, 10, 20, 30))])
    with pytest.raises(RecipeError, match=message):
        scene.crop(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def _only(coco: Coco, keep: Callable[[str], bool]) -> Coco:
    return Coco(
        coco.where,
        coco.sha256,
        coco.photos,
        tuple(item for item in coco.objects if keep(item.photo.file_name)),
        coco.categories,
        (),
    )


def test_real_taco_photos_scaled_boxes_agree(shared_data: Path, tmp_path: Path) -> None:
    """The official annotations, made for the originals, cut the same objects out of the small copies."""
    store = open_store(shared_data / "taco" / "taco416.zip")
    small = _only(
        read_coco(store.read("annotations.json"), "small"), lambda name: name.startswith("batch_3/")
    )
    official = _only(
        read_coco((shared_data / "taco" / "annotations.json").read_bytes(), "official"),
        lambda name: name.startswith("batch_3/"),
    )
    reports = {
        name: crop_objects(coco, store, tmp_path / name, split=None, progress=False)
        for name, coco in (("small", small), ("official", official))
    }
    assert reports["small"].total > 100
    boxes = {
        name: {row["annotation_id"]: [int(row[key]) for key in "xywh"] for row in rows(tmp_path / name)}
        for name in reports
    }
    assert boxes["official"].keys() == boxes["small"].keys()
    for key, box in boxes["small"].items():
        assert box == pytest.approx(boxes["official"][key], abs=1), key
