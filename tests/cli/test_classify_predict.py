from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tiny_onnx import write_colour_model
from wisp.cli import predict as predict_verb
from wisp.cli.classify import classify
from wisp.cli.main import VERBS, run
from wisp.cli.predict import predict

RED, GREEN, BLUE = (230, 20, 20), (10, 220, 30), (20, 30, 240)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path / "run" / "model.onnx")


def photo(path: Path, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo(tmp_path / "NoLabel" / "1.jpg", RED)
    photo(tmp_path / "NoLabel" / "2.png", GREEN)
    photo(tmp_path / "NoLabel" / "3.JPG", BLUE)
    (tmp_path / "NoLabel" / "notes.txt").write_text("not a photo")
    photo(tmp_path / "NoLabel" / "._1.jpg", RED)  # what macOS leaves beside files
    return tmp_path / "NoLabel"


def test_the_help_lines_are_the_tables() -> None:
    assert classify.get_short_help_str(200) == VERBS["classify"][2]
    assert predict.get_short_help_str(200) == VERBS["predict"][2]


# --- classify -----------------------------------------------------------------------------------------------------


def test_a_table_of_labels(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = photo(folder / "사진 긴 이름.jpg", BLUE)
    assert run(["classify", str(folder / "1.jpg"), str(long), "--model", str(model)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[-2:] == ["Red", "99.9%"]
    assert second.startswith(f"{long}  Blue   ")
    wide = 5  # Korean characters, two columns each
    assert first.index("Red") == second.index("Blue") + wide


def test_the_most_probable_classes(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", str(folder / "2.png"), "--model", str(model.parent), "--top", "9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2] for line in lines] == ["Green", "Blue", "Red"]
    assert lines[1].startswith(" " * len(str(folder / "2.png")))


def test_json_is_a_list_of_objects(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", str(folder), "--model", str(model), "--json", "--top", "2"]
    assert run(arguments) == 0
    objects = json.loads(capsys.readouterr().out)
    assert [Path(value["file"]).name for value in objects] == ["1.jpg", "2.png", "3.JPG"]
    assert [value["label"] for value in objects] == ["Red", "Green", "Blue"]
    assert objects[0]["probability"] == objects[0]["probabilities"]["Red"] > 0.99
    assert list(objects[0]["probabilities"]) == ["Red", "Blue"]


def test_unreadable_photos_are_reported_and_the_rest_classified(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "missing.jpg"), str(folder / "notes.txt"), str(tmp_path / "empty")]
    assert run(["classify", *arguments, str(folder / "3.JPG"), "--model", str(model)]) == 2
    captured = capsys.readouterr()
    assert captured.out.split()[1:] == ["Blue", "100.0%"]
    assert len(captured.err.splitlines()) == 3
    for line in captured.err.splitlines():
        assert line.startswith("wisp: ")
    assert run(["classify", str(tmp_path / "missing.jpg"), "--json", "--model", str(model)]) == 2
    assert capsys.readouterr().out == "[]\n"


def test_what_cannot_be_used_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify"]) == 2
    assert "PHOTOS" in capsys.readouterr().err
    assert run(["classify", "x.jpg", "--model", "missing.onnx"]) == 2
    assert capsys.readouterr().err == "wisp: missing.onnx: no such model file\n"
    assert run(["classify", "x.jpg", "--model", "m.onnx", "--top", "0"]) == 2


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_is_not_utf8_is_still_shown(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = photo(folder / os.fsdecode(b"caf\xe9.jpg"), RED)
    assert run(["classify", str(odd), "--model", str(model)]) == 0
    assert run(["classify", str(odd), "--model", str(model), "--json"]) == 0
    assert "caf\ufffd.jpg" in capsys.readouterr().out


# --- predict ------------------------------------------------------------------------------------------------------


def test_the_competitions_layout(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "submission.json"
    assert run(["predict", str(model), str(folder), "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == {
        "macs": 12_345,
        "submission": {"1.jpg": "Red", "2.png": "Green", "3.JPG": "Blue"},
    }
    assert capsys.readouterr().out == f"{out}: 3 photos, 12,345 MACs each\n"


def test_subfolders_count_and_their_names_must_differ(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "submission.json"
    photo(folder / "more" / "4.jpg", RED)
    photo(folder / ".hidden" / "1.jpg", RED)
    assert run(["predict", str(model), str(folder), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["submission"]["4.jpg"] == "Red"
    out.unlink()
    photo(folder / "more" / "1.jpg", RED)
    assert run(["predict", str(model), str(folder), "--out", str(out)]) == 2
    assert "share a file name" in capsys.readouterr().err
    assert not out.exists()


def test_an_unreadable_photo_stops_it_or_is_listed(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "submission.json"
    (folder / "2.png").write_bytes(b"\x89PNG")
    arguments = ["predict", str(model), str(folder), "--out", str(out)]
    assert run(arguments) == 2
    message = capsys.readouterr().err
    assert "2.png" in message
    assert "1 of 3 photos cannot be read: repair them, or leave them out with --skip-unreadable" in message
    assert not out.exists()
    assert run([*arguments, "--skip-unreadable"]) == 0
    assert "2.png" in capsys.readouterr().err
    assert list(json.loads(out.read_text())["submission"]) == ["1.jpg", "3.JPG"]


def test_nothing_readable_is_an_error_even_when_skipping(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    out = str(tmp_path / "s.json")
    assert run(["predict", str(model), str(tmp_path / "bad"), "--out", out, "--skip-unreadable"]) == 2
    assert "HEIC photos are not supported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "message"),
    [("missing", "no such folder"), ("run", "no photos in this"), ("a.txt", "no such folder")],
)
def test_a_folder_without_photos(
    where: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("")
    assert run(["predict", str(model), str(tmp_path / where), "--out", str(tmp_path / "s.json")]) == 2
    assert message in capsys.readouterr().err


def test_an_output_that_cannot_be_written(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(model), str(folder), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert run(["predict", str(model), str(folder), "--out", str(tmp_path / "file" / "s.json")]) == 2
    assert "cannot write this file" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_fits_no_json(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(folder / os.fsdecode(b"caf\xe9.jpg"), RED)
    assert run(["predict", str(model), str(folder), "--out", str(tmp_path / "s.json")]) == 2
    assert "not valid UTF-8" in capsys.readouterr().err


def test_a_bar_on_a_terminal(
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predict_verb.sys.stderr, "isatty", lambda: True, raising=False)
    assert run(["predict", str(model), str(folder), "--out", str(tmp_path / "s.json")]) == 0
    assert "100%" in capsys.readouterr().err


def test_both_verbs_run_without_the_training_extra(model: Path, folder: Path, tmp_path: Path) -> None:
    program = f"""
import sys
for name in ("torch", "onnx", "pydantic", "tqdm", "filelock", "matplotlib", "safetensors", "urllib3"):
    sys.modules[name] = None  # importing it now fails
from wisp.cli.main import run
assert run(["classify", {str(folder / "1.jpg")!r}, "--model", {str(model)!r}]) == 0
assert run(["predict", {str(model)!r}, {str(folder)!r}, "--out", {str(tmp_path / "s.json")!r}]) == 0
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
