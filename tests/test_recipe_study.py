"""The benchmark that compares recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import recipe_study
from benchmarks.recipe_study import Study

from tiny_training import paint_photos
from wisp.data.folders import load_dataset
from wisp.records import TEST, TRAIN, VAL


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_photos(tmp_path_factory.mktemp("study") / "photos")


def test_what_is_held_out_is_not_learned(data: Path, tmp_path: Path) -> None:
    whole = load_dataset(data, progress=False)
    learned_from = {*whole.split(TRAIN), *whole.split(VAL)}
    part = recipe_study._dataset(Study(data, tmp_path, "wisp-500k", "scratch", 0.25))
    assert len(part.split(VAL)) == round(0.25 * len(learned_from))
    assert {*part.split(TRAIN)} | {*part.split(VAL)} == learned_from
    assert not {*part.split(TRAIN)} & {*part.split(VAL)}
    assert not part.split(TEST)
    assert recipe_study._dataset(Study(data, tmp_path, "wisp-500k", "scratch", 0.0)) == whole


def test_variants_are_trained_and_compared(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WISP_CACHE", str(tmp_path / "cache"))
    runs, record = tmp_path / "runs", tmp_path / "record.json"
    teacher = runs / "default-seed0"
    arguments = ["study", str(data), "--out", str(runs), "--model", "wisp-500k", "--hold-out", "0.3"]
    arguments += ["--seeds", "2", "--workers", "1", "--set-field", "image_size=16", "epochs=1"]
    arguments += ["--variant", "still", "augmentation=0", "label_smoothing=0"]
    monkeypatch.setattr("sys.argv", [*arguments, "--record", str(record)])
    with pytest.raises(SystemExit, match="0"):
        recipe_study.main()
    first = json.loads(record.read_text())
    assert [row["variant"] for row in first["rows"]] == ["default", "still"]
    assert all(len(row["f1"]) == 2 and row["cross_entropy_mean"] > 0 for row in first["rows"])
    taken = {path: path.stat().st_mtime_ns for path in runs.glob("*/model.safetensors")}
    assert len(taken) == 4

    # Again, with one more: what is there stays, and the new one learns from one of them.
    more = ["--variant", "taught", f"teacher={teacher}", "distillation_weight=0.5"]
    monkeypatch.setattr("sys.argv", [*arguments, *more, "--record", str(record)])
    with pytest.raises(SystemExit, match="0"):
        recipe_study.main()
    assert all(path.stat().st_mtime_ns == when for path, when in taken.items())
    second = json.loads(record.read_text())
    assert second["rows"][:2] == first["rows"]
    assert second["rows"][2]["variant"] == "taught"
    described = json.loads((runs / "taught-seed1" / "data.json").read_text())
    assert len(described["teachers"]) == 1
    capsys.readouterr()
