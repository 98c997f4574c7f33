"""The procedural renderer: every shape, every ground, the plan, the folder on disk."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wisp.data.folders import load_dataset
from wisp.data.synthetic import (
    CLASSES,
    SyntheticDataset,
    dataset,
    is_synthetic,
    render_dataset,
    render_photo,
    render_scene_photo,
)
from wisp.data.synthetic.backgrounds import GROUNDS, ground
from wisp.data.synthetic.objects import FAMILIES
from wisp.data.synthetic.paint import Pose, View, box, circle, polygon
from wisp.data.synthetic.placing import place
from wisp.data.synthetic.plan import COMPETITION_COUNTS, FEWEST_IMAGES, class_counts, split_counts
from wisp.errors import DataError, WispError
from wisp.records import TEST, TRAIN, VAL

SHAPES = [(name, family) for name, families in FAMILIES.items() for family, _ in families]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_there_are_several_shapes_of_each_of_nine_classes() -> None:
    assert len(CLASSES) == 9
    assert list(CLASSES) == sorted(COMPETITION_COUNTS)
    assert all(len(families) >= 3 for families in FAMILIES.values())
    for families in FAMILIES.values():
        assert sum(share for _, share in families) == pytest.approx(1)


@pytest.mark.parametrize(("name", "family"), SHAPES, ids=lambda value: getattr(value, "__name__", value))
def test_every_shape_paints_in_any_pose(name: str, family: Any) -> None:
    for seed in range(4):
        random = rng(seed)
        thing = family(random)
        canvas = ground(random, (90, 110), 1.0)
        before = canvas.copy()
        pose = Pose.random(random, thing.softness)
        cover = place(random, canvas, thing, centre=(55, 45), scale=36, pose=pose, light=seed + 0.3)
        assert np.isfinite(canvas).all()
        assert canvas.min() >= 0
        assert canvas.max() <= 1
        assert cover.min() >= 0
        assert cover.max() <= 1 + 1e-5
        reach_x, reach_y = pose.reach(thing.half)
        assert 0.08 < cover.sum() / (4 * reach_x * reach_y * 36**2) < 1.3
        assert np.abs(canvas - before)[cover > 0.9].mean() > 0.02


def test_an_object_outside_the_picture_leaves_it_alone() -> None:
    random = rng(0)
    thing = SHAPES[0][1](random)
    canvas = np.full((20, 20, 3), 0.5, np.float32)
    cover = place(random, canvas, thing, centre=(500, 500), scale=10, pose=Pose(), light=1.0)
    assert cover.shape == (20, 20)
    assert not cover.any()
    assert (canvas == 0.5).all()


@pytest.mark.parametrize("make", [make for make, _ in GROUNDS], ids=lambda make: make.__name__)
def test_every_ground_is_a_texture(make: Any) -> None:
    for seed, shape, scale in ((0, (64, 96), 1.0), (1, (5, 90), 0.3), (2, (120, 40), 3.0)):
        picture = make(rng(seed), shape, scale)
        assert picture.shape == (*shape, 3)
        assert np.isfinite(picture).all()
        assert picture.std() > 0.005


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_signed_distances_against_closed_forms(x: float, y: float) -> None:
    at = (np.full((1, 1), x, np.float32), np.full((1, 1), y, np.float32))
    assert circle(*at, 1.5)[0, 0] == pytest.approx(np.hypot(x, y) - 1.5, abs=1e-4)
    inside = max(abs(x) - 1, abs(y) - 0.5)
    outside = np.hypot(max(abs(x) - 1, 0), max(abs(y) - 0.5, 0))
    expected = outside if inside > 0 else inside
    assert box(*at, 1.0, 0.5)[0, 0] == pytest.approx(expected, abs=1e-4)
    corners = [(-1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (-1.0, 0.5)]
    assert polygon(*at, corners)[0, 0] == pytest.approx(expected, abs=1e-3)


def test_a_turned_view_sees_turned_coordinates() -> None:
    behind = np.zeros((41, 41, 3), np.float32)
    view = View.of(
        behind, centre=(20.5, 20.5), scale=20, pose=Pose(angle=np.pi / 2), light=np.pi / 2, rng=rng(0)
    )
    # a quarter turn counter-clockwise: the object's right points up in the picture, and so does the light
    assert view.x[0, 20] == pytest.approx(1, abs=1e-5)
    assert view.y[20, 0] == pytest.approx(1, abs=1e-5)
    assert view.light == pytest.approx((1, 0), abs=1e-6)
    assert view.px == pytest.approx(0.05)


@given(st.integers(FEWEST_IMAGES, 20_000))
def test_counts_add_up_and_follow_the_competition(images: int) -> None:
    counts = class_counts(images)
    assert sum(counts.values()) == images
    assert min(counts.values()) >= 3
    ordered = sorted(CLASSES, key=COMPETITION_COUNTS.__getitem__)
    assert all(counts[rarer] <= counts[commoner] for rarer, commoner in pairwise(ordered))
    splits = split_counts(images)
    for name in CLASSES:
        assert splits[TRAIN][name] + splits[VAL][name] + splits[TEST][name] == counts[name]
        assert splits[VAL][name] == splits[TEST][name] == max(1, round(counts[name] * 0.15))
        assert splits[TRAIN][name] >= 1


def test_the_rarest_class_of_the_demo_can_be_learned() -> None:
    splits = split_counts(1800)
    assert splits[TRAIN]["Battery"] >= 20
    assert splits[TRAIN]["Plasticbag"] > 3 * splits[TRAIN]["Battery"]
    assert sum(splits[TRAIN].values()) / 1800 == pytest.approx(0.7, abs=0.01)


def test_a_photo_depends_on_each_part_of_its_seed_and_on_nothing_else() -> None:
    one = render_photo(3, TRAIN, "Glass", 7)
    assert render_photo(3, TRAIN, "Glass", 7) == one
    others = [
        render_photo(4, TRAIN, "Glass", 7),
        render_photo(3, VAL, "Glass", 7),
        render_photo(3, TRAIN, "Metal", 7),
        render_photo(3, TRAIN, "Glass", 8),
    ]
    assert len({one, *others}) == 5


def test_photos_spread_in_size_and_say_that_they_are_synthetic() -> None:
    long_sides, ratios = [], []
    for index in range(72):
        with Image.open(io.BytesIO(render_photo(0, TRAIN, CLASSES[index % 9], index))) as photo:
            assert photo.format == "JPEG"
            assert photo.mode == "RGB"
            assert b"not a photograph" in photo.info["comment"]
            photo.load()
            long_sides.append(max(photo.size))
            ratios.append(photo.width / photo.height)
    assert min(long_sides) >= 12
    assert max(long_sides) <= 401
    assert np.percentile(long_sides, 10) < 50 < np.median(long_sides) < 110 < np.percentile(long_sides, 90)
    assert min(ratios) < 0.7
    assert max(ratios) > 1.3


def test_colour_alone_does_not_tell_the_class() -> None:
    """The nearest class mean of a photo's mean and spread of colour is right rather seldom, though not never."""
    features = np.empty((9, 16, 6))
    for label, name in enumerate(CLASSES):
        for index in range(16):
            with Image.open(io.BytesIO(render_photo(1, TRAIN, name, index))) as photo:
                pixels = np.asarray(photo, np.float64).reshape(-1, 3) / 255
            features[label, index] = [*pixels.mean(axis=0), *pixels.std(axis=0)]
    means = features[:, :8].mean(axis=1)
    distances = np.linalg.norm(features[:, 8:, None] - means, axis=-1)
    right = (distances.argmin(axis=-1) == np.arange(9)[:, None]).mean()
    assert 1 / 9 < right < 0.5


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    return render_dataset(tmp_path_factory.mktemp("synthetic") / "set", images=54, seed=5, progress=False)


