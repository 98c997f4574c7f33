"""A submission against the photos: the test files, what the model answers, the claimed F1."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tiny_submission import FACTS, Parts, paint_test_photos, tiny_submission
from wisp.data.folders import load_dataset
from wisp.records import Dataset, Violation
from wisp.sandbox import confinement
from wisp.submission import verify_submission


@pytest.fixture(autouse=True)
def _graph_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph has tests of its own (test_models.py), and so has the sandbox: without it, processes start faster."""
    monkeypatch.setattr("wisp.submission.graph.check_graph", lambda _path, _manifest: ())
    bare = replace(confinement(), mode="limits")
    monkeypatch.setattr("wisp.submission.graph.confinement", lambda: bare)


def check(parts: Parts, path: Path, dataset: Dataset, severity: str = "violation") -> list[Violation]:
    return [
        finding
        for finding in verify_submission(parts.write(path / "team.zip"), dataset)
        if finding.severity == severity
    ]


def test_a_sound_one(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    assert check(parts, tmp_path, photos) == []


def test_answers_that_the_model_does_not_give(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    value = parts.json("predictions.json")
    answers = {**value["submission"], "new-Red.png": "Blue"}  # type: ignore[dict-item]
    (finding,) = check(
        parts.with_json("predictions.json", {**value, "submission": answers}), tmp_path, photos
    )
    assert finding.rule == "predictions"
    assert finding.message == (
        "1 answers are not what model.onnx gives (first: new-Red.png: Blue, the model says Red)"
    )


def test_answers_on_the_edge_between_two_classes(tmp_path: Path) -> None:
    """Equal but for rounding: either class is what the model gives, on some processor."""
    dataset = paint_test_photos(tmp_path / "photos")
    Image.new("RGB", (18, 20), (120, 120, 10)).save(tmp_path / "photos" / "test" / "NoLabel" / "new-Red.png")
    parts = tiny_submission(dataset)
    for label, wrong in (("Red", 0), ("Green", 0), ("Blue", 1)):
        value = parts.json("predictions.json")
        answers = {**value["submission"], "new-Red.png": label}  # type: ignore[dict-item]
        changed = parts.with_json("predictions.json", {**value, "submission": answers})
        assert len(check(changed, tmp_path, dataset)) == wrong


def test_a_claimed_f1_that_is_not_reached(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    parts = Parts(parts.files, FACTS.model_copy(update={"f1": {"test": 0.75, "train": 1.0}}))
    (finding,) = check(parts, tmp_path, photos)
    assert (finding.rule, finding.path) == ("f1", "manifest.json")
    assert finding.message == "claims a macro F1 of 0.7500 on test; it is 1.0000"


def test_claims_that_cannot_be_checked_are_notes(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    parts = Parts(parts.files, FACTS.model_copy(update={"f1": {"val": 0.75}}))
    without_val = load_dataset(photos.root, needs=(), progress=False)
    splits = {name: samples for name, samples in without_val.splits.items() if name != "val"}
    dataset = Dataset(without_val.root, without_val.classes, splits)
    notes = [finding.message for finding in check(parts, tmp_path, dataset, "note") if finding.rule == "f1"]
    assert notes == [
        "claims no F1 on test, whose labels are known; it is 1.0000",
        f"claims an F1 on val, of which there are no photos in {dataset.root}",
    ]


def test_other_test_photos(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos.root, root)
    (root / "test" / "NoLabel" / "new-Red.png").rename(root / "test" / "NoLabel" / "newer.png")
    Image.new("RGB", (18, 18), (250, 0, 0)).save(root / "test" / "Red" / "test-Red-0.png")
    found = {
        finding.rule: finding.message for finding in check(parts, tmp_path, load_dataset(root, needs=()))
    }
    assert found == {
        "missing-answers": f"no answer for 1 of the test photos in {root}: newer.png",
        "extra-answers": f"1 answers for photos that are not among the test photos in {root}: new-Red.png",
        "test-files": f"1 test photos are not those in {root} (first: test/Red/test-Red-0.png)",
    }


def test_photos_of_a_class_that_the_model_does_not_know(
    parts: Parts, photos: Dataset, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos.root, root)
    (root / "train" / "Red").rename(root / "train" / "Purple")
    (root / "test" / "Red").rename(root / "test" / "Purple")
    rules = {finding.rule for finding in check(parts, tmp_path, load_dataset(root, needs=()))}
    assert "classes" in rules


def test_photos_that_cannot_be_read_here(parts: Parts, photos: Dataset, tmp_path: Path) -> None:
    """What the verifier cannot read it does not hold against anybody, and says so."""
    root = tmp_path / "photos"
    shutil.copytree(photos.root, root)
    (root / "test" / "NoLabel" / "new-Red.png").write_bytes(b"\x89PNG")
    dataset = load_dataset(root, needs=())
    assert {finding.rule for finding in check(parts, tmp_path, dataset)} == {"test-files"}
    (note,) = [finding for finding in check(parts, tmp_path, dataset, "note") if finding.rule == "unreadable"]
    assert note.message == "1 photos of test cannot be read here and were not checked"


def test_a_model_that_fails_on_the_photos(
    parts: Parts, photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wisp.submission.graph.SECONDS", -1)
    monkeypatch.setattr("wisp.submission.graph.describe_model", lambda _path: __import__("tiny_onnx").INFO)
    (finding,) = check(parts, tmp_path, photos)
    assert finding.rule == "graph"
    assert "within its bounds" in finding.message
