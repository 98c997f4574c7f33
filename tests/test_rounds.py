"""The budget's division, on a machine that is simulated: its clock moves only when something is trained."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import types
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wisp import budget as budget_module
from wisp import rounds as rounds_module
from wisp.budget import Budget
from wisp.files import write_json
from wisp.models import named
from wisp.records import Measurement
from wisp.rounds import Finals, Rounds
from wisp.score import LEADERBOARD_2021, score
from wisp.search.candidate import Candidate
from wisp.train.recipe import Recipe
from wisp.train.run import create_run, read_run
from wisp.trials import TrialTask

NAMES = ("small", "middle", "large", "huge")  # in order of interest
CANDIDATES = [
    Candidate(name, named("wisp-500k", 3), size) for name, size in zip(NAMES, (16, 24, 32, 48), strict=True)
]
SPEEDS = {"small": 0.2, "middle": 0.5, "large": 1.0, "huge": 2.0}


class Machine:
    """A clock, and workers whose epochs and overheads take `slower` times what they should."""

    def __init__(self, workers: int = 2, slower: float = 1.0, overhead: float = 9.0) -> None:
        self.workers, self.slower, self.overhead = workers, slower, overhead
        self.now = 0.0
        self._ties = itertools.count()
        self.trained: list[str] = []
        self.stop_after: int | None = None

    def clock(self) -> Any:
        return types.SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now + 1e9)

    def run(
        self, function: Callable[[TrialTask], Measurement], tasks: Iterable[TrialTask]
    ) -> Generator[tuple[TrialTask, Measurement], None, None]:
        waiting, running = iter(tasks), []
        for _ in range(self.workers):
            self._start(waiting, running)
        while running:
            self.now, _, task, measurement = heapq.heappop(running)
            self._start(waiting, running)
            yield task, measurement

    def _asking(self, task: TrialTask) -> float:
        """What a teacher takes of an epoch; its run must be there, and complete."""
        if task.teacher is None:
            return 0.0
        assert (task.teacher / "measurement.json").is_file()
        return 0.3 * SPEEDS[task.teacher.name.split("-")[0]]

    def _start(self, waiting: Any, running: list[Any]) -> None:
        task = next(waiting, None)
        if task is None:
            return
        if task.is_done:
            measured = Measurement.from_json(json.loads((task.folder / "measurement.json").read_text()))
            heapq.heappush(running, (self.now, next(self._ties), task, measured))
            return
        if self.stop_after is not None and len(self.trained) >= self.stop_after:
            raise KeyboardInterrupt
        begin = self.now + self.slower * self.overhead / 2
        epoch_seconds = (SPEEDS[task.candidate.name] + self._asking(task)) * self.slower
        assert task.deadline is not None
        room = task.deadline - 1e9 - begin
        epochs = min(task.recipe.epochs, max(1, math.ceil(room / epoch_seconds)))
        end = begin + epochs * epoch_seconds + self.slower * self.overhead / 2
        stop = epochs if epochs < task.recipe.epochs else 0
        run = create_run(
            task.folder,
            task.recipe.replace(stop_after_epochs=stop),
            task.candidate.arch,
            {"classes": ["a", "b", "c"], "digest": ""},
        )
        row = {"epoch": epochs, "loss": 1.0, "seconds": epochs * epoch_seconds}
        (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n" * epochs)
        f1 = min(0.95, 0.3 + 0.1 * math.log(1 + epochs) + 0.02 * NAMES.index(task.candidate.name))
        macs = task.candidate.macs
        measurement = Measurement(f1, f1, 10, "val", macs, 10, score(f1, macs))
        write_json(run.folder / "measurement.json", measurement.to_json())
        self.trained.append(run.folder.name)
        heapq.heappush(running, (end, next(self._ties), task, measurement))


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rounds]:
    def begin(
        machine: Machine, seconds: float, *, folder: Path | None = None, resume: bool = False, **options: Any
    ) -> Rounds:
        clock = machine.clock()
        monkeypatch.setattr(budget_module, "time", clock)
        monkeypatch.setattr(rounds_module, "time", clock)
        out = folder or tmp_path_factory.mktemp("job")
        make = Budget.resume if resume else Budget.begin
        return Rounds(
            budget=make(out / "optimize.json", seconds, {}, started=machine.now),
            executor=machine,
            make_task=lambda candidate, epochs, deadline: TrialTask(
                candidate=candidate,
                recipe=Recipe(image_size=candidate.image_size, epochs=epochs),
                data=Path("photos"),
                folder=out / "candidates" / f"{candidate.name}-{epochs}ep",
                baseline=LEADERBOARD_2021,
                skip_unreadable=False,
                deadline=deadline,
                described={},
            ),
            probe=options.pop("probe", lambda candidate: SPEEDS[candidate.name] / 1.2),
            progress=False,
            **options,
        )

    return begin


def test_first_the_ladder_then_the_best_of_it_longer(job: Callable[..., Rounds]) -> None:
    machine = Machine()
    rounds = job(machine, 300.0)
    trials = rounds.run(CANDIDATES)
    first, final = rounds.budget.plans(CANDIDATES)
    assert set(first.candidates) == set(CANDIDATES)
    assert len(final.candidates) == 2
    assert final.epochs > 1.25 * first.epochs >= 10
    assert len(trials) == 6
    assert {trial.epochs for trial in trials} == {first.epochs, final.epochs}
    assert all(trial.folder is not None and trial.folder.is_dir() for trial in trials)


def test_the_budget_is_used_and_kept(job: Callable[..., Rounds]) -> None:
    machine = Machine()
    job(machine, 300.0).run(CANDIDATES)
    assert 0.9 * 300 <= machine.now + 6 <= 300


def test_all_trials_of_a_round_have_the_same_epochs(job: Callable[..., Rounds]) -> None:
    machine = Machine(workers=1)
    job(machine, 200.0).run(CANDIDATES)
    assert len({name.rpartition("-")[2] for name in machine.trained[:3]}) == 1


def test_finalists_of_a_search_are_trained_and_the_best_of_them_longer(job: Callable[..., Rounds]) -> None:
    """Their speeds are known from the search; the one that was only measured there is probed."""
    probed: list[str] = []

    def probe(candidate: Candidate) -> float:
        probed.append(candidate.name)
        return SPEEDS[candidate.name]

    speeds = {each: SPEEDS[each.name] for each in CANDIDATES if each.name != "huge"}
    rounds = job(Machine(), 700.0, probe=probe, finals=Finals(speeds, least=2, whole_epochs=60))
    rounds.run(CANDIDATES)
    assert probed == ["huge"]
    first, last = rounds.budget.plans(CANDIDATES)
    assert set(first.candidates) == set(CANDIDATES)
    assert first.epochs >= 60
    assert first.seconds_per_epoch == (2.0, 1.0, 0.5, 0.2)
    assert len(last.candidates) == 2
    assert last.epochs > 1.25 * first.epochs


@pytest.mark.parametrize(("whole_epochs", "count"), [(10, 4), (140, 3), (300, 2), (1000, 2)])
def test_more_finalists_only_where_all_are_trained_whole(
    job: Callable[..., Rounds], whole_epochs: int, count: int
) -> None:
    speeds = {each: SPEEDS[each.name] for each in CANDIDATES}
    rounds = job(Machine(), 450.0, finals=Finals(speeds, least=2, whole_epochs=whole_epochs))
    rounds.run(CANDIDATES)
    (first, *_) = rounds.budget.plans(CANDIDATES)
    assert set(first.candidates) == set(CANDIDATES[:count])
    assert count == 2 or first.epochs >= whole_epochs


def test_as_many_finalists_as_workers(job: Callable[..., Rounds]) -> None:
    rounds = job(Machine(workers=4), 300.0)
    rounds.run(CANDIDATES)
    assert len(rounds.budget.plans(CANDIDATES)[1].candidates) == 4


def test_where_two_cannot_use_the_time_more_are_trained_to_the_end(
    job: Callable[..., Rounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "_MAX_EPOCHS", 220)
    rounds = job(Machine(), 900.0)
    rounds.run(CANDIDATES)
    first, last = rounds.budget.plans(CANDIDATES)
    assert first.epochs < 220 / 1.25
    assert (len(last.candidates), last.epochs) == (4, 220)


def test_nothing_is_trained_again_for_a_few_epochs_more(
    job: Callable[..., Rounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "_MAX_EPOCHS", 10)
    machine = Machine()
    job(machine, 3000.0).run(CANDIDATES)
    assert len(machine.trained) == 4


def test_the_speed_of_the_ladder_plans_the_next_round(job: Callable[..., Rounds]) -> None:
    """The probe promised twice the speed: the ladder takes longer, the last round takes that into account."""
    machine = Machine(slower=2.0, overhead=4.5)
    rounds = job(machine, 400.0)
    rounds.run(CANDIDATES)
    assert machine.now + 6 <= 400
    assert not any(read_run(trial.folder).recipe.stop_after_epochs for trial in rounds.trials)
    assert rounds.left_out == []


def test_a_machine_that_stalls_loses_candidates_not_the_budget(job: Callable[..., Rounds]) -> None:
    machine = Machine(slower=5.0)
    rounds = job(machine, 300.0)
    rounds.run(CANDIDATES)
    assert set(rounds.left_out) == {"middle", "small"}
    assert machine.now <= 330


def test_probing_ends_when_it_takes_too_long(job: Callable[..., Rounds]) -> None:
    machine = Machine()

    def slow_probe(candidate: Candidate) -> float:
        machine.now += 20
        return SPEEDS[candidate.name]

    rounds = job(machine, 300.0, probe=slow_probe)
    rounds.run(CANDIDATES)
    assert set(rounds.budget.plans(CANDIDATES)[0].candidates) == set(CANDIDATES[:2])


def test_a_spent_budget_still_gives_one_trial(job: Callable[..., Rounds]) -> None:
    machine = Machine()
    rounds = job(machine, 60.0)
    machine.now = 100.0
    (trial,) = rounds.run(CANDIDATES)
    assert trial.candidate.name == "small"
    assert trial.epochs == 1


def test_target_decides_who_is_trained_longer(job: Callable[..., Rounds]) -> None:
    rounds = job(Machine(workers=1), 300.0, target_f1=0.1)
    rounds.run(CANDIDATES)
    assert {trial.candidate.name for trial in rounds.trials[4:]} == {"small", "middle"}


def test_resumed_it_repeats_nothing(job: Callable[..., Rounds], tmp_path: Path) -> None:
    machine = Machine()
    machine.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        job(machine, 300.0, folder=tmp_path).run(CANDIDATES)
    plans = json.loads((tmp_path / "optimize.json").read_text())["plans"]
    again = Machine()
    again.now = 5000.0
    rounds = job(again, 300.0, folder=tmp_path, resume=True)
    rounds.run(CANDIDATES, kept=rounds.budget.plans(CANDIDATES))
    assert len(plans) == 1
    assert not set(again.trained) & set(machine.trained)
    assert json.loads((tmp_path / "optimize.json").read_text())["plans"][0] == plans[0]
    assert len(rounds.trials) == 6
    assert rounds.budget.spent() + 6 <= 310


def test_a_finished_job_resumed_trains_nothing(job: Callable[..., Rounds], tmp_path: Path) -> None:
    machine = Machine()
    job(machine, 300.0, folder=tmp_path).run(CANDIDATES)
    again = Machine()
    rounds = job(again, 300.0, folder=tmp_path, resume=True)
    trials = rounds.run(CANDIDATES, kept=rounds.budget.plans(CANDIDATES))
    assert again.trained == []
    assert len(trials) == 6


def test_a_finished_job_with_a_larger_budget_uses_it(job: Callable[..., Rounds], tmp_path: Path) -> None:
    machine = Machine()
    job(machine, 300.0, folder=tmp_path).run(CANDIDATES)
    again = Machine()
    rounds = job(again, 900.0, folder=tmp_path, resume=True)
    rounds.run(CANDIDATES, kept=rounds.budget.plans(CANDIDATES))
    assert len(rounds.budget.plans(CANDIDATES)) == 3
    assert 0.9 * 900 <= rounds.budget.spent() + 6 <= 900


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.floats(120.0, 1200.0),
    workers=st.integers(1, 4),
    slower=st.floats(0.5, 2.0),
    distill=st.booleans(),
)
def test_the_budget_holds_on_fast_slow_and_busy_machines(
    job: Callable[..., Rounds], seconds: float, workers: int, slower: float, distill: bool
) -> None:
    machine = Machine(workers=workers, slower=slower)
    rounds = job(machine, seconds, distill=distill)
    rounds.run(CANDIDATES)
    closing = 5.0 * slower
    assert rounds.trials
    least = slower * (machine.overhead + min(SPEEDS.values())) + closing  # one trial of one epoch
    assert machine.now + closing <= max(1.1 * seconds, 1.05 * least)


# Distillation


def test_the_last_round_follows_the_most_accurate_network_of_the_first(job: Callable[..., Rounds]) -> None:
    machine = Machine()
    rounds = job(machine, 900.0, distill=True)
    trials = rounds.run(CANDIDATES)
    first, final = rounds.budget.plans(CANDIDATES)
    assert first.teacher is None
    assert final.teacher == f"huge-{first.epochs}ep"
    taught = [trial for trial in trials if trial.teacher is not None]
    assert {trial.candidate for trial in taught} == set(final.candidates)
    for trial in taught:
        assert trial.folder is not None
        assert trial.teacher == trial.folder.with_name(final.teacher)
        assert trial.folder.name == f"{trial.candidate.name}-{final.epochs}ep-taught"
    assert len(trials) == len(taught) + 4


def test_asking_a_teacher_takes_time(job: Callable[..., Rounds]) -> None:
    plans = []
    for distill in (False, True):
        rounds = job(Machine(), 900.0, distill=distill)
        rounds.run(CANDIDATES)
        plans.append(rounds.budget.plans(CANDIDATES)[1])
    without, taught = plans
    assert taught.candidates == without.candidates
    for alone, asking in zip(without.seconds_per_epoch, taught.seconds_per_epoch, strict=True):
        assert asking == pytest.approx(alone + 0.3 * SPEEDS["huge"])


def test_a_resumed_job_follows_the_same_teacher(
    job: Callable[..., Rounds], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("resumed")
    machine = Machine()
    machine.stop_after = 5  # one of the last round's
    with pytest.raises(KeyboardInterrupt):
        job(machine, 900.0, folder=out, distill=True).run(CANDIDATES)
    again = Machine()
    rounds = job(again, 900.0, folder=out, resume=True, distill=True)
    trials = rounds.run(CANDIDATES, kept=rounds.budget.plans(CANDIDATES))
    assert [name for name in again.trained if not name.endswith("-taught")] == []
    assert len(machine.trained) + len(again.trained) == len(trials)
    teachers = {trial.teacher.name for trial in trials if trial.teacher is not None}
    assert teachers == {plan.teacher for plan in rounds.budget.plans(CANDIDATES)[1:]}


@pytest.mark.parametrize(("distill", "seconds"), [(False, 135.0), (True, 150.0)])
def test_a_round_that_time_cut_is_not_planned_again(
    job: Callable[..., Rounds],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    distill: bool,
    seconds: float,
) -> None:
    """Resumed with more time: its folders are done, so that nothing would be trained, again and again."""
    monkeypatch.setattr(rounds_module, "_MAX_EPOCHS", 300)
    out = tmp_path_factory.mktemp("cut")

    class SlowLater(Machine):
        def _start(self, waiting: Any, running: list[Any]) -> None:
            self.slower = 1.6 if self.trained else 1.0
            super()._start(waiting, running)

    small = CANDIDATES[:1]
    alone = {"distill": distill, "probe": lambda candidate: SPEEDS[candidate.name]}
    _, cut = job(SlowLater(workers=1), seconds, folder=out, **alone).run(small)
    assert cut.epochs * 1.25 <= read_run(cut.folder).recipe.epochs == 300
    rounds = job(Machine(workers=1), 6000.0, folder=out, resume=True, distill=distill)
    trials = rounds.run(small, kept=rounds.budget.plans(small))
    folders = [trial.folder for trial in trials]
    assert len(set(folders)) == len(folders)
    assert len(rounds.budget.plans(small)) < 4
