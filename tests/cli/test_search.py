"""What the verb `search` hands to the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sample_report import make_content
from wisp import latency_probe, pipeline
from wisp.cli.main import run
from wisp.outcome import Outcome, Settings
from wisp.search.limits import Limits


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, dict[str, Any]]]:
    """What `wisp.pipeline.optimize` was called with; it returns a finished outcome."""
    calls: list[tuple[Settings, dict[str, Any]]] = []

    def stand_in(settings: Settings, **options: Any) -> Outcome:
        calls.append((settings, options))
        content = make_content()
        return Outcome(
            settings=settings,
            trials=content.trials,
            chosen=content.chosen,
            validation=content.validation,
            test=content.test,
            inspection=content.inspection,
            notes=(),
            seconds=61.4,
        )

    monkeypatch.setattr(pipeline, "optimize", stand_in)
    return calls


def test_defaults(given: list[tuple[Settings, dict[str, Any]]], tmp_path: Path) -> None:
    assert run(["search", str(tmp_path), "--out", "run"]) == 0
    ((settings, options),) = given
    assert settings.budget_seconds == 3600
    assert settings.search is not None
    assert settings.search.strategy is None
    assert settings.search.limits == Limits()
    assert (settings.search.storage, settings.search.ray, settings.search.sizes) == (None, None, None)
    assert (options["resume"], options["overwrite"]) == (False, False)


def test_every_option_arrives(
    given: list[tuple[Settings, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--budget 90s --strategy random --max-macs 900000 --max-params 40000 --max-bytes 200000 --max-memory 100000 "
        "--max-latency 2.5 --target-f1 0.7 --sizes 48,32 --trials 9 --seed 4 --workers 3 --study mine --resume --json"
    )
    assert run(["search", str(tmp_path), "--out", "run", *words.split()]) == 0
    ((settings, options),) = given
    search = settings.search
    assert search is not None
    assert search.limits == Limits(900_000, 40_000, 200_000, 100_000, 2.5, latency_probe.measure_untrained)
    assert (settings.budget_seconds, settings.seed, settings.workers) == (90, 4, 3)
    assert (settings.target_f1, settings.max_macs) == (0.7, 900_000)
    assert (search.strategy, search.sizes, search.trials, search.study) == ("random", (48, 32), 9, "mine")
    assert options["resume"] is True
    assert json.loads(capsys.readouterr().out)["seconds"] == 61.4
    given.clear()
    words = "--storage sqlite:///a.db --ray auto --gpus-per-trial 0.25"
    assert run(["search", str(tmp_path), "--out", "run", *words.split()]) == 0
    ((settings, _),) = given
    assert settings.search is not None
    assert (settings.search.storage, settings.search.ray) == ("sqlite:///a.db", "auto")
    assert settings.search.gpus_per_trial == 0.25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resume --overwrite", "--resume and --overwrite"),
        ("--gpus-per-trial 0.5", "--gpus-per-trial: is asked of a Ray cluster"),
        ("--sizes big", "--sizes big: give pixels"),
        ("--max-latency -1", "--max-latency -1.0: must be above 0"),
    ],
)
def test_mistakes_are_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", str(tmp_path), "--out", "run", *words.split()]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