def test_a_set_is_a_data_set(rendered: SyntheticDataset) -> None:
    assert not rendered.reused
    loaded = load_dataset(rendered.root)
    assert loaded.classes == CLASSES
    assert not loaded.parts
    for split in (TRAIN, VAL, TEST):
        found = np.bincount([sample.label for sample in loaded.split(split)], minlength=9)
        assert dict(zip(CLASSES, found.tolist(), strict=True)) == rendered.counts[split]
    names = [sample.path.name for split in loaded.splits.values() for sample in split]
    assert len(set(names)) == 54  # also without their folders
    first = rendered.root / "train" / "Glass" / "glass_train_00000.jpg"
    assert first.read_bytes() == render_photo(5, TRAIN, "Glass", 0)


def test_a_set_says_that_it_is_synthetic(rendered: SyntheticDataset, tmp_path: Path) -> None:
    assert is_synthetic(rendered.root)
    assert (rendered.root / "SYNTHETIC.txt").read_text().startswith("SYNTHETIC DATA")
    settings = json.loads((rendered.root / "synthetic.json").read_text())
    assert (settings["synthetic"], settings["images"], settings["seed"]) == (True, 54, 5)
    assert [path.name for path in rendered.root.parent.iterdir()] == ["set"]
    assert not is_synthetic(tmp_path)
    (tmp_path / "synthetic.json").write_text("[1")
    assert not is_synthetic(tmp_path)
    (tmp_path / "synthetic.json").write_text("[1]")
    assert not is_synthetic(tmp_path)


def test_two_processes_render_what_one_renders(rendered: SyntheticDataset, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "both").mkdir()  # an empty folder is as good as none
    both = render_dataset(tmp_path / "both", images=60, seed=5, workers=2, progress=False).root
    shared = sorted(path.relative_to(rendered.root) for path in rendered.root.rglob("*.jpg"))
    assert len(shared) == 54
    # the larger set holds the pictures of the smaller one
    assert all((both / path).read_bytes() == (rendered.root / path).read_bytes() for path in shared)
    assert both.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_set_that_is_there_is_kept_if_it_is_the_same(rendered: SyntheticDataset) -> None:
    times = {path: path.stat().st_mtime_ns for path in rendered.root.rglob("*")}
    again = render_dataset(rendered.root, images=54, seed=5, if_missing=True)
    assert again.reused
    assert again.counts == rendered.counts
    assert {path: path.stat().st_mtime_ns for path in rendered.root.rglob("*")} == times
    with pytest.raises(DataError, match=r"not empty.*--if-missing keeps"):
        render_dataset(rendered.root, images=54, seed=5)
    with pytest.raises(DataError, match="made with images 54 instead of 60, seed 5 instead of 6"):
        render_dataset(rendered.root, images=60, seed=6, if_missing=True)
    with pytest.raises(DataError, match="made with kind 'crops' instead of 'scenes'"):
        render_dataset(rendered.root, images=54, seed=5, kind="scenes", if_missing=True)


