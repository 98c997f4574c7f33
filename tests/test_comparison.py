from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tiny_training import ARCH, EASY, paint_photos
from wisp.cli.compare import compare
from wisp.cli.main import VERBS, run
from wisp.comparison import compare_runs
from wisp.data.folders import load_dataset
from wisp.errors import InputError, ModelError
from wisp.records import TRAIN, VAL
from wisp.report.comparison_page import render


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_photos(tmp_path_factory.mktemp("data") / "photos", train=12, val=8)


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of a good recipe, and one that learned nothing."""
    root = tmp_path_factory.mktemp("runs")
    ARCH.save(root / "arch.json")
    folders = []
    for name, recipe in (
        ("good-0", EASY),
        ("good-1", EASY.replace(seed=2)),
        ("bad", EASY.replace(epochs=1, learning_rate=1e-9)),
    ):
        recipe.save(root / "recipe.toml")
        options = [
            "--model",
            str(root / "arch.json"),
            "--recipe",
            str(root / "recipe.toml"),
            "--device",
            "cpu",
        ]
        assert run(["train", str(photos), *options, "--out", str(root / name)]) == 0
        assert run(["export", str(root / name)]) == 0
        folders.append(root / name)
    return folders


def test_each_run_against_the_first(runs: list[Path], photos: Path) -> None:
    comparison = compare_runs(runs, load_dataset(photos), VAL, progress=False)
    good, again, bad = comparison.runs
    assert good.difference is None
    assert good.evaluation.f1_macro > 0.6
    assert again.difference == pytest.approx(again.evaluation.f1_macro - good.evaluation.f1_macro)
    assert bad.difference == pytest.approx(bad.evaluation.f1_macro - good.evaluation.f1_macro)
    assert bad.difference is not None
    assert bad.difference_ci95 is not None
    low, high = bad.difference_ci95
    assert low < bad.difference < high < 0  # the interval says that it is worse


def test_seeds_of_one_recipe_are_averaged(runs: list[Path], photos: Path) -> None:
    comparison = compare_runs(runs, load_dataset(photos), VAL, progress=False)
    groups = comparison.groups()
    assert [group.seeds for group in groups] == [(1, 2), (1,)]
    values = [compared.evaluation.f1_macro for compared in comparison.runs[:2]]
    assert groups[0].f1_mean == pytest.approx(sum(values) / 2)
    assert groups[0].f1_sd == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


def test_what_a_run_began_with_and_learned_from_sets_it_apart(
    runs: list[Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two recipes alike, seeds apart, and still no two seeds of one training."""
    more = [
        "--model",
        str(runs[0] / "arch.json"),
        "--recipe",
        str(runs[1] / "recipe.toml"),
        "--device",
        "cpu",
    ]
    known = {"init": ["--init", str(runs[0])], "teachers": ["--teacher", str(runs[0])]}
    for field, options in known.items():
        other = tmp_path / field
        assert run(["train", str(photos), *more, *options, "--out", str(other)]) == 0
        assert run(["export", str(other)]) == 0
        comparison = compare_runs([runs[0], other], load_dataset(photos), VAL, progress=False)
        assert [group.seeds for group in comparison.groups()] == [(1,), (2,)]
        assert set(comparison.settings) == {"seed", field}
        assert comparison.settings[field][0] == {"init": "scratch", "teachers": "none"}[field]
    capsys.readouterr()


def test_what_differs_is_named(runs: list[Path], photos: Path) -> None:
    settings = compare_runs(runs, load_dataset(photos), VAL, progress=False).settings
    assert settings == {"epochs": (8, 8, 1), "seed": (1, 2, 1), "learning_rate": (0.02, 0.02, 1e-9)}


def test_the_page_shows_all_of_it(runs: list[Path], photos: Path) -> None:
    comparison = compare_runs(runs, load_dataset(photos), VAL, progress=False)
    page = render(comparison, version="0")
    for part in ("runs", "seeds", "front", "training", "classes", "settings"):
        assert f'<section id="{part}"' in page or f' id="{part}"' in page
    assert f"{comparison.runs[2].difference:+.4f}" in page
    assert "macro F1 on val" in page
    assert "the best score of these runs" in page
    assert "chosen candidate" not in page
    for folder in runs:
        assert f">{folder.name}</bdi></th>" in page
        assert str(folder) not in page
    assert "http" not in page


def test_from_the_command_line(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["compare", *map(str, runs), "--out", str(tmp_path / "page.html")]) == 0
    )  # the photos of the first run
    out = capsys.readouterr().out
    assert "runs 1, 2, seeds 1, 2: F1 " in out
    assert "differs: learning_rate: 0.02, 0.02, 1e-09" in out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run(["compare", *map(str, runs), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert [each["run"] for each in written["runs"]] == list(map(str, runs))
    assert written["groups"][1]["f1_sd"] is None


def test_photos_that_a_run_has_learnt_from_are_no_measure(
    runs: list[Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare_runs(runs[:2], load_dataset(photos), TRAIN, progress=False)
    n = len(load_dataset(photos).split(TRAIN))
    assert [compared.n_learnt for compared in comparison.runs] == [n, n]
    note = f"runs 1, 2: learnt from {n:,} of these {n:,} photos"
    assert note.capitalize() in render(comparison, version="0")
    assert run(["compare", *map(str, runs[:2]), "--split", "train"]) == 0
    assert note in capsys.readouterr().out
    assert run(["compare", *map(str, runs[:2])]) == 0
    assert "learnt from" not in capsys.readouterr().out


def test_bad_input_is_one_line(
    runs: list[Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_dataset(photos)
    with pytest.raises(InputError, match="give at least two"):
        compare_runs(runs[:1], dataset, VAL)
    with pytest.raises(InputError, match="given twice"):
        compare_runs([runs[0], runs[0] / "." / ""], dataset, VAL)
    with pytest.raises(ModelError, match="not a run folder"):
        compare_runs([runs[0], tmp_path], dataset, VAL)
    assert run(["compare", str(runs[0]), str(runs[1]), "--data", str(photos), "--split", "test"]) == 2
    assert "no photos in the split 'test'" in capsys.readouterr().err


def test_a_run_that_is_not_exported_says_how(runs: list[Path], photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[1], copy)
    (copy / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"copy: no model\.onnx in this run; make it with: wisp export"):
        compare_runs([runs[0], copy], load_dataset(photos), VAL)


def test_a_run_of_other_classes_is_named(runs: list[Path], photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[1], copy)
    described = json.loads((copy / "data.json").read_text(encoding="utf-8"))
    described["classes"][0] = "bottle"
    (copy / "data.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"copy: cannot be measured on these photos; .* the class 'glass'; .*bottle"
    ):
        compare_runs([runs[0], copy], load_dataset(photos), VAL)


def test_the_help_is_the_line_of_the_table() -> None:
    assert compare.get_short_help_str(limit=200) == VERBS["compare"][2]
