"""`wisp data synthetic` as users type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wisp.cli.data import VERBS
from wisp.cli.data_synthetic import synthetic
from wisp.cli.main import run
from wisp.data.folders import load_dataset


def test_the_groups_line_is_the_verbs_own() -> None:
    assert VERBS["synthetic"][2] == synthetic.get_short_help_str(200)


def test_render_then_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "data",
        "synthetic",
        "--out",
        str(tmp_path / "set"),
        "--images",
        "30",
        "--seed",
        "4",
        "--if-missing",
    ]
    assert run(command) == 0
    said = capsys.readouterr()
    assert (
        f"Rendered 30 synthetic pictures in {tmp_path / 'set'} (train 12, val 9, test 9; seed 4)." in said.out
    )
    assert "not photographs" in said.out
    assert said.err == ""  # no progress bar off a terminal
    assert run(command) == 0
    assert "Kept 30 synthetic pictures" in capsys.readouterr().out
    assert run(command[:-1]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run([*command, "--images", "31"]) == 2
    assert "made with images 30 instead of 31; remove it or name another folder" in capsys.readouterr().err


def test_scenes_feed_the_crop_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes, crops = tmp_path / "scenes", tmp_path / "crops"
    assert run(["data", "synthetic", "--coco", "--out", str(scenes), "--images", "8", "--workers", "1"]) == 0
    assert "Rendered 8 synthetic scenes" in capsys.readouterr().out
    annotations = scenes / "annotations.json"
    class_map = tmp_path / "map.toml"
    names = [category["name"] for category in json.loads(annotations.read_text())["categories"]]
    class_map.write_text("[classes]\n" + "".join(f'"{name}" = "{name}"\n' for name in names))
    command = [
        "data",
        "crop",
        "--annotations",
        str(annotations),
        "--images",
        str(scenes),
        "--out",
        str(crops),
    ]
    assert run([*command, "--class-map", str(class_map), "--min-size", "8"]) == 0
    found = load_dataset(crops)
    assert set(found.classes) <= set(names)
    assert sum(len(split) for split in found.splits.values()) >= 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "5"], "images: 5 is too few, at least 27 are needed"),
        (["--seed", "-3"], "seed: -3 is negative"),
        (["--workers", "0"], "workers: 0 makes no sense"),
    ],
)
def test_bad_numbers(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "synthetic", "--out", str(tmp_path / "set"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_out_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "synthetic"]) == 2
    assert "--out" in capsys.readouterr().err
