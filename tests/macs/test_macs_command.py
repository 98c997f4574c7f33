"""`wisp macs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wisp.cli.main import run
from wisp.models import named, names


def test_table_is_aligned_and_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", "wisp-2m", "--num-classes", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "MACs", "params"]
    assert lines[-1].split() == ["total", "2,322,310", "66,122"]
    rows = [line for line in lines if not line.startswith("-")]
    assert len({len(row) for row in rows}) == 1
    assert sum(int(row.split()[-2].replace(",", "")) for row in rows[1:-1]) == 2_322_310
    assert rows[1].split() == ["stem.0", "Conv2d", "14", "x", "16", "x", "16", "172,032", "672"]


def test_size_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", "wisp-2m", "--image-size", "32", "--num-classes", "6", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["total"], values["params"], values["image_size"]) == (581_158, 66_122, 32)
    assert values["layers"][0] == {
        "name": "stem.0",
        "kind": "Conv2d",
        "macs": 43_008,
        "params": 672,
        "output_shape": [14, 8, 8],
    }
    assert run(["macs", "wisp-2m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_classes"] == 9


def test_says_what_the_counter_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", "mobilenet_v3_small-0.5"]) == 0
    assert capsys.readouterr().out.endswith(
        "counted as zero, as the competition's counter does: Hardsigmoid (9), Hardswish (19)\n"
    )


def test_takes_files_and_run_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = named("wisp-250k", 4)
    spec.save(tmp_path / "arch.json")
    for model in (tmp_path, tmp_path / "arch.json"):
        assert run(["macs", str(model), "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert (values["total"], values["num_classes"]) == (spec.macs(64), 4)


def test_a_run_is_counted_at_its_own_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = named("wisp-250k", 4)
    spec.save(tmp_path / "arch.json")
    (tmp_path / "recipe.toml").write_text("image_size = 40\n", encoding="utf-8")
    for arguments, size in (([], 40), (["--image-size", "32"], 32)):
        assert run(["macs", str(tmp_path), "--json", *arguments]) == 0
        values = json.loads(capsys.readouterr().out)
        assert (values["total"], values["image_size"]) == (spec.macs(size), size)
    (tmp_path / "recipe.toml").write_text("image_size = big\n", encoding="utf-8")
    assert run(["macs", str(tmp_path)]) == 2
    assert "recipe.toml: not a TOML file" in capsys.readouterr().err


def test_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    assert "squeezenet1_1  (ImageNet weights)" in lines
    assert "wisp-2m" in lines


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["mobilnet_v2"], "did you mean mobilenet_v2"),
        (["no/such/arch.json"], "cannot be read"),
        (["ghostnet-wide"], "must be a number from 0.01 to 10"),
        (["squeezenet1_0", "--image-size", "8"], "try a larger size"),
        (["wisp-2m", "--image-size", "0"], "--image-size"),
        (["wisp-2m", "--num-classes", "1"], "--num-classes"),
        ([], "MODEL"),
    ],
)
def test_refuses(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["macs", *arguments]) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert not output.out
