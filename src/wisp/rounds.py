"""Spending a time budget in rounds of trials: first the ladder, then the best of it for longer, while time is left."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from wisp.budget import Budget
from wisp.errors import ModelError
from wisp.search.candidate import Candidate, Trial, folder_of
from wisp.search.executors import Executor
from wisp.search.planning import Plan, plan_round
from wisp.search.selection import best_candidates
from wisp.train.run import METRICS, read_run
from wisp.trials import TrialTask, run_trial

TAUGHT = "-taught"  # ends the folder's name of a trial that follows a teacher
# How a budget is divided; seconds are measured on two cores.
_PROBING_SHARE = 0.1  # of the time left, at most, for measuring how long an epoch takes
_LADDER_SHARE = (
    0.4  # of the time left; below half, so that the next round is longer for the dearest network too
)
_FINALS_SHARE = 0.44  # the same, where the ladder's place is taken by the best of a search
_UNTAUGHT_SHARE = 0.3  # the same, where a teacher makes the next round's epochs longer
_FINALISTS = 2  # or as many as are trained side by side
_MOST_FINALISTS = 3  # times as many, where all of them find the time for as long a training as there may be
_WORTH_IT = 1.25  # train a candidate again only for this many times the epochs
_MIN_EPOCHS, _MAX_EPOCHS = 8, 2000
_TRIAL_SECONDS = (
    9.0  # beside the epochs: a process, its imports, an export, an evaluation. Later ones as measured.
)
_CLOSING_SECONDS = 6.0  # after the last trial: latencies, evaluations, the report
_SHARED_CORES = 1.2  # trainings side by side share caches and memory: this much slower than one alone
_ASKING = 0.3  # of the time that an epoch of a network takes: its answers alone
_PLANNED = 0.97  # of the time that there is: an epoch takes a little longer one time than another
_GRACE = 0.04  # of the whole budget; a training that is late ends when this is used up too


@dataclass(frozen=True)
class Finals:
    """What is known of candidates that a search chose.

    Attributes:
        speeds: seconds that an epoch takes, of those candidates where it is known.
        least: so many of them are trained, if they find the time for any training at all.
        whole_epochs: more of them only if all of them can be trained for so many epochs.
    """

    speeds: Mapping[Candidate, float]
    least: int
    whole_epochs: int


@dataclass
class Rounds:
    """Decides round by round what to train next, and has an executor do it.

    Attributes:
        budget: the clock; also remembers the plans.
        executor: runs the trials.
        make_task: the trial of a candidate, for so many epochs, whose training ends at that `time.time()`.
        probe: seconds that one epoch of a candidate takes alone.
        target_f1: as in `choose`.
        progress: show a progress bar on a terminal.
        finals: where the candidates come from a search, so that the first round has more of the time.
        distill: let all rounds but the first follow the most accurate network of those before.
        trials: all that were done.
        left_out: names of candidates that were planned and found no time.
    """

    budget: Budget
    executor: Executor
    make_task: Callable[[Candidate, int, float], TrialTask]
    probe: Callable[[Candidate], float]
    target_f1: float | None = None
    progress: bool = True
    finals: Finals | None = None
    distill: bool = False
    trials: list[Trial] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _trial_seconds: list[float] = field(default_factory=list)

    def run(self, candidates: Sequence[Candidate], kept: Sequence[Plan] = ()) -> list[Trial]:
        """Follow the plans of an interrupted job, then make more of them until the budget is used up.

        Args:
            candidates: in order of interest.
            kept: plans made earlier; what they already did is taken from disk.
        """
        for number in itertools.count():
            if number < len(kept):
                plan = kept[number]
            else:
                following = self._longer() if self.trials else self._first(candidates)
                if following is None:
                    return self.trials
                plan = following
                self.budget.remember(plan)
            self._train(plan)
        raise AssertionError("itertools.count() ends")

    def _first(self, candidates: Sequence[Candidate]) -> Plan:
        """The first round: all candidates, for the same number of epochs."""
        if self.finals is not None:
            share = _UNTAUGHT_SHARE if self.distill else _FINALS_SHARE
            known = [self.finals.speeds.get(candidate) or self.probe(candidate) for candidate in candidates]
            plan = self._plan(candidates, known, share, self.finals.whole_epochs)
            if len(plan.candidates) >= self.finals.least:
                return plan
            least = self.finals.least
            return self._plan(candidates[:least], known[:least], share, _MIN_EPOCHS)
        slower = _SHARED_CORES if self.executor.workers > 1 else 1.0
        least_left = self.budget.left() * (1 - _PROBING_SHARE)
        speeds: list[float] = []
        for candidate in candidates:
            if speeds and self.budget.left() < least_left:
                break  # there is no time to train so many either
            speeds.append(self.probe(candidate) * slower)
        share = _UNTAUGHT_SHARE if self.distill else _LADDER_SHARE
        return self._plan(candidates[: len(speeds)], speeds, share, _MIN_EPOCHS)

    def _longer(self) -> Plan | None:
        """The next round: the best so far, for all the time that is left; None where that is too little to matter."""
        least = max(_FINALISTS, self.executor.workers)
        best = best_candidates(self.trials, _MOST_FINALISTS * least, target_f1=self.target_f1)
        longest = {trial.candidate: trial for trial in sorted(self.trials, key=lambda trial: trial.epochs)}
        teacher = self._teacher()
        asking = 0.0 if teacher is None else _ASKING * _seconds_per_epoch(teacher)
        for count in range(len(best), 0, -1):
            finalists = best[:count]
            speeds = [
                _seconds_per_epoch(longest[candidate])
                + (0.0 if teacher is None or longest[candidate].teacher == teacher.folder else asking)
                for candidate in finalists
            ]
            worth_it = math.ceil(max(_worth_it(longest[candidate], teacher) for candidate in finalists))
            plan = self._plan(finalists, speeds, 1.0, worth_it)
            if plan.epochs < worth_it or len(plan.candidates) < count:
                continue
            if teacher is not None:
                plan = replace(plan, teacher=folder_of(teacher).name)
            # What time has cut is done, as far as it went: planned in the same way, it would not be trained again.
            done = {trial.folder for trial in self.trials}
            if any(self._task(plan, candidate, 0.0).folder in done for candidate in plan.candidates):
                continue
            if count <= least or plan.epochs == _MAX_EPOCHS:
                return plan
        return None

    def _teacher(self) -> Trial | None:
        """Whom the next round follows: the most accurate one; of two the larger."""
        if not self.distill:
            return None
        return max(self.trials, key=lambda trial: (trial.measurement.f1_macro, trial.measurement.macs))

    def _plan(
        self, candidates: Sequence[Candidate], speeds: Sequence[float], share: float, min_epochs: int
    ) -> Plan:
        return plan_round(
            candidates,
            speeds,
            budget_seconds=(self.budget.left() - self._closing_seconds) * share * _PLANNED,
            workers=self.executor.workers,
            overhead_seconds=self._overhead_seconds,
            min_epochs=min_epochs,
            max_epochs=_MAX_EPOCHS,
        )

    def _train(self, plan: Plan) -> None:
        """Train and measure the plan's candidates."""
        drawn: dict[Path, float] = {}

        def tasks() -> Iterator[TrialTask]:
            for candidate, seconds_per_epoch in zip(plan.candidates, plan.seconds_per_epoch, strict=True):
                deadline = self._deadline(seconds_per_epoch)
                task = self._task(plan, candidate, deadline)
                half = self._overhead_seconds / 2 + seconds_per_epoch * plan.epochs / 2
                has_company = bool(drawn or self.trials)  # one trial there must be
                if has_company and not task.is_done and time.time() + half > deadline:
                    self.left_out.append(candidate.name)
                    continue
                if not task.folder.exists():
                    drawn[task.folder] = time.monotonic()
                else:  # a resumed one is no measure of what a whole one takes
                    drawn[task.folder] = math.nan
                yield task

        folders = [self._task(plan, candidate, 0.0).folder for candidate in plan.candidates]
        with (
            _watched(folders, plan.epochs, self.budget, enabled=self.progress),
            closing(self.executor.run(run_trial, tasks())) as results,
        ):
            for task, measurement in results:
                recipe = read_run(task.folder).recipe
                epochs = recipe.stop_after_epochs or recipe.epochs
                trial = Trial(task.candidate, epochs, measurement, task.folder, task.teacher)
                self.trials.append(trial)
                taken = time.monotonic() - drawn[task.folder] - epochs * _seconds_per_epoch(trial)
                if taken > 0:
                    self._trial_seconds.append(taken)

    def _task(self, plan: Plan, candidate: Candidate, deadline: float) -> TrialTask:
        task = self.make_task(candidate, plan.epochs, deadline)
        if plan.teacher is None:
            return task
        folder = task.folder.with_name(f"{task.folder.name}{TAUGHT}")
        return replace(task, folder=folder, teacher=task.folder.with_name(plan.teacher))

    def _deadline(self, seconds_per_epoch: float) -> float:
        """The `time.time()` after which a training begins no further epoch."""
        after = seconds_per_epoch + self._overhead_seconds / 2 + self._closing_seconds
        return time.time() + self.budget.left() + _GRACE * self.budget.seconds - after

    @property
    def _overhead_seconds(self) -> float:
        """What a trial takes beside its epochs: the longest that was seen."""
        return max(self._trial_seconds, default=_TRIAL_SECONDS)

    @property
    def _closing_seconds(self) -> float:
        """What comes after the last trial; a machine that is slow, or busy, at the one is so at the other."""
        return _CLOSING_SECONDS * max(1.0, self._overhead_seconds / _TRIAL_SECONDS)


