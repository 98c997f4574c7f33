"""Reading COCO files: what is usable, what is left out, what stops with one line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from wisp.data.coco import Coco, read_class_map, read_coco
from wisp.errors import DataError


def document(**parts: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 7, "name": "Bottle"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4.5]}],
        **parts,
    }


def read(value: object) -> Coco:
    return read_coco(json.dumps(value).encode(), "coco.json")


def reason_of(**fields: Any) -> str | None:
    """Why an annotation with these fields is left out; None where it is not."""
    coco = read(
        document(annotations=[{"id": 5, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], **fields}])
    )
    assert len(coco.objects) + len(coco.left_out) == 1
    return coco.left_out[0].reason if coco.left_out else None


def test_a_plain_file() -> None:
    content = json.dumps(document()).encode()
    coco = read_coco(content, "coco.json")
    (item,) = coco.objects
    assert (item.id, item.photo.file_name, item.photo.size, item.category) == (5, "a.jpg", (40, 30), "Bottle")
    assert item.box == (1.0, 2.0, 3.0, 4.5)
    assert coco.sha256 == hashlib.sha256(content).hexdigest()
    assert coco.left_out == ()
    assert read_coco(b"\xef\xbb\xbf" + content, "coco.json").objects == coco.objects


def test_sizes_and_addresses() -> None:
    coco = read(
        document(
            images=[
                {
                    "id": 1,
                    "file_name": "a.jpg",
                    "width": 40.0,
                    "height": 30,
                    "flickr_url": "u1",
                    "flickr_640_url": "u2",
                },
                {
                    "id": "two",
                    "file_name": "b.jpg",
                    "width": 0,
                    "height": 30,
                    "flickr_url": None,
                    "coco_url": "u3",
                },
                {"id": 3, "file_name": "c.jpg"},
            ]
        )
    )
    assert [photo.size for photo in coco.photos] == [(40, 30), None, None]
    assert [photo.urls for photo in coco.photos] == [("u1", "u2"), ("u3",), ()]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"bbox": [-5, -5, 100, 100]}, None),
        ({"iscrowd": 1}, "crowd (several objects in one box)"),
        (
            {"iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [30, 40]}},
            "crowd (several objects in one box)",
        ),
        ({"bbox": [1, 2, 0, 4]}, "box without area"),
        ({"bbox": [1, 2, 3, -4]}, "box without area"),
        ({"bbox": [1, 2, float("nan"), 4]}, "box not finite"),
        ({"bbox": [float("inf"), 2, 3, 4]}, "box not finite"),
        ({"bbox": [10**400, 2, 3, 4]}, "box not finite"),
        ({"bbox": [1, 2, 3]}, "malformed box"),
        ({"bbox": [1, 2, 3, "4"]}, "malformed box"),
        ({"bbox": [1, 2, 3, True]}, "malformed box"),
        ({"bbox": "1 2 3 4"}, "malformed box"),
        ({"bbox": None}, "no box"),
        (
            {"bbox": None, "segmentation": {"counts": "abc", "size": [30, 40]}},
            "no box (a run-length mask alone)",
        ),
        ({"bbox": [], "segmentation": []}, "no box"),
        ({"bbox": [], "segmentation": [[]]}, "no box"),
        ({"bbox": [], "segmentation": [["x"]]}, "no box"),
        ({"bbox": [], "segmentation": [[1, 2, 1, 2]]}, "box without area"),
        ({"image_id": 99}, "unknown image id"),
        ({"image_id": None}, "unknown image id"),
        ({"image_id": [1]}, "unknown image id"),
        ({"category_id": 99}, "unknown category id"),
    ],
)
def test_annotations_that_cannot_be_used(fields: dict[str, Any], reason: str | None) -> None:
    assert reason_of(**fields) == reason


def test_polygons_stand_in_for_a_missing_box() -> None:
    annotation = {
        "id": 5,
        "image_id": 1,
        "category_id": 7,
        "segmentation": [[1, 2, 4, 2, 4, 7], [0, 3, 1, 9]],
    }
    assert read(document(annotations=[annotation])).objects[0].box == (0, 2, 4, 7)


def test_equal_annotations_count_once_and_a_shared_id_is_no_harm() -> None:
    first = {"id": 5, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}
    coco = read(document(annotations=[first, first, {**first, "bbox": [1, 2, 9, 9]}]))
    assert [item.box[2] for item in coco.objects] == [3, 9]
    assert [item.reason for item in coco.left_out] == ["duplicate of another annotation"]


def test_equal_images_are_one() -> None:
    image = {"id": 1, "file_name": "a.jpg"}
    assert len(read(document(images=[image, image])).photos) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [', "broken JSON in line 1, column 13"),
        (b"", "broken JSON"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b"[" * 200_000, "not a COCO file"),
        (b"9" * 10_000, "not a COCO file"),
        (b"[]", "not a COCO file"),
    ],
)
def test_files_that_are_no_coco_file(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"coco.json: {message}") as caught:
        read_coco(content, "coco.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": None}, "no list 'images'"),
        ({"annotations": {}}, "no list 'annotations'"),
        ({"categories": ["Bottle"]}, r"categories\[0\] is not an object"),
        ({"images": [{"id": 1}]}, r"images\[0\] needs 'id' and 'file_name'"),
        ({"images": [{"file_name": "a.jpg"}]}, r"images\[0\] needs 'id' and 'file_name'"),
        ({"images": [{"id": 1, "file_name": 3}]}, "file_name must be a text, got 3"),
        ({"categories": [{"id": 7, "name": " "}]}, "category name must be a text"),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]},
            "images id 1 stands for two different entries",
        ),
        ({"categories": [{"id": 7, "name": "A"}, {"id": 7, "name": "B"}]}, "categories id 7 stands for two"),
        ({"annotations": [{"image_id": 1}]}, "annotation id None is not an integer"),
        ({"annotations": [{"id": "x" * 90, "image_id": 1}]}, r"annotation id 'x+\.\.\. is not an integer"),
        ({"annotations": [{"id": True, "image_id": 1}]}, "annotation id True is not an integer"),
    ],
)
def test_ambiguous_or_malformed_files(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"coco.json: .*{message}"):
        read(document(**parts))


def test_class_maps() -> None:
    assert read_class_map(b'[classes]\n"Glass jar" = "Glass"\nCigarette = ""', "map.toml") == {
        "Glass jar": "Glass",
        "Cigarette": "",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[classes", "broken TOML"),
        (b"\xff", "broken TOML"),
        (b"", r"one table, \[classes\]"),
        (b"classes = 3", r"one table, \[classes\]"),
        (b"[classes]\n[other]", r"one table, \[classes\]"),
        (b"[classes]\nJar = 3", 'classes."Jar" must be a class name in quotes, got 3'),
    ],
)
def test_broken_class_maps(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"map.toml: .*{message}"):
        read_class_map(content, "map.toml")


def test_tacos_official_file(shared_data: Path) -> None:
    coco = read_coco((shared_data / "taco" / "annotations.json").read_bytes(), "annotations.json")
    assert (len(coco.photos), len(coco.objects), len(coco.categories)) == (1500, 4784, 60)
    assert coco.left_out == ()
    assert all(photo.size and photo.urls for photo in coco.photos)
    twice = [id_ for id_, count in Counter(item.id for item in coco.objects).items() if count > 1]
    assert twice == [309, 4040]  # as published: two pairs of annotations share their ids
