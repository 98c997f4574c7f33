"""`wisp data get` and `wisp data crop` as users type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from wisp.cli.data import VERBS
from wisp.cli.data_crop import crop
from wisp.cli.data_get import get
from wisp.cli.main import run
from wisp.data.crop_folder import CropReport
from wisp.data.download import Downloader
from wisp.data.public_sets import taco, trashnet


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Twelve photos with a red and a green object each, one photo missing."""
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for number in range(12):
        image = Image.new("RGB", (80, 60), "grey")
        image.paste("red", (10, 10, 30, 40))
        image.paste("green", (40, 10, 70, 40))
        if number < 11:
            image.save(tmp_path / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        annotations += [
            {"id": 2 * number, "image_id": number, "category_id": 0, "bbox": [10, 10, 20, 30]},
            {"id": 2 * number + 1, "image_id": number, "category_id": number % 2, "bbox": [40, 10, 30, 30]},
        ]
    document = {
        "images": images,
        "categories": [{"id": 0, "name": "Red"}, {"id": 1, "name": "Green"}],
        "annotations": annotations,
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    (tmp_path / "map.toml").write_text('[classes]\n"Red" = "Warm"\n')
    return tmp_path


def crop_in(folder: Path, *more: str) -> int:
    return run(
        [
            *("data", "crop", "--annotations", str(folder / "coco.json"), "--images", str(folder / "images")),
            *("--out", str(folder / "out"), *more),
        ]
    )


def test_short_helps_equal_the_table() -> None:
    for name, command in (("get", get), ("crop", crop)):
        assert command.get_short_help_str(200) == VERBS[name][2]


def test_crop_prints_the_table_and_what_was_left_out(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crop_in(coco) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["train", "val", "test"]
    assert [line.split()[0] for line in lines[1:4]] == ["Green", "Red", "total"]
    assert sum(map(int, lines[3].split()[1:])) == 22
    assert "22 crops (22 new, 0 cut at their photo's edge)" in out
    assert "left out: 2 annotations" in out
    assert "2  photo missing" in out
    assert "warning: 11.png: photo missing" in err
    assert (coco / "out" / "index.csv").read_text().splitlines()[1].split(",")[2] == "images"
    assert crop_in(coco) == 0
    assert "22 crops (0 new" in capsys.readouterr().out


def test_crop_options_reach_the_crops(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--class-map", str(coco / "map.toml"), "--no-split", "--margin", "0", "--min-size", "30")
    assert crop_in(coco, *options, "--source", "lab", "--workers", "1", "--seed", "3") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["photos"]
    assert "not in the class map: Green (6)" in out
    row = (coco / "out" / "index.csv").read_text().splitlines()[1].split(",")
    assert row[1:3] == ["Warm", "lab"]
    assert row[-2:] == ["20", "30"]


def test_crop_warns_of_classes_that_a_split_lacks(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crop_in(coco, "--split", "1,0,0") == 0
    assert "no crop of" not in capsys.readouterr().err
    assert crop_in(coco, "--split", "0.96,0.02,0.02", "--overwrite") == 0
    out, err = capsys.readouterr()
    columns = out.splitlines()[0].split()
    assert ("no crop of Green" in err) == (len(columns) > 1)


def test_long_lists_are_cut_short(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        (coco / "images" / f"{number}.png").unlink()
    assert crop_in(coco) == 0
    err = capsys.readouterr().err
    assert err.count("photo missing") == 5
    assert "... and 3 more" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--split", "0.8,0.2"), "must be three fractions"),
        (("--split", "a,b,c"), "must be three fractions"),
        (("--split", "0.8,0.1,0.3"), "fractions that sum to 1"),
        (("--margin", "-1"), "margin must be"),
        (("--class-map", "none.toml"), "none.toml: cannot be read"),
        (("--annotations", "none.json"), "none.json: cannot be read"),
        (("--images", "none"), "none: no such folder or archive"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    coco: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert crop_in(coco, *more) == 2
    assert message in capsys.readouterr().err
    assert not (coco / "out").exists()


def test_other_settings_need_overwrite(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crop_in(coco) == 0
    assert crop_in(coco, "--margin", "0.3") == 2
    assert "margin: 0.1 there, 0.3 now" in capsys.readouterr().err
    assert crop_in(coco, "--margin", "0.3", "--overwrite") == 0


def test_get_trashnet(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(shared_data / "trashnet" / "dataset-resized.zip")
    assert run(["data", "get", "trashnet", "--out", str(tmp_path / "out"), "--from", source]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-2].split() == ["total", "1,768", "328", "431"]
    assert "2,527 photos (2,527 new), the authors' split" in out


def test_get_trashnet_refuses_options_of_crops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "get", "trashnet", "--out", str(tmp_path / "out"), "--min-size", "9"]) == 2
    assert "--min-size is for taco" in capsys.readouterr().err


def test_get_taco_from_a_copy(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (coco / "coco.json").rename(coco / "images" / "annotations.json")
    options = ["--class-map", str(coco / "map.toml"), "--margin", "0.2", "--seed", "1", "--workers", "1"]
    arguments = ["data", "get", "taco", "--out", str(coco / "out"), "--from", str(coco / "images"), *options]
    assert run(arguments) == 0
    assert "not in the class map: Green (6)" in capsys.readouterr().out


def test_get_lists_what_was_not_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = taco.TacoReport(CropReport({"train": {"Glass": 1}}, 1, 0, (), ()), (("a.jpg", "HTTP 404"),) * 7)
    monkeypatch.setattr(taco, "get_taco", lambda *_, **__: report)
    assert run(["data", "get", "taco", "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "not fetched: 7 photos" in out
    assert "... and 2 more" in err


def test_get_offline_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Downloader(attempts=1, sleep=lambda _: None)
    monkeypatch.setattr(trashnet, "Downloader", lambda: quick)
    monkeypatch.setattr(trashnet, "_ARCHIVE_URL", "http://nowhere.invalid/dataset-resized.zip")
    assert run(["data", "get", "trashnet", "--out", str(tmp_path / "out")]) == 1
    assert "--from ARCHIVE|FOLDER|URL" in capsys.readouterr().err
    mirror = "http://nowhere.invalid/x.zip"
    assert run(["data", "get", "trashnet", "--out", str(tmp_path / "out"), "--from", mirror]) == 1
    assert "--from" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_get_knows_two_sets(tmp_path: Path) -> None:
    assert run(["data", "get", "imagenet", "--out", str(tmp_path)]) == 2
