from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from wisp.data.fingerprint import content_fingerprint, stat_fingerprint
from wisp.errors import DataError
from wisp.records import Dataset, Sample


def photos(root: Path, names: tuple[str, ...] = ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg")) -> Dataset:
    splits: dict[str, list[Sample]] = {}
    for name in names:
        split, label, _ = name.split("/")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
        splits.setdefault(split, []).append(Sample(path, name, "ab".index(label)))
    return Dataset(root, ("a", "b"), {split: tuple(samples) for split, samples in splits.items()})


def test_content_fingerprint_is_the_files_own_sums_and_no_path(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos")
    found = content_fingerprint(dataset, progress=False)
    assert found["root_name"] == "photos"
    assert found["classes"] == ["a", "b"]
    assert found["splits"]["val"] == {"val/a/3.jpg": hashlib.sha256(b"val/a/3.jpg").hexdigest()}
    assert list(found["splits"]["train"]) == ["train/a/1.jpg", "train/b/2.jpg"]
    assert str(tmp_path) not in json.dumps(found)


def test_content_fingerprint_follows_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "photos")
    digest = content_fingerprint(dataset)["digest"]
    shutil.copytree(tmp_path / "photos", tmp_path / "elsewhere")
    moved = photos(tmp_path / "elsewhere")
    assert content_fingerprint(moved)["digest"] == digest
    moved.split("val")[0].path.write_bytes(b"other")
    assert content_fingerprint(moved)["digest"] != digest
    renamed = Dataset(dataset.root, ("a", "c"), dataset.splits)
    assert content_fingerprint(renamed)["digest"] != digest


def test_content_fingerprint_names_what_cannot_be_read(tmp_path: Path) -> None:
    dataset = photos(tmp_path)
    dataset.split("val")[0].path.unlink()
    with pytest.raises(DataError, match=r"3\.jpg: cannot read this file \(No such file"):
        content_fingerprint(dataset)


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_that_are_not_utf8_still_make_valid_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"train/a/caf\xe9.jpg")
    found = content_fingerprint(photos(tmp_path, (name,)))
    assert json.dumps(found, ensure_ascii=False).encode() != b""
    assert len(stat_fingerprint(photos(tmp_path, (name,)).split("train"), {})) == 40


def test_stat_fingerprint_follows_names_sizes_times_order_and_settings(tmp_path: Path) -> None:
    samples = photos(tmp_path / "photos").split("train")
    first = stat_fingerprint(samples, {"size": 64})
    assert len(first) == 40
    assert stat_fingerprint(samples, {"size": 64}) == first
    assert stat_fingerprint(samples[::-1], {"size": 64}) != first
    assert stat_fingerprint(samples[:1], {"size": 64}) != first
    assert stat_fingerprint(samples, {"size": 32}) != first
    relabelled = [Sample(sample.path, sample.name, None) for sample in samples]
    assert stat_fingerprint(relabelled, {"size": 64}) == first
    renamed = [Sample(sample.path, "x" + sample.name, None) for sample in samples]
    assert stat_fingerprint(renamed, {"size": 64}) != first
    samples[0].path.write_bytes(b"longer than it was")
    assert stat_fingerprint(samples, {"size": 64}) != first


def test_stat_fingerprint_sees_a_change_whose_time_was_set_back(tmp_path: Path) -> None:
    samples = photos(tmp_path).split("train")
    first = stat_fingerprint(samples, {})
    status = samples[0].path.stat()
    samples[0].path.write_bytes(b"TRAIN/A/1.JPG")
    os.utime(samples[0].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert samples[0].path.stat().st_size == status.st_size
    assert stat_fingerprint(samples, {}) != first


def test_stat_fingerprint_of_a_missing_file_differs(tmp_path: Path) -> None:
    samples = photos(tmp_path).split("train")
    first = stat_fingerprint(samples, {})
    samples[0].path.unlink()
    assert stat_fingerprint(samples, {}) != first
