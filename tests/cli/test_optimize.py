"""What the verb `optimize` hands to the pipeline, and what it prints of the outcome."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sample_report import make_content
from wisp import pipeline
from wisp.cli.main import run
from wisp.errors import DataError
from wisp.outcome import Outcome, Settings
from wisp.score import PRESETS, Baseline


class Pipeline:
    """Stands in for `wisp.pipeline.optimize`: notes what it is given, and returns a finished outcome."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.options: dict[str, Any] = {}
        self.error: BaseException | None = None
        self.without_test = False

    def __call__(self, settings: Settings, **options: Any) -> Outcome:
        self.settings, self.options = settings, options
        if self.error is not None:
            raise self.error
        content = make_content()
        return Outcome(
            settings=settings,
            trials=content.trials,
            chosen=content.chosen,
            validation=content.validation,
            test=None if self.without_test else content.test,
            inspection=content.inspection,
            notes=("something to know",),
            seconds=61.4,
        )

    @property
    def given(self) -> Settings:
        assert self.settings is not None
        return self.settings


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    stand_in = Pipeline()
    monkeypatch.setattr(pipeline, "optimize", stand_in)
    return stand_in


def test_defaults(job: Pipeline, tmp_path: Path) -> None:
    before = time.monotonic()
    assert run(["optimize", "photos", "--out", str(tmp_path / "out")]) == 0
    given = job.given
    assert given.workers >= 1
    assert replace(given, workers=2) == Settings(Path("photos"), tmp_path / "out", 600.0)
    assert job.options["resume"] is job.options["overwrite"] is False
    assert before <= job.options["started"] <= time.monotonic()


def test_every_option_arrives(job: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("learning_rate = 0.001\n")
    arguments = [
        *("optimize", "photos", "--out", "out", "--budget", "1.5h", "--seed", "7", "--target-f1", "0.8"),
        *("--max-macs", "900000", "--workers", "3", "--recipe", str(tmp_path / "recipe.toml")),
        *("--skip-unreadable", "--resume", "--preset", "team-code-2021", "--strategy", "optuna"),
        "--distill",
    ]
    assert run(arguments) == 0
    given = job.given
    assert (given.budget_seconds, given.seed, given.target_f1, given.max_macs) == (5400.0, 7, 0.8, 900_000)
    assert (given.workers, given.recipe.learning_rate, given.skip_unreadable) == (3, 0.001, True)
    assert given.baseline == PRESETS["team-code-2021"]
    assert job.options["resume"] is True
    assert given.strategy == "optuna"
    assert given.distill is True


def test_a_baseline_of_ones_own(job: Pipeline) -> None:
    arguments = ["optimize", "photos", "--out", "out", "--baseline-f1", "0.7", "--baseline-macs", "5e8"]
    assert run(arguments) == 0
    assert job.given.baseline == Baseline(0.7, 5e8)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["photos"],
        ["photos", "--out", "out", "--budget", "soon"],
        ["photos", "--out", "out", "--target-f1", "1.5"],
        ["photos", "--out", "out", "--target-f1", "much"],
        ["photos", "--out", "out", "--max-macs", "0"],
        ["photos", "--out", "out", "--seed", "-1"],
        ["photos", "--out", "out", "--workers", "0"],
        ["photos", "--out", "out", "--recipe", "nowhere.toml"],
        ["photos", "--out", "out", "--preset", "team-code-2021", "--baseline-f1", "0.5"],
    ],
)
def test_unusable_options(job: Pipeline, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", *arguments]) == 2
    assert job.settings is None
    assert capsys.readouterr().err


def test_the_table(job: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", "photos", "--out", "out"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    content = make_content()
    for title in ("candidate", "epochs", "F1 (val)", "MACs", "params", "bytes", "latency ms", "score"):
        assert title in lines[0]
    rows = lines[2 : 2 + len(content.trials)]
    assert len({len(row) for row in [lines[0], lines[1], *rows]}) == 1  # columns stand under one another
    (marked,) = (row for row in rows if row.startswith("* "))
    assert content.chosen.candidate.name in marked
    assert f"{content.chosen.measurement.macs:,}" in marked
    assert f"{content.chosen.measurement.score:.4f}" in marked
    assert content.test is not None
    assert f"On test ({content.test.n_images} photos): macro F1 {content.test.f1_macro:.4f}" in printed
    assert "note: something to know" in printed
    for warning in content.inspection.warnings:
        assert f"data: {warning}" in printed
    for part in content.test.parts:
        assert f"part {part}" in printed
    assert "out/model.onnx" in printed
    assert "out/report.html" in printed
    assert "61 s in all" in printed


def test_without_test_photos_the_figures_are_those_of_validation(
    job: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    job.without_test = True
    assert run(["optimize", "photos", "--out", "out"]) == 0
    assert "On val (" in capsys.readouterr().out


def test_json(job: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", "photos", "--out", "out", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    content = make_content()
    assert content.test is not None
    assert value["chosen"]["name"] == content.chosen.candidate.name
    assert value["chosen"]["score"] == content.chosen.measurement.score
    assert value["test"]["f1_macro"] == content.test.f1_macro
    assert value["validation"]["split"] == "val"
    assert len(value["candidates"]) == len(content.trials)
    assert {"name", "epochs", "macs", "params", "size_bytes", "latency_p50_ms"} <= set(value["candidates"][0])
    assert value["warnings"] == ["something to know", *content.inspection.warnings]
    assert value["model"] == "out/model.onnx"
    assert value["report"] == "out/report.html"
    assert value["seconds"] == 61.4


def test_json_without_test_photos(job: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    job.without_test = True
    assert run(["optimize", "photos", "--out", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"] is None


def test_an_error_is_one_line(job: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    job.error = DataError("photos: no such folder")
    assert run(["optimize", "photos", "--out", "out"]) == 2
    assert capsys.readouterr().err == "wisp: photos: no such folder\n"


def test_ctrl_c_says_how_to_go_on(job: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.error = KeyboardInterrupt()
    assert run(["optimize", "photos", "--out", str(tmp_path)]) == 130
    assert "--resume" not in capsys.readouterr().err  # nothing was begun
    (tmp_path / "optimize.json").write_text("{}")
    assert run(["optimize", "photos", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == f"{tmp_path}: stopped; go on with the same command and --resume"
    assert printed[1].strip() in ("", "wisp: interrupted")


def test_resume_and_overwrite_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", "photos", "--out", "job", "--resume", "--overwrite"]) == 2
    assert "--resume and --overwrite" in capsys.readouterr().err
