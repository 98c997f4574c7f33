"""The main job, top to bottom: from a folder of photos to one small classifier that is measured and ready to run.

photos -> inspect -> train a ladder -> train the best of it longer -> choose on validation -> measure on test once
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wisp import __version__
from wisp.bench.latency import measure_latency
from wisp.budget import Budget
from wisp.data.inspection import Inspection, inspect_folder
from wisp.errors import DataError, RecipeError
from wisp.evaluation import Evaluation
from wisp.files import write_json
from wisp.records import TEST, TRAIN, VAL, Dataset
from wisp.report.page import ReportContent, display_name, write_report
from wisp.score import LEADERBOARD_2021, Baseline
from wisp.search.candidate import Candidate, Trial
from wisp.search.executors import Executor, InlineExecutor, ProcessExecutor
from wisp.search.ladder import ladder
from wisp.search.planning import Plan, plan_ladder
from wisp.search.selection import choose
from wisp.train.recipe import Recipe
from wisp.train.run import (
    ARCH,
    ARTIFACT,
    MEASUREMENT,
    METRICS,
    RECIPE,
    REPORT,
    RUN_FILES,
    describe_data,
    prepare_folder,
    read_run,
)
from wisp.train.speed import seconds_per_step
from wisp.trials import TrialTask, evaluate_artifact, run_trial

STATE, CANDIDATES = "optimize.json", "candidates"

# How a time budget is divided; measured on two cores.
_LADDER_SHARE = 0.5  # of the time left after inspection; the rest trains the best of the ladder longer
_FINALISTS = 2
_WORTH_IT = 1.25  # train them again only for this many times the epochs
_TRIAL_OVERHEAD_SECONDS = 9.0  # a process, its imports, an export, an evaluation
_CLOSING_SECONDS = 8.0  # test evaluation, latencies, report
_MIN_EPOCHS, _MAX_EPOCHS = 8, 1000
_SHARED_CORES = 1.2  # trainings side by side share caches and memory: this much slower than one alone


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `recipe` is the part of the recipe that all candidates share."""

    data: Path
    out: Path
    budget_seconds: float
    seed: int = 0
    target_f1: float | None = None
    max_macs: int | None = None
    baseline: Baseline = LEADERBOARD_2021
    workers: int = 2
    skip_unreadable: bool = False
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Outcome:
    """What `optimize` found: every trial, the chosen one, and how it did on photos that chose nothing.

    `test` is None where the data has no labelled test split. `notes` are for the user, one line each.
    """

    settings: Settings
    trials: tuple[Trial, ...]
    chosen: Trial
    validation: Evaluation
    test: Evaluation | None
    inspection: Inspection
    notes: tuple[str, ...]
    seconds: float

    @property
    def artifact(self) -> Path:
        """The chosen model's file."""
        return self.settings.out / ARTIFACT

    @property
    def report(self) -> Path:
        """The page that shows all this."""
        return self.settings.out / REPORT


