import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from wisp.artifact import seal
from wisp.cli.main import VERBS, run
from wisp.data.folders import load_dataset
from wisp.export import export_onnx
from wisp.files import file_sha256
from wisp.macs import count_onnx
from wisp.models import build, named
from wisp.models.starts import shipped_weights
from wisp.records import ResizeRule
from wisp.runtime import Classifier
from wisp.train.recipe import Recipe
from wisp.train.run import create_run, describe_data

CLASSES = {"종이": (220, 40, 40), "Glass": (40, 200, 40), "Metal": (40, 40, 220)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for split, n in (("train", 4), ("val", 3), ("test", 5)):
        for name, colour in CLASSES.items():
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (30, 40, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """A finished run with random weights: nothing here depends on how well it was trained."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.manual_seed(0)
    arch = named("resnet8", len(CLASSES))
    trained = create_run(
        path, Recipe(image_size=32, seed=5), arch, describe_data(load_dataset(photos), progress=False)
    )
    trained.save_model(build(arch))
    return path


@pytest.fixture(scope="module")
def exported(folder, photos):
    assert run(["export", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_the_help_is_the_line_of_the_table(verb, capsys):
    assert run([verb, "--help"]) == 0
    assert VERBS[verb][2] in capsys.readouterr().out


def test_export_writes_the_file_and_reports_parity(folder, photos, tmp_path, capsys):
    out = tmp_path / "deploy" / "sorter.onnx"
    assert run(["export", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "agrees with torch on 9 images" in printed
    assert "3 classes, 32 px" in printed
    classifier = Classifier(out)
    assert set(classifier.labels) == set(CLASSES)
    assert classifier.info.provenance["recipe"]["seed"] == 5
    assert str(photos).encode() not in out.read_bytes()


def test_export_as_json_with_other_photos(folder, photos, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(photos / "train", other / "train")
    out = tmp_path / "model.onnx"
    assert run(["export", str(folder), "--out", str(out), "--data", str(other), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["path"] == str(out)
    assert value["size_bytes"] == out.stat().st_size
    assert value["macs"] < value["macs_as_trained"]
    assert value["parity"]["max_abs_diff"] < 1e-4
    assert value["parity"]["top1_agreement"] == 1.0


def test_export_without_the_photos_says_what_to_do(folder, tmp_path, capsys):
    moved = tmp_path / "run"
    shutil.copytree(folder, moved)
    data = json.loads((moved / "data.json").read_text())
    (moved / "data.json").write_text(json.dumps({**data, "root": str(tmp_path / "gone")}))
    (moved / "model.onnx").unlink(missing_ok=True)
    assert run(["export", str(moved)]) == 2
    assert "gone any more; name their folder with --data" in capsys.readouterr().err
    assert not (moved / "model.onnx").exists()


def test_export_of_what_is_no_finished_run(folder, tmp_path, capsys):
    assert run(["export", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    unfinished = tmp_path / "run"
    shutil.copytree(folder, unfinished)
    (unfinished / "model.safetensors").unlink()
    assert run(["export", str(unfinished)]) == 2
    assert "the training is not complete" in capsys.readouterr().err


def test_export_that_disagrees_fails_and_leaves_no_file(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("wisp.export.onnx.TOLERANCE", -1.0)
    out = tmp_path / "model.onnx"
    assert run(["export", str(folder), "--out", str(out)]) == 1
    assert "model.onnx: not written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_prints_a_table(exported, photos, capsys):
    assert run(["evaluate", str(exported), str(photos)]) == 0
    out = capsys.readouterr().out
    for text in ("test: 15 photos", "precision", "macro F1", "95% interval", "MACs", "as trained", "score"):
        assert text in out
    assert "leaderboard-2021: F1 0.83655, 13,865,300 MACs" in out
    rows = [line for line in out.splitlines() if line.startswith(tuple(CLASSES))]
    assert len(rows) == 3
    assert {line.split()[-1] for line in rows} == {"5"}
    # the Korean name is two characters in four columns
    assert len({len(line) + line.startswith("종이") * 2 for line in rows}) == 1


def test_evaluate_says_what_the_training_began_with(exported, photos, tmp_path, capsys):
    def start_of(model):
        assert run(["evaluate", str(model), str(photos), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["init"]

    assert start_of(exported) == "scratch"
    assert run(["evaluate", str(exported), str(photos)]) == 0
    assert "\ntrained from       scratch\n" in capsys.readouterr().out
    data = json.loads((exported / "data.json").read_text(encoding="utf-8"))
    other = tmp_path / "run"
    shutil.copytree(exported, other)
    for digest, start in (
        (file_sha256(shipped_weights()[0]), "pretrained"),
        ("0123456789abcdef", "0123456789ab"),
    ):
        (other / "data.json").write_text(json.dumps({**data, "pretrained": digest}), encoding="utf-8")
        assert start_of(other) == start
    alone = tmp_path / "alone.onnx"
    shutil.copy(exported / "model.onnx", alone)
    assert start_of(alone) is None


def test_evaluate_as_json_on_another_split_and_baseline(exported, photos, capsys):
    options = ["--split", "val", "--json", "--baseline-f1", "0.7", "--baseline-macs", "550e6"]
    assert run(["evaluate", str(exported / "model.onnx"), str(photos), *options]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["n_images"] == 9
    assert value["split"] == "val"
    assert value["baseline"] == {"preset": None, "f1": 0.7, "macs": 550e6}
    assert set(value["per_class"]) == set(CLASSES)
    low, high = value["f1_ci95"]
    assert low <= value["f1_macro"] <= high


def test_evaluate_draws_the_confusion_matrix_and_times_the_model(exported, photos, tmp_path, capsys):
    out = tmp_path / "figures"
    assert run(["evaluate", str(exported), str(photos), "--out", str(out), "--latency"]) == 0
    printed = capsys.readouterr().out
    assert str(out / "confusion.png") in printed
    assert "ms median" in printed
    with Image.open(out / "confusion.png") as image:
        assert image.format == "PNG"
    value = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert 0 < value["latency_p50_ms"] <= value["latency_p99_ms"]
    assert value["device"]


def test_photos_that_the_model_has_learnt_from_are_no_measure(exported, photos, tmp_path, capsys):
    assert run(["evaluate", str(exported), str(photos), "--split", "train", "--json"]) == 0
    printed = capsys.readouterr()
    n = json.loads(printed.out)["n_images"]
    assert f"learnt from {n} of these {n} photos" in printed.err
    # A photo of test that lies in train too, under another name.
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    shutil.copy(next((root / "train" / "Glass").iterdir()), root / "test" / "Glass" / "again.png")
    assert run(["evaluate", str(exported), str(root)]) == 0
    assert "learnt from 1 of these 16 photos" in capsys.readouterr().err
    (tmp_path / "alone").mkdir()
    shutil.copy(exported / "model.onnx", tmp_path / "alone")
    for model, data in (
        (exported, photos),
        (tmp_path / "alone", root),
    ):  # nothing to warn of, and nothing known
        assert run(["evaluate", str(model), str(data)]) == 0
        assert capsys.readouterr().err == ""


def test_evaluate_shows_parts_and_unreadable_photos(exported, photos, tmp_path, capsys):
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    rows = ["file,source"]
    for i in range(20):
        shutil.copy(root / "test" / "Glass" / "0.png", root / "test" / "Glass" / f"wild{i}.png")
        rows.append(f"test/Glass/wild{i}.png,wild")
    (root / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    (root / "test" / "Metal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no photo")
    assert run(["evaluate", str(exported), str(root)]) == 2
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "--skip-unreadable" in error
    assert run(["evaluate", str(exported), str(root), "--skip-unreadable", "--preset", "team-code-2021"]) == 0
    out = capsys.readouterr().out
    assert "35 photos (1 unreadable left out)" in out
    assert "part wild" in out
    assert "on 20 photos of Glass" in out
    assert "team-code-2021: F1 0.8342" in out


def test_undivided_photos_are_divided_as_in_training(exported, photos, tmp_path, capsys):
    # The exported run was trained with seed 5: the split must not follow it, else training photos turn up in test.
    flat = tmp_path / "flat"
    for path in sorted(photos.rglob("*.png")) + sorted(photos.rglob("*.jpg")):
        target = flat / path.parent.name / f"{path.parent.parent.name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    expected = load_dataset(flat).split("test")
    assert expected
    assert run(["evaluate", str(exported), str(flat), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_images"] == len(expected)
    assert {sample.name for sample in expected}.isdisjoint(
        sample.name for sample in load_dataset(flat, needs=("train", "val")).split("train")
    )


def test_a_model_without_a_recorded_seed(photos, tmp_path, capsys):
    torch.manual_seed(0)
    export_onnx(
        build(named("resnet8", 3)),
        labels=tuple(CLASSES),
        resize=ResizeRule(32),
        macs_as_trained=1,
        provenance={},
        check_images=np.zeros((1, 32, 32, 3), np.uint8),
        path=tmp_path / "model.onnx",
    )
    assert run(["evaluate", str(tmp_path / "model.onnx"), str(photos), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_images"] == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "holdout"], "no photos in the split 'holdout'"),
        (["--preset", "team-code-2021", "--baseline-f1", "0.5"], "exclude one another"),
        (["--baseline-f1", "0.5"], "belong together"),
        (["--baseline-f1", "1.5", "--baseline-macs", "10"], "baseline F1 1.5"),
    ],
)
def test_evaluate_refuses_bad_options(exported, photos, capsys, options, message):
    assert run(["evaluate", str(exported), str(photos), *options]) == 2
    assert message in capsys.readouterr().err


def test_evaluate_refuses_bad_models_and_data(exported, photos, tmp_path, capsys):
    assert run(["evaluate", str(tmp_path / "none.onnx"), str(photos)]) == 2
    assert "no such model" in capsys.readouterr().err
    assert run(["evaluate", str(tmp_path), str(photos)]) == 2
    assert "wisp export" in capsys.readouterr().err
    assert run(["evaluate", str(exported), str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    shutil.copytree(photos / "test" / "Glass", tmp_path / "photos" / "test" / "Glas")
    assert run(["evaluate", str(exported), str(tmp_path / "photos")]) == 2
    assert "the model does not know the class 'Glas'" in capsys.readouterr().err


def test_what_a_file_states_is_held_against_its_graph(exported, photos, tmp_path, capsys):
    honest = ["evaluate", str(exported), str(photos), "--json"]
    assert run(honest) == 0
    shown = capsys.readouterr()
    value = json.loads(shown.out)
    assert value["macs_doubt"] is None
    assert shown.err == ""
    assert value["macs_graph"] == count_onnx(exported / "model.onnx").total < value["macs"]

    model = onnx.load(exported / "model.onnx")
    del model.metadata_props[-1]  # the seal
    (entry,) = [entry for entry in model.metadata_props if entry.key == "wisp.macs"]
    entry.value = "1000"
    path = tmp_path / "modest.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    assert run(["evaluate", str(path), str(photos)]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"wisp: {path}: it states 1,000 MACs, but its graph has ")
    assert shown.err.count("\n") == 1
    assert f"MACs of the graph  {value['macs_graph']:,}  (exact" in shown.out
