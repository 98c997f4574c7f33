from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wisp.cli.data import VERBS, data
from wisp.cli.main import cli, run


def _paint(path: Path, seed: int) -> None:
    blots = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blots).resize((64, 48), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, first, count in (("train", 0, 4), ("val", 10, 2)):
        for label, name in enumerate(("Glass", "종이팩")):
            for number in range(count):
                _paint(root / split / name / f"{number}.jpg", 100 * label + first + number)
    return root


def test_findings_on_the_terminal(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        (photos / f"train/Glass/bad{number:02}.jpg").write_text("nothing")
    shutil.copy(photos / "train/Glass/0.jpg", photos / "val/Glass/leak.jpg")
    shutil.copy(photos / "train/Glass/1.jpg", photos / "val/종이팩/wrong.jpg")
    (photos / "test/NoLabel").mkdir(parents=True)
    _paint(photos / "test/NoLabel/x.jpg", 1)
    out = tmp_path / "found"
    assert run(["data", "inspect", str(photos), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("40 photos, 2 classes (train/val/test folders)")
    assert [line.split() for line in lines[2:7]] == [
        ["class", "train", "val", "unlabelled"],
        ["Glass", "29", "3", "-"],
        ["종이팩", "4", "3", "-"],
        ["(unlabelled)", "-", "-", "1"],
        ["total", "33", "6", "1"],
    ]
    assert "width         min 64, 5% 64, median 64, 95% 64, max 64" in lines
    assert "duplicates    2 exact and 0 near groups, 2 across splits" in lines
    assert "unreadable files (25)" in lines
    assert "  train/Glass/bad19.jpg: not a photo of a known kind" in "\n".join(lines)
    assert "bad20" not in "\n".join(lines)
    assert "  ... and 5 more in inspection.json" in lines
    assert "  exact: train/Glass/0.jpg = val/Glass/leak.jpg" in lines
    assert "one shot with more than one label (1)" in lines
    assert any(line.startswith("  ! leakage: ") for line in lines)
    assert lines[-1] == f"written to {out}: inspection.json, contact_sheet.png, duplicates.png"
    assert len(json.loads((out / "inspection.json").read_text(encoding="utf-8"))["unreadable"]) == 25
    for name in ("contact_sheet.png", "duplicates.png"):
        with Image.open(out / name) as sheet:
            assert sheet.format == "PNG"
            assert sheet.width >= 2 * 96


def test_json(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/duplicates.png").touch()  # of an earlier inspection
    assert run(["data", "inspect", str(photos), "--out", str(tmp_path / "found"), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert found["counts"] == {"train": {"Glass": 4, "종이팩": 4}, "val": {"Glass": 2, "종이팩": 2}}
    assert found["leaks"] == found["duplicates"] == []
    assert found == json.loads((tmp_path / "found/inspection.json").read_text(encoding="utf-8"))
    assert not (tmp_path / "found/duplicates.png").exists()


def test_nothing_is_written_into_the_data_folder(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos)
    before = sorted(photos.rglob("*"))
    assert run(["data", "inspect", "."]) == 2
    assert capsys.readouterr().err.startswith("wisp: --out wisp-inspect: inside .")
    assert sorted(photos.rglob("*")) == before


def test_photos_that_cannot_be_read_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Glass", "Metal"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.jpg").touch()
    assert run(["data", "inspect", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "formats       none readable" in out
    assert "divided by wisp" in out


@pytest.mark.parametrize("verb", ["inspect", "split"])
def test_no_such_folder(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", verb, str(tmp_path / "missing"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"wisp: {tmp_path / 'missing'}: no such folder\n"


def test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        _paint(tmp_path / "photos" / ("Glass" if number % 2 else "Metal") / f"{number}.png", number)
    out = tmp_path / "out"
    assert run(["data", "split", str(tmp_path / "photos"), "--out", str(out)]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["train", "12"],
        ["test", "4"],
        ["val", "4"],
        ["written", "to"],
    ]
    assert len(list((out / "train/Glass").iterdir())) == 6
    assert run(["data", "split", str(tmp_path / "photos"), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_lines_of_the_group_are_those_of_its_verbs() -> None:
    context = cli.make_context("wisp", ["data"], resilient_parsing=True)
    assert data.list_commands(context) == list(VERBS)
    for name, (_, _, line) in VERBS.items():
        command = data.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=200) == line
    shown = CliRunner().invoke(cli, ["data", "--help"]).output
    assert all(name in shown for name in VERBS)