def _seconds_per_epoch(trial: Trial) -> float:
    """As it was trained: validation included, and with the other trainings beside it."""
    folder = folder_of(trial)
    seconds = read_run(folder).epoch_seconds()
    if seconds is None:
        raise ModelError(f"{folder / METRICS}: empty or damaged; remove the folder and resume again")
    return seconds


def _worth_it(trial: Trial, teacher: Trial | None) -> float:
    """From so many epochs on, another training of the network is worth it: with its first teacher, from as many."""
    return trial.epochs * (_WORTH_IT if teacher is None or trial.teacher is not None else 1.0)


@contextmanager
def _watched(folders: Sequence[Path], epochs: int, budget: Budget, *, enabled: bool) -> Iterator[None]:
    """Show how far all trainings together are, from what they write down, and keep the budget's clock on disk."""
    finished = threading.Event()
    names = ", ".join(folder.name.removesuffix(TAUGHT).rpartition("-")[0] for folder in folders)
    label = names if len(folders) <= 2 else f"{len(folders)} networks"
    bar = tqdm(total=len(folders) * epochs, desc=label, unit="epoch", disable=None if enabled else True)

    def watch() -> None:
        while not finished.wait(0.5):
            bar.n = sum(_line_count(folder / METRICS) for folder in folders)
            bar.refresh()
            budget.tick()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        bar.close()
        budget.save()


def _line_count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
