"""The comparison itself: who is compared, what counts as dominated, what is recorded, how it stops and goes on."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks import front
from benchmarks.front_trainings import Entrant, Point, work_for
from benchmarks.outcome import Bar
from benchmarks.peers import PEERS
from PIL import Image

from tiny_training import ARCH, EASY, paint_photos
from wisp.errors import InputError, ModelError
from wisp.models import SourceArch, named
from wisp.train.run import create_run

TINY = """
import torch

def build(num_classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, num_classes)
    )
"""


def _point(name: str, f1: dict[int, float], macs: int, *, ours: bool, graph: int | None = None) -> Point:
    entrant = Entrant(name, named("wisp-250k", 3), 32, ours, "scratch")
    return Point(entrant, f1, macs, macs if graph is None else graph, macs, params=10, latency_ms=0.1)


def test_dominated_takes_fewer_macs_and_a_higher_mean() -> None:
    peer = _point("peer", {0: 0.5, 1: 0.7}, 1000, ours=False)
    assert _point("ours", {0: 0.61, 1: 0.6}, 999, ours=True).beats(peer)
    assert not _point("as dear", {0: 0.9, 1: 0.9}, 1000, ours=True).beats(peer)
    assert not _point("as good", {0: 0.6, 1: 0.6}, 10, ours=True).beats(peer)
    assert not _point("dearer by the graph", {0: 0.9, 1: 0.9}, 900, ours=True, graph=1000).beats(peer)


def test_only_seeds_that_both_have_are_compared() -> None:
    peer = _point("peer", {0: 0.5, 1: 0.9}, 1000, ours=False)
    assert _point("ours", {0: 0.6}, 10, ours=True).beats(peer)
    assert not _point("ours", {2: 1.0}, 10, ours=True).beats(peer)


def test_dominators_are_ours_and_of_each_peer() -> None:
    points = [
        _point("dear", {0: 0.8}, 500, ours=True),
        _point("cheap", {0: 0.7}, 100, ours=True),
        _point("low", {0: 0.6}, 600, ours=False),
        _point("high", {0: 0.75}, 600, ours=False),
        _point("best", {0: 0.9}, 600, ours=False),
    ]
    found = {
        label: [point.entrant.name for point in by] for label, by in front.find_dominators(points).items()
    }
    assert found == {"low-32px": ["cheap", "dear"], "high-32px": ["dear"], "best-32px": []}
    rows = front.table(points, front.find_dominators(points)).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| **cheap**", "| **dear**", "| low", "| high", "| best"]
    assert rows[2].endswith("| dear-32px (0.8000, 500 MACs) |")
    assert rows[4].endswith("| **none** |")


def test_spread_is_none_of_one_seed() -> None:
    assert _point("one", {0: 0.5}, 1, ours=True).f1_stdev is None
    assert _point("two", {0: 0.4, 1: 0.6}, 1, ours=True).f1_stdev == pytest.approx(0.1414, abs=1e-4)


def _arguments(**given: Any) -> argparse.Namespace:
    defaults = {"ours": [], "peers": [], "sizes": [32], "init": "scratch"}
    return argparse.Namespace(**{**defaults, **given})


def test_entrants_by_name_run_and_peer(tmp_path: Path) -> None:
    run = tmp_path / "found-7"
    create_run(run, EASY, ARCH, {"classes": ["a", "b", "c"]})
    entrants = front.list_entrants(
        _arguments(
            ours=["wisp-250k:32,48", str(run), f"{run / 'arch.json'}:24"],
            peers=["mcunet-in0", "resnet8:40"],
        ),
        6,
    )
    assert [(entrant.label, entrant.ours) for entrant in entrants] == [
        ("wisp-250k-32px", True),
        ("wisp-250k-48px", True),
        ("found-7-16px", True),  # the size of its recipe
        ("found-7-24px", True),
        ("mcunet-in0-32px", False),
        ("resnet8-40px", False),
    ]
    assert {entrant.arch.num_classes for entrant in entrants} == {6}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peers": ["mcunet"]}, "--peers mcunet: no such peer; there are shufflenet_v2-x0.5,"),
        ({"ours": ["wisp-1m"]}, "--ours wisp-1m: say at which size, as in wisp-1m:64"),
        ({"ours": ["wisp-1m:big"]}, "wisp-1m:big: behind the colon come pixels, as in wisp-1m:64"),
        ({"ours": ["wisp-1m:48", "wisp-1m:48"]}, "two networks are called wisp-1m-48px"),
    ],
)
def test_what_cannot_be_compared_is_one_line(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        front.list_entrants(_arguments(**given), 6)
    assert str(caught.value).startswith(message)


def test_an_image_too_small_for_a_peer_is_found_before_anything_is_trained() -> None:
    with pytest.raises(ModelError):
        front.list_entrants(_arguments(peers=["squeezenet1_1:4"]), 6)


def test_time_up_ends_the_work_and_only_then() -> None:
    began = time.monotonic()
    assert not work_for(0.1, lambda: time.sleep(20))
    assert not work_for(0, lambda: time.sleep(20))
    assert time.monotonic() - began < 15
    assert work_for(30, list)
    assert work_for(None, list)
    with pytest.raises(KeyboardInterrupt):
        work_for(30, _interrupted_by_hand)


def _interrupted_by_hand() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = paint_photos(tmp_path_factory.mktemp("front") / "photos")
    for name in ("glass", "metal", "종이"):
        (root / "test" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 20), (60 * number, 100, 50)).save(root / "test" / name / f"{number}.png")
    return root


def _run(
    monkeypatch: pytest.MonkeyPatch, photos: Path, folder: Path, *more: str
) -> tuple[int | str | None, Path]:
    source = SourceArch(TINY, 3, "tiny.py")
    peer = dataclasses.replace(PEERS["resnet8"], build=lambda _: source)
    monkeypatch.setattr(front, "PEERS", {"tiny": peer})
    record = folder / "front.json"
    command = [
        "front",
        str(photos),
        "--out",
        str(folder / "runs"),
        "--ours",
        "wisp-250k:16",
        "--peers",
        "tiny:16",
    ]
    recorded = ["--record", str(record), str(folder / "front.md")]
    monkeypatch.setattr(
        "sys.argv", [*command, "--epochs", "1", "--seeds", "2", "--workers", "1", *recorded, *more]
    )
    with pytest.raises(SystemExit) as caught:
        front.main()
    return caught.value.code, record


@pytest.mark.slow
def test_the_whole_comparison_stops_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, record = _run(monkeypatch, photos, tmp_path, "--limit-minutes", "0")
    assert code == 1
    assert len(json.loads(record.read_text())["missing"]) == 4
    assert "not trained yet: wisp-250k-16px-1epochs-seed0" in (tmp_path / "front.md").read_text()

    code, record = _run(monkeypatch, photos, tmp_path)
    result = json.loads(record.read_text())
    assert result["missing"] == []
    tiny, ours = sorted(result["points"], key=lambda row: row["ours"])
    assert set(tiny["f1_test"]) == set(ours["f1_test"]) == {"0", "1"}
    # a 3 x 3 convolution of stride 4 with a bias, the pool over its 4 x 4 maps, a linear layer
    assert tiny["macs_deployed"] == 4 * 4 * 4 * (27 + 1) + 4 * 16 + 5 * 3
    assert tiny["params"] == 4 * 28 + 5 * 3
    assert tiny["dominated_by"] == []  # ours has more MACs
    assert code == 1
    assert [bar["measured"] for bar in result["bars"]] == [1, 0]

    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/model.onnx")}
    assert len(stamps) == 4
    capsys.readouterr()
    _run(monkeypatch, photos, tmp_path)
    assert "4 of 4 trainings are there" in capsys.readouterr().out
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/model.onnx")}


def test_estimate_trains_nothing(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv",
        f"front {photos} --out {tmp_path}/runs --ours wisp-250k:16 --peers --epochs 2 --workers 1 --estimate".split(),
    )
    front.main()
    shown = capsys.readouterr().out
    assert "3 trainings:" in shown
    assert "wisp-250k-16px" in shown
    assert not (tmp_path / "runs").exists()


def test_bad_input_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = _run(monkeypatch, photos, tmp_path, "--recipe", str(tmp_path / "none.toml"))
    assert code == 2
    assert capsys.readouterr().err.endswith("none.toml: cannot read the recipe (No such file or directory)\n")


def test_the_page_says_what_is_bold_and_what_was_missed() -> None:
    numbers = {
        "data": {"name": "photos"},
        "recipe": {"epochs": 60},
        "seeds": [0, 1, 2],
        "init_of_ours": "pretrained",
        "missing": [],
    }
    text = front.page("| table |", numbers, [Bar("peers not dominated", 2, 0, at_most=True)])
    assert "60 epochs, 3 seeds" in text
    assert "Ours began from pretrained" in text
    assert "peers not dominated: 2, MISSED" in text