def optimize(
    settings: Settings, *, resume: bool = False, overwrite: bool = False, progress: bool = True
) -> Outcome:
    """From photos to the candidate with the best score on validation, measured once on test, exported, reported.

    Args:
        settings: data, folder, budget and wishes.
        resume: go on with the job in `settings.out`; time spent before counts against the budget.
        overwrite: replace the job in `settings.out`.
        progress: show progress bars on a terminal.

    Raises:
        InputError: the data, an option or the output folder cannot be used.
        TrainingError: a training failed.
    """
    budget = _begin(settings, resume=resume, overwrite=overwrite)
    inspection, dataset = inspect_folder(settings.data, progress=progress)
    _check(inspection, dataset, settings)
    described = describe_data(dataset, progress=progress)
    executor: Executor = ProcessExecutor(settings.workers) if settings.workers > 1 else InlineExecutor()

    # The ladder: several networks and input sizes, all for the same number of epochs.
    candidates = ladder(len(dataset.classes), max_macs=settings.max_macs)
    available = (budget.left() - _CLOSING_SECONDS) * _LADDER_SHARE
    first = budget.recall("ladder", candidates) or _plan(candidates, dataset, settings, available)
    budget.remember("ladder", first)
    trials = _run(first, settings, described, executor, budget, progress=progress)

    # The best of it once more, for all the time that is left.
    finalists = _finalists(trials, settings.target_f1)
    available = budget.left() - _CLOSING_SECONDS
    final = budget.recall("final", candidates) or _plan(finalists, dataset, settings, available)
    if final.epochs >= first.epochs * _WORTH_IT:
        budget.remember("final", final)
        trials += _run(final, settings, described, executor, budget, progress=progress)

    # The choice is made on validation; test photos are looked at once, with the chosen network.
    trials = [_with_latency(trial, settings) for trial in trials]
    chosen = choose(trials, target_f1=settings.target_f1)
    _publish(_folder(settings, chosen.candidate, chosen.epochs), settings.out)
    validation, test = (
        evaluate_artifact(
            settings.out / ARTIFACT,
            dataset,
            split,
            baseline=settings.baseline,
            skip_unreadable=settings.skip_unreadable,
            latency=True,
            progress=progress,
        )
        if dataset.split(split)
        else None
        for split in (VAL, TEST)
    )
    assert validation is not None  # noqa: S101  (_check made sure of it)
    write_json(settings.out / MEASUREMENT, (test or validation).to_json())
    outcome = Outcome(
        settings=settings,
        trials=tuple(sorted(trials, key=lambda trial: (trial.measurement.macs, trial.epochs))),
        chosen=chosen,
        validation=validation,
        test=test,
        inspection=inspection,
        notes=tuple(_notes(chosen, test, settings)),
        seconds=budget.spent(),
    )
    write_report(_report(outcome), outcome.report)
    budget.save()
    return outcome


def _begin(settings: Settings, *, resume: bool, overwrite: bool) -> Budget:
    """The budget's clock, running; the output folder is ready."""
    if settings.budget_seconds < 20:
        raise RecipeError(
            f"--budget {settings.budget_seconds:g}s: at least 20s, for one short training and its checks"
        )
    chosen = {
        "data": str(settings.data.resolve()),
        "seed": settings.seed,
        "max_macs": settings.max_macs,
        "recipe": asdict(settings.recipe),
    }
    state = settings.out / STATE
    if resume and state.is_file():
        return Budget.resume(state, settings.budget_seconds, chosen)
    prepare_folder(settings.out, contents=(*RUN_FILES, STATE, CANDIDATES), overwrite=overwrite)
    return Budget.begin(state, settings.budget_seconds, chosen)


def _check(inspection: Inspection, dataset: Dataset, settings: Settings) -> None:
    """Stop now for what would stop the training later."""
    if inspection.unreadable and not settings.skip_unreadable:
        name, reason = next(iter(inspection.unreadable.items()))
        raise DataError(
            f"{settings.data}: {len(inspection.unreadable)} unreadable photos (first: {name}: {reason}); remove them, "
            "or leave them out with --skip-unreadable"
        )
    for split in (TRAIN, VAL):
        if not dataset.split(split):
            raise DataError(f"{settings.data}: no photos in the {split} split; the choice needs some")


