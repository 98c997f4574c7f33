from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tiny_submission import Parts, paint_test_photos, tiny_submission
from tiny_training import ARCH, CLASSES, EASY, open_in, paint_photos
from wisp.cli.main import run
from wisp.models import build
from wisp.records import Dataset
from wisp.runtime.answers import read_answers
from wisp.submission import open_submission

pytestmark = pytest.mark.usefixtures("models_read_once")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = paint_photos(tmp_path_factory.mktemp("submit") / "photos", train=4, val=2)
    for number, (name, colour) in enumerate(CLASSES.items()):
        path = root / "test" / name / f"{number}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (30, 28), colour).save(path)
    return root


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    torch.set_num_threads(1)
    begun = open_in(photos.parent / "run", photos, EASY)
    begun.save_model(build(ARCH))
    return begun.folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return paint_test_photos(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def parts(colours: Dataset) -> Parts:
    return tiny_submission(colours)


@pytest.fixture
def team(parts: Parts, tmp_path: Path) -> Path:
    return parts.write(tmp_path / "team.zip")


def test_pack_check_and_the_competitions_own_files(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team, answers, table = tmp_path / "team.zip", tmp_path / "submission.json", tmp_path / "answers.csv"
    assert run(["submit", str(trained), "--out", str(team), "--competition", str(answers)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{answers}: 3 photos, ")
    assert lines[1] == f"{team}: {team.stat().st_size:,} bytes, 3 photos answered; verified"
    assert [line.partition(" ")[0] for line in lines[2:]] == ["macro", "MACs"]
    submission = open_submission(team)
    found = read_answers(answers)
    assert dict(found.answers) == submission.predictions
    assert found.macs == submission.manifest.macs.deployed

    data = ["--data", str(photos), "--json"]
    assert run(["submit", str(trained), *data, "--competition", str(table)]) == 0
    assert json.loads(capsys.readouterr().out)["competition"] == {
        "path": str(table),
        "photos": 3,
        "macs": found.macs,
    }
    assert dict(read_answers(table).answers) == submission.predictions
    for written in (team, answers, table):
        assert run(["submit", "--check", str(written), *data]) == 0
        assert json.loads(capsys.readouterr().out) == {"path": str(written), "sound": True, "findings": []}


def test_what_cannot_be_asked_for(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([], "name the run and what to write"),
        ([str(trained)], "name the run and what to write"),
        (["--out", "team.zip"], "name the run and what to write"),
        ([str(trained), "--check", "team.zip"], "--check FILE stands alone"),
        (["--out", "a.zip", "--check", "team.zip"], "--check FILE stands alone"),
        (["--skip-unreadable", "--check", "team.zip"], "--check FILE stands alone"),
        ([str(trained), "--competition", "answers.txt"], "the name must end in .json or .csv"),
        ([str(trained), "--out", str(tmp_path)], "is a folder; name the file to write"),
        ([str(tmp_path), "--out", "team.zip"], "not a run folder"),
    ):
        assert run(["submit", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_photos_that_are_not_there_any_more(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(trained, tmp_path / "run")
    data = json.loads((moved / "data.json").read_text())
    (moved / "data.json").write_text(json.dumps({**data, "root": str(tmp_path / "gone")}))
    assert run(["submit", str(moved), "--out", str(tmp_path / "team.zip")]) == 2
    assert "name their folder with --data" in capsys.readouterr().err


def test_checking_a_sound_one(team: Path, colours: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "--check", str(team)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("note: [source] model.py: the network is source code")
    assert lines[1] == f"{team}: sound (the answers were not checked: no --data)"
    assert run(["submit", "--check", str(team), "--data", str(colours.root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{team}: sound"


def test_violations_are_exit_code_1(parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = (
        parts.with_file("recipe.toml", b"=")
        .with_file("weights.safetensors", b"")
        .write(tmp_path / "team.zip")
    )
    assert run(["submit", "--check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].partition(" ")[0] for line in lines[:2]] == ["[recipe]", "[weights]"]
    assert lines[-1] == f"{path}: 2 violations"
    assert run(["submit", "--check", str(path), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["sound"] is False
    rules = [finding["rule"] for finding in value["findings"] if finding["severity"] == "violation"]
    assert rules == ["recipe", "weights"]


def test_what_cannot_be_read_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "team.zip").write_bytes(b"no zip file")
    for name in ("team.zip", "gone.zip", "gone.csv", "gone.json", "."):
        assert run(["submit", "--check", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_answers_against_the_photos(
    colours: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("file_name,class\nnew-Red.png,Purple\nstranger.png,Red\n")
    assert run(["submit", "--check", str(path)]) == 0  # the form alone
    capsys.readouterr()
    assert run(["submit", "--check", str(path), "--data", str(colours.root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("]")[0] for line in lines[:3]] == [
        "violation: [missing-answers",
        "violation: [extra-answers",
        "violation: [classes",
    ]
    assert "1 answers name a class that" in lines[2]
    path.write_text("one column\n")
    assert run(["submit", "--check", str(path)]) == 2
    assert "answers.csv:1: 1 fields" in capsys.readouterr().err