def test_an_incomplete_set_is_not_kept(tmp_path: Path) -> None:
    made = render_dataset(tmp_path / "set", images=27, progress=False)
    next(made.root.rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="incomplete \\(26 of 27 pictures\\); remove it"):
        render_dataset(made.root, images=27, if_missing=True)


def test_what_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo.jpg").write_text("mine")
    with pytest.raises(DataError, match="file: a file; --out needs a folder"):
        render_dataset(tmp_path / "file", images=27)
    with pytest.raises(DataError, match=r"folder: not empty; name another folder or remove it$"):
        render_dataset(tmp_path / "folder", images=27)
    with pytest.raises(DataError, match="not empty, and not synthetic data"):
        render_dataset(tmp_path / "folder", images=27, if_missing=True)
    with pytest.raises(DataError, match="cannot be written"):
        render_dataset(tmp_path / "file" / "below", images=27)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "photo.jpg"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 26}, "images: 26 is too few, at least 27"),
        ({"images": 0, "kind": "scenes"}, "images: 0 is too few, at least 1 "),
        ({"images": 27, "seed": -1}, "seed: -1 is negative"),
        ({"images": 27, "workers": 0}, "workers: 0 makes no sense"),
    ],
)
def test_numbers_that_make_no_sense(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        render_dataset(tmp_path / "set", **settings)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("problem", "seen"),
    [(OSError(28, "No space left on device"), DataError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_failure_leaves_nothing(
    problem: BaseException, seen: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise problem

    monkeypatch.setattr(dataset, "render_photo", fail)
    with pytest.raises(seen):
        render_dataset(tmp_path / "set", images=27, workers=1, progress=False)
    assert not any(tmp_path.iterdir())


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(WispError, match=r"a rendering process died.*try one worker"):
        list(dataset._each(os._exit, [3, 3], workers=2, progress=False, chunk=1))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for child processes in /proc")
def test_a_killed_parent_takes_its_workers_along(tmp_path: Path) -> None:
    program = "from wisp.cli.main import main; main()"
    command = [sys.executable, "-c", program, "data", "synthetic", "--images", "20000", "--workers", "2"]
    parent = subprocess.Popen([*command, "--out", str(tmp_path / "set")], stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: next(tmp_path.rglob("*.jpg"), None) is not None)
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        children = [Path("/proc", pid) for pid in listed]
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait()
    _wait_for(lambda: not any(_runs(child) for child in children))


def _runs(process: Path) -> bool:
    """Whether the process in /proc is there and no zombie that nobody has collected yet."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_scenes_are_coco(tmp_path: Path) -> None:
    made = render_dataset(tmp_path / "scenes", images=6, seed=2, kind="scenes", workers=1, progress=False)
    coco = json.loads((made.root / "annotations.json").read_text())
    assert coco["info"]["description"].startswith("Synthetic")
    assert [category["name"] for category in coco["categories"]] == list(CLASSES)
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == 6
    for image in images.values():
        with Image.open(made.root / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"])
            assert b"Synthetic" in photo.info["comment"]
    ids = [annotation["id"] for annotation in coco["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) == sum(made.counts["objects"].values()) >= 12
    for annotation in coco["annotations"]:
        left, top, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        assert 0 <= left < left + width <= image["width"]
        assert 0 <= top < top + height <= image["height"]
        assert 16 <= annotation["area"] <= width * height
        assert 1 <= annotation["category_id"] <= 9
    again = render_dataset(made.root, images=6, seed=2, kind="scenes", if_missing=True)
    assert again.counts == made.counts
    (made.root / "annotations.json").unlink()
    with pytest.raises(DataError, match="incomplete"):
        render_dataset(made.root, images=6, seed=2, kind="scenes", if_missing=True)


def test_a_box_of_a_scene_holds_its_object() -> None:
    """Inside the boxes there is more going on than the ground alone, whose colours fill the rest of the scene."""
    content, size, annotations = render_scene_photo(2, 1)
    assert render_scene_photo(2, 1) == (content, size, annotations)
    with Image.open(io.BytesIO(content)) as photo:
        pixels = np.asarray(photo, np.float64)
    outside = np.ones(pixels.shape[:2], bool)
    for annotation in annotations:
        left, top, width, height = annotation["bbox"]
        outside[top : top + height, left : left + width] = False
    middle = np.median(pixels[outside], axis=0)
    for annotation in annotations:
        left, top, width, height = annotation["bbox"]
        inside = np.abs(pixels[top : top + height, left : left + width] - middle).mean()
        assert inside > np.abs(pixels[outside] - middle).mean()
