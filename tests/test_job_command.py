"""The command that a report prints asks for the same job again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wisp import pipeline
from wisp.cli.main import run
from wisp.models.starts import SCRATCH
from wisp.outcome import Settings, job_command
from wisp.score import Baseline
from wisp.search.limits import Limits
from wisp.search_settings import SearchSettings
from wisp.train.recipe import Recipe
from wisp.train.run import RECIPE

PLAIN = Settings(Path("my photos"), Path("again"), budget_seconds=90.0, strategy="ladder")


class AskedError(Exception):
    pass


def asked(command: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the job is asked when this is typed."""
    seen: list[Settings] = []

    def optimize(settings: Settings, **_: Any) -> None:
        seen.append(settings)
        raise AskedError

    monkeypatch.setattr(pipeline, "optimize", optimize)
    words = shlex.split(command)
    assert words[0] == "wisp"
    with pytest.raises(AskedError):
        run(words[1:])
    return seen[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"budget_seconds": 5400.5, "seed": 7, "workers": 3, "init": SCRATCH, "distill": True},
        {"target_f1": 0.8, "max_macs": 900_000, "skip_unreadable": True, "baseline": Baseline(0.9, 1e6)},
    ],
    ids=["as it comes", "longer", "with limits"],
)
def test_of_a_ladder(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(PLAIN, **changes)
    assert asked(job_command(settings), monkeypatch) == settings


@pytest.mark.parametrize(
    "search",
    [
        SearchSettings(),
        SearchSettings(
            limits=Limits(macs=10**6, params=50_000, size_bytes=300_000, memory_bytes=200_000),
            sizes=(32, 48),
            augmentation=True,
            trials=40,
        ),
        SearchSettings(ray="auto", gpus_per_trial=0.25),
    ],
    ids=["as it comes", "with limits", "on a cluster"],
)
def test_of_a_search(search: SearchSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    search = replace(search, strategy="evolution")
    settings = replace(PLAIN, strategy="evolution", search=search)
    expected = replace(settings, strategy=None, max_macs=search.limits.macs)
    assert asked(job_command(settings), monkeypatch) == expected


def test_with_a_recipe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(label_smoothing=0.05)
    recipe.save(tmp_path / RECIPE)
    settings = replace(PLAIN, out=tmp_path, recipe=recipe)
    assert asked(job_command(settings), monkeypatch) == replace(settings, out=Path("again"))


def test_holds_no_password_and_begins_a_study_of_its_own() -> None:
    storage = "postgresql+pg8000://robot:se%40cret@host:5432/trials"
    search = SearchSettings(strategy="evolution", storage=storage, study="bins")
    words = shlex.split(job_command(replace(PLAIN, strategy="evolution", search=search)))
    assert "postgresql+pg8000://robot:***@host:5432/trials" in words
    assert words[words.index("--study") + 1] == "bins-again"
    assert "se%40cret" not in " ".join(words)
