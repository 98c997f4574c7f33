"""`wisp check` as it is typed: exit codes, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_submission import paint_test_photos, tiny_submission
from wisp.cli.main import run

CHEAT = """
import torch.nn.functional as F
from torch import nn


class Conv(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight)


def build(num_classes=9):
    return nn.Sequential(Conv(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def cheat(tmp_path: Path) -> Path:
    path = tmp_path / "model.py"
    path.write_text(CHEAT, encoding="utf-8")
    return path


def test_a_network_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "wisp-250k", "--image-size", "32", "--num-classes", "6", "--seed", "5"]) == 0
    output = capsys.readouterr().out
    assert "not judged: untouched-test-set, reproducible: there is no training to look at" in output
    assert "MACs for 32 x 32: 65,158 official, 59,232 exact" in output
    assert output.endswith("wisp-250k: clean (seed 5)\n")


def test_a_source_that_is_not_run_is_not_clean(cheat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(cheat)]) == 2
    output = capsys.readouterr().out
    assert f"warning [hidden-computation] {cheat}:6: Conv is a subclass of torch.nn.Conv2d" in output
    assert "run it, confined, with --run-source" in output
    assert "no violations found, and not judged to the end" in output


def test_what_reading_proves_is_a_violation(cheat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cheat.write_text("import timm\n" + CHEAT, encoding="utf-8")
    assert run(["check", str(cheat), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["target"] == str(cheat)
    assert value["result"] == "violations"
    first = value["findings"][0]
    assert set(first) == {"rule", "severity", "path", "line", "message", "fix"}
    assert (first["rule"], first["path"], first["line"]) == ("external-libraries", str(cheat), 1)
    assert set(value["not_judged"]) == {
        "hidden-computation",
        "one-inference",
        "untouched-test-set",
        "reproducible",
    }
    assert value["counts"] == {}
    assert isinstance(value["seed"], int)


@pytest.mark.slow
def test_a_cheat_is_named_by_file_and_line(cheat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", str(cheat), "--run-source", "--image-size", "16", "--num-classes", "5"]
    assert run(arguments) == 1
    output = capsys.readouterr().out
    assert (
        f"violation [hidden-computation] {cheat}:8: module 0: 21,168 MACs that the counter does not see"
        in output
    )
    assert f"{cheat}: 1 violation (seed " in output


def test_a_submission_that_is_not_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tiny_submission(paint_test_photos(tmp_path / "photos"))
    team = parts.with_file("recipe.toml", "image_size = 16\nseed = 4\n").write(tmp_path / "team.zip")
    assert run(["check", str(team)]) == 1
    assert "not what its manifest says; the rules were not applied" in capsys.readouterr().out
    assert run(["check", str(team), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["result"] == "violations"
    assert value["findings"][0]["path"] == "recipe.toml"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-network"], "no model is called"),
        (["none.py"], "no such file"),
        (["none.zip"], "no such file"),
        (["model.onnx"], "an exported graph says nothing about rules"),
        (["wisp-250k", "--data", "photos"], "is no training; leave the option out"),
        (["wisp-250k", "--data", "nowhere"], "nowhere"),
        (["wisp-250k", "--image-size", "4"], "--image-size"),
    ],
)
def test_unusable_input_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    paint_test_photos(tmp_path / "photos")
    assert run(["check", *arguments]) == 2
    assert words in capsys.readouterr().err
