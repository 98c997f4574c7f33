from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wisp.budget import Budget, Finalist
from wisp.errors import InputError
from wisp.models import named
from wisp.search.candidate import Candidate
from wisp.search.planning import Plan
from wisp.search.space import Space

CANDIDATES = [Candidate(f"c{i}", named("wisp-500k", 3), 32) for i in range(3)]
SETTINGS = {"data": "photos", "seed": 0, "recipe.learning_rate": 0.004}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: a list with the time in it."""
    clock = [1000.0]
    monkeypatch.setattr("wisp.budget.time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job" / "optimize.json"


def test_the_clock_begins_where_the_caller_says(path: Path, now: list[float]) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=995.0)
    now[0] += 10
    assert budget.spent() == 15.0
    assert budget.left() == 45.0


def test_the_state_is_there_from_the_start(path: Path, now: list[float]) -> None:
    Budget.begin(path, 60.0, SETTINGS, started=now[0])
    assert json.loads(path.read_text()) == {
        "settings": SETTINGS,
        "budget_seconds": 60.0,
        "spent_seconds": 0.0,
        "plans": [],
    }


def test_time_counts_over_an_interruption_but_not_between(path: Path, now: list[float]) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    now[0] += 20
    budget.save()
    now[0] += 5000
    resumed = Budget.resume(path, 60.0, SETTINGS, started=now[0])
    now[0] += 3
    assert resumed.spent() == 23.0
    assert resumed.left() == 37.0


def test_a_larger_budget_extends_the_job(path: Path, now: list[float]) -> None:
    Budget.begin(path, 60.0, SETTINGS, started=now[0])
    assert Budget.resume(path, 600.0, SETTINGS, started=now[0]).left() == 600.0


def test_a_finished_job_that_is_resumed_counts_no_more_before_it_trains_again(
    path: Path, now: list[float]
) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    now[0] += 50
    budget.finish()
    now[0] += 7
    assert (budget.taken, budget.spent()) == (50.0, 57.0)
    for _ in range(3):  # with the same budget: there is nothing to do, and it is found out in 30 seconds
        again = Budget.resume(path, 60.0, SETTINGS, started=now[0])
        now[0] += 30
        again.save()
        again.finish()
        assert again.taken == 50.0
        assert json.loads(path.read_text())["spent_seconds"] == 50.0
    larger = Budget.resume(path, 120.0, SETTINGS, started=now[0])
    now[0] += 30
    assert larger.left() == 40.0
    larger.remember(Plan((CANDIDATES[0],), 9, (1.0,)))
    now[0] += 5
    assert larger.taken == larger.spent() == 85.0
    assert json.loads(path.read_text())["spent_seconds"] == 80.0
    assert "finished" not in json.loads(path.read_text())


def test_left_may_be_negative(path: Path, now: list[float]) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    now[0] += 100
    assert budget.left() == -40.0


def test_ticks_save_once_a_second(path: Path, now: list[float]) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    spent = []
    for _ in range(6):
        now[0] += 0.4
        budget.tick()
        spent.append(json.loads(path.read_text())["spent_seconds"])
    assert spent == [0.0, 0.0, 1.2, 1.2, 1.2, 2.4]


def test_plans_are_remembered_in_order(path: Path, now: list[float]) -> None:
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    plans = [
        Plan((CANDIDATES[2], CANDIDATES[0]), 8, (0.5, 0.25)),
        Plan((CANDIDATES[0],), 40, (0.3,), "a-8ep"),
    ]
    for plan in plans:
        budget.remember(plan)
    assert budget.plans(CANDIDATES) == plans
    assert Budget.resume(path, 60.0, SETTINGS, started=now[0]).plans(CANDIDATES) == plans


def test_a_plan_of_unknown_candidates_is_refused(path: Path, now: list[float]) -> None:
    Budget.begin(path, 60.0, SETTINGS, started=now[0]).remember(Plan((CANDIDATES[2],), 8, (0.5,)))
    resumed = Budget.resume(path, 60.0, SETTINGS, started=now[0])
    with pytest.raises(InputError, match=r"optimize\.json: .*'c2'.*--overwrite"):
        resumed.plans(CANDIDATES[:2])


def test_finalists_are_kept_over_an_interruption(path: Path, now: list[float]) -> None:
    space = Space(3)
    genes = [space.draw(np.random.default_rng(seed)) for seed in range(2)]
    budget = Budget.begin(path, 60.0, SETTINGS, started=now[0])
    assert budget.finalists(space) is None
    assert Budget.resume(path, 60.0, SETTINGS, started=now[0]).finalists(space) is None
    chosen = [Finalist(genes[0], 0.25), Finalist(genes[1], None)]
    budget.keep_finalists(chosen)
    resumed = Budget.resume(path, 600.0, SETTINGS, started=now[0])
    assert resumed.finalists(space) == chosen
    resumed.save()
    assert Budget.resume(path, 600.0, SETTINGS, started=now[0]).finalists(space) == chosen


@pytest.mark.parametrize(
    "kept",
    [
        [],
        [{"genes": [0, 0], "seconds_per_epoch": 1.0}],  # of another space
        [{"genes": [99] * 31, "seconds_per_epoch": 1.0}],
        [{"genes": [0] * 31}],
        [None],
        "all",
        7,
    ],
)
def test_damaged_finalists_are_refused(path: Path, kept: object) -> None:
    space = Space(3)
    assert len(space.axes) == 31
    path.parent.mkdir()
    state = {"settings": SETTINGS, "spent_seconds": 1, "plans": [], "finalists": kept}
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"optimize\.json: damaged, .*--overwrite"):
        Budget.resume(path, 60.0, SETTINGS, started=0.0).finalists(space)


@pytest.mark.parametrize(
    ("name", "value"), [("data", "others"), ("seed", 1), ("recipe.learning_rate", 0.001), ("new", True)]
)
def test_other_settings_are_refused_by_name(path: Path, now: list[float], name: str, value: object) -> None:
    Budget.begin(path, 60.0, SETTINGS, started=now[0])
    with pytest.raises(InputError, match=rf"job: was begun with {name} = .*not {value!r}; .*--overwrite"):
        Budget.resume(path, 60.0, {**SETTINGS, name: value}, started=now[0])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"spent_seconds": "x", "plans": [], "settings": {}}', "\ufffd\x00"]
)
def test_a_damaged_state_is_refused(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=r"optimize\.json: damaged, cannot resume; .*--overwrite"):
        Budget.resume(path, 60.0, SETTINGS, started=0.0)
    assert Budget.begun_with(path) == {}


def test_what_a_job_was_begun_with(path: Path, now: list[float]) -> None:
    Budget.begin(path, 60.0, SETTINGS, started=now[0])
    assert Budget.begun_with(path) == SETTINGS


def test_a_missing_state_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        Budget.resume(path, 60.0, SETTINGS, started=0.0)


@pytest.mark.parametrize("plan", [{}, {"candidates": ["c0"], "epochs": "x", "seconds_per_epoch": [1]}, None])
def test_a_damaged_plan_is_refused(path: Path, plan: object) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"settings": SETTINGS, "spent_seconds": 1, "plans": [plan]}))
    with pytest.raises(InputError, match="damaged"):
        Budget.resume(path, 60.0, SETTINGS, started=0.0).plans(CANDIDATES)
