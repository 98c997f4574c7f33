"""Photos that a run has learnt from, known by their bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wisp.data.overlap import learnt_photos, overlap_note
from wisp.files import file_sha256
from wisp.records import Sample


def _photos(root: Path, *names: str) -> list[Sample]:
    for name in names:
        (root / name).write_bytes(name.encode())
    return [Sample(root / name, name, 0) for name in names]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that learnt a and b, chose on c, and was measured on d."""
    photos = {sample.name: file_sha256(sample.path) for sample in _photos(tmp_path, "a", "b", "c", "d")}
    splits = {
        "train": {"a": photos["a"], "b": photos["b"]},
        "val": {"c": photos["c"]},
        "test": {"d": photos["d"]},
    }
    (tmp_path / "data.json").write_text(json.dumps({"splits": splits}), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text("train_on_val = false\n", encoding="utf-8")
    return tmp_path


def test_equal_bytes_are_the_same_photo_whatever_their_name(run: Path) -> None:
    (run / "copy").write_bytes(b"a")
    samples = [*_photos(run, "b", "c", "d"), Sample(run / "copy", "copy", 0)]
    assert learnt_photos(run, samples) == 2


def test_validation_counts_where_the_recipe_learns_it(run: Path) -> None:
    samples = _photos(run, "a", "c", "d")
    assert learnt_photos(run, samples) == 1
    (run / "recipe.toml").write_text("train_on_val = true\n", encoding="utf-8")
    assert learnt_photos(run, samples) == 2


def test_what_cannot_be_read_is_no_photo_that_was_learnt(run: Path) -> None:
    assert learnt_photos(run, [Sample(run / "gone", "gone", 0), *_photos(run, "a")]) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"splits": 3}', '{"splits": {"train": []}}'])
def test_a_folder_that_does_not_say(run: Path, text: str) -> None:
    (run / "data.json").write_text(text, encoding="utf-8")
    assert learnt_photos(run, _photos(run, "a")) is None
    (run / "data.json").unlink()
    assert learnt_photos(run, _photos(run, "a")) is None


def test_the_note() -> None:
    assert overlap_note(None, 5) is None
    assert overlap_note(0, 5) is None
    assert overlap_note(1234, 5000) == (
        "learnt from 1,234 of these 5,000 photos: F1 on new ones will be lower"
    )