def _plan(
    candidates: Sequence[Candidate], dataset: Dataset, settings: Settings, available_seconds: float
) -> Plan:
    """How many of the candidates to train, for how many epochs, in the time that is available."""
    steps = max(1, len(dataset.split(TRAIN)) // settings.recipe.batch_size)
    slower = _SHARED_CORES if settings.workers > 1 else 1.0
    seconds_per_epoch = [
        seconds_per_step(candidate.arch, _recipe(settings, candidate, 1)) * steps * slower
        for candidate in candidates
    ]
    return plan_ladder(
        candidates,
        seconds_per_epoch,
        budget_seconds=available_seconds,
        workers=settings.workers,
        overhead_seconds=_TRIAL_OVERHEAD_SECONDS,
        min_epochs=_MIN_EPOCHS,
        max_epochs=_MAX_EPOCHS,
    )


def _run(
    plan: Plan,
    settings: Settings,
    described: dict[str, Any],
    executor: Executor,
    budget: Budget,
    *,
    progress: bool,
) -> list[Trial]:
    """Train and measure the plan's candidates, all for the same number of epochs."""
    tasks = [
        TrialTask(
            candidate=candidate,
            recipe=_recipe(settings, candidate, plan.epochs),
            data=settings.data,
            folder=_folder(settings, candidate, plan.epochs),
            baseline=settings.baseline,
            skip_unreadable=settings.skip_unreadable,
            deadline=budget.deadline,
            described=described,
        )
        for candidate in plan.candidates
    ]
    with _watch([task.folder for task in tasks], plan.epochs, budget, enabled=progress):
        return [
            Trial(task.candidate, plan.epochs, measurement)
            for task, measurement in executor.run(run_trial, tasks)
        ]


def _recipe(settings: Settings, candidate: Candidate, epochs: int) -> Recipe:
    return settings.recipe.replace(image_size=candidate.image_size, epochs=epochs, seed=settings.seed)


def _folder(settings: Settings, candidate: Candidate, epochs: int) -> Path:
    return settings.out / CANDIDATES / f"{candidate.name}-{epochs}ep"


def _finalists(trials: Sequence[Trial], target_f1: float | None) -> list[Candidate]:
    """The candidates of the best trials."""
    left = list(trials)
    best: list[Candidate] = []
    while left and len(best) < _FINALISTS:
        winner = choose(left, target_f1=target_f1)
        left.remove(winner)
        best.append(winner.candidate)
    return best


@contextmanager
def _watch(folders: Sequence[Path], epochs: int, budget: Budget, *, enabled: bool) -> Iterator[None]:
    """Show how far all trainings together are, from what they write down, and keep the budget's clock on disk."""
    finished = threading.Event()
    names = ", ".join(folder.name.rpartition("-")[0] for folder in folders)
    bar = tqdm(total=len(folders) * epochs, desc=names, unit="epoch", disable=None if enabled else True)

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


def _line_count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _with_latency(trial: Trial, settings: Settings) -> Trial:
    """The trial with its latency, measured now that nothing else runs."""
    latency = measure_latency(_folder(settings, trial.candidate, trial.epochs) / ARTIFACT)
    measurement = replace(
        trial.measurement,
        latency_p50_ms=latency.p50_ms,
        latency_p99_ms=latency.p99_ms,
        device=latency.device,
    )
    return replace(trial, measurement=measurement)


def _publish(run: Path, out: Path) -> None:
    """Make the output folder itself the chosen run: what it holds can be evaluated, exported, repeated."""
    for name in RUN_FILES:
        if (run / name).is_file() and name != MEASUREMENT:
            temporary = out / f".part-{name}"
            shutil.copyfile(run / name, temporary)
            temporary.replace(out / name)


def _report(outcome: Outcome) -> ReportContent:
    """What the page shows."""
    settings = outcome.settings
    folders = {
        display_name(trial): _folder(settings, trial.candidate, trial.epochs) for trial in outcome.trials
    }
    return ReportContent(
        data_name=settings.data.resolve().name,
        trials=outcome.trials,
        chosen=outcome.chosen,
        validation=outcome.validation,
        test=outcome.test,
        inspection=outcome.inspection,
        recipe=asdict(_recipe(settings, outcome.chosen.candidate, outcome.chosen.epochs)),
        curves={name: read_run(folder).metrics() for name, folder in folders.items()},
        notes=outcome.notes,
        baseline=settings.baseline,
        seconds=outcome.seconds,
        command=_reproduction(outcome),
        version=__version__,
    )


def _reproduction(outcome: Outcome) -> str:
    """The command that trains the chosen network again."""
    out = outcome.settings.out
    return f"wisp train {outcome.settings.data} --model {out / ARCH} --recipe {out / RECIPE} --out again"


def _notes(chosen: Trial, test: Evaluation | None, settings: Settings) -> Iterator[str]:
    if settings.target_f1 is not None and chosen.measurement.f1_macro < settings.target_f1:
        yield (
            f"no candidate reached F1 {settings.target_f1:g} on validation; this is the best one "
            f"({chosen.measurement.f1_macro:.4f}): give it more time (--budget) or more photos"
        )
    if test is None:
        yield "no labelled test photos: the figures are those of the validation split, which also made the choice"
