"""`wisp compress`: what it prints, and one line for what cannot be."""

import json

import pytest
import torch

from tiny_training import ARCH, paint_photos
from wisp.cli.main import run
from wisp.data.folders import load_dataset
from wisp.macs import count_macs
from wisp.models import build
from wisp.train.recipe import Recipe
from wisp.train.run import create_run, describe_data, read_run

RECIPE = Recipe(image_size=16, epochs=4, batch_size=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint_photos(tmp_path_factory.mktemp("data") / "photos", train=6, val=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """A finished run with random weights: nothing here depends on how well it was trained."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.manual_seed(0)
    finished = create_run(path, RECIPE, ARCH, describe_data(load_dataset(photos), progress=False))
    finished.save_model(build(ARCH))
    return path


def test_a_run_is_pruned_tuned_and_can_be_used_by_the_other_commands(folder, photos, tmp_path, capsys):
    out = tmp_path / "small"
    words = ["--method", "prune", "--ratio", "0.6", "--epochs", "1", "--data", str(photos), "--out", str(out)]
    assert run(["compress", str(folder), *words]) == 0
    printed = capsys.readouterr().out
    assert "stem.0" in printed
    assert "MACs, official" in printed
    assert "MACs, onnx" in printed
    assert "validation macro F1" in printed
    assert "reached" in printed
    assert printed.endswith(f"{out}: a run like any other; exported as {out / 'model.onnx'}\n")
    macs = count_macs(read_run(out).load_model(), 16).total
    assert f"{macs:,}" in printed
    assert run(["macs", str(out), "--image-size", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == macs
    assert run(["export", str(out), "--out", str(tmp_path / "again.onnx")]) == 0
    assert run(["evaluate", str(out), str(photos), "--split", "val"]) == 0
    capsys.readouterr()


def test_json_is_the_change(folder, tmp_path, capsys):
    out = tmp_path / "fused"
    assert run(["compress", str(folder), "--method", "fuse", "--out", str(out), "--json"]) == 0
    change = json.loads(capsys.readouterr().out)
    assert change["method"] == "fuse"
    assert change["macs_after"]["official"] < change["macs_before"]["official"]
    written = json.loads((out / "compression.json").read_text())
    assert {name: value for name, value in written.items() if name not in {"from", "options"}} == change


def test_a_target_out_of_reach_is_said_and_is_no_failure(folder, capsys):
    assert run(["compress", str(folder), "--method", "lowrank", "--max-macs", "10"]) == 0
    printed = capsys.readouterr().out
    assert "target: 10 MACs: NOT reached" in printed
    assert "note: 10 MACs cannot be reached by factoring" in printed
    assert "note: no photos were given" in printed


def test_ranks_without_a_target_must_be_asked_for(folder, capsys):
    assert run(["compress", str(folder), "--method", "lowrank", "--ranks", "variational", "--json"]) == 0
    change = json.loads(capsys.readouterr().out)
    assert change["max_macs"] is None
    assert change["macs_after"]["exact"] < change["macs_before"]["exact"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "prune"], "needs a target: --max-macs or --ratio"),
        (["--method", "lowrank"], "needs a target: --max-macs or --ratio (or --ranks variational"),
        (
            ["--method", "prune", "--ratio", ".5", "--ranks", "variational"],
            "--ranks belongs to --method lowrank",
        ),
        (["--method", "lowrank", "--ratio", ".5", "--ranks", "variational"], "in place of a target"),
        (["--method", "prune", "--ratio", "2"], "--ratio 2: the share"),
        (["--method", "fuse", "--resume"], "need --out"),
        (["--method", "fuse", "--out", "x", "--resume", "--overwrite"], "give one of them"),
        (["--method", "fuse", "--image-size", "32"], "--image-size 32: the run was trained at 16 px"),
        (["--method", "prune", "--ratio", ".5", "--importance", "taylor"], "give --data"),
        (["--method", "fuse", "--data", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line(folder, words, said, capsys):
    assert run(["compress", str(folder), *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("wisp: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_model_that_is_none(tmp_path, capsys):
    assert run(["compress", str(tmp_path / "nothing"), "--method", "fuse"]) == 2
    assert "and there is no such file" in capsys.readouterr().err
    assert run(["compress", "wisp-2m", "--method", "fuse"]) == 2
    assert "trained weights are needed" in capsys.readouterr().err
    assert run(["compress", "wisp-2m", "--method", "fuse", "--weights", str(tmp_path / "none.pth")]) == 2
    assert "no such weights file" in capsys.readouterr().err


def test_out_inside_the_photos_is_refused(folder, photos, capsys):
    out = photos / "small"
    words = ["--method", "fuse", "--data", str(photos), "--out", str(out)]
    assert run(["compress", str(folder), *words]) == 2
    assert "would count as a class" in capsys.readouterr().err
    assert not out.exists()
