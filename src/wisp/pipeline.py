"""The main job, top to bottom: from a folder of photos to one small classifier that is measured and ready to run.

photos -> inspect -> decode -> a ladder or a search, then its best for longer -> choose on validation -> measure on test
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wisp import __version__
from wisp.bench.latency import measure_latency
from wisp.budget import Budget
from wisp.data.cache import build_cache
from wisp.data.folders import load_dataset
from wisp.data.inspection import Inspection, inspect_folder
from wisp.errors import DataError, InputError, RecipeError
from wisp.evaluation import Evaluation
from wisp.exploration import (
    DATABASE,
    LATENCIES,
    SUMMARY,
    TRIALS,
    Photos,
    SearchSettings,
    explore,
    is_worth_searching,
)
from wisp.files import replacing, write_json
from wisp.models import find_start, named
from wisp.models.starts import PRETRAINED, SCRATCH
from wisp.records import TEST, TRAIN, VAL, Dataset
from wisp.report.page import ReportContent, display_name, write_report
from wisp.rounds import Rounds
from wisp.score import F1_FLOOR, LEADERBOARD_2021, Baseline
from wisp.search.candidate import Candidate, Trial
from wisp.search.executors import Executor, InlineExecutor, ProcessExecutor
from wisp.search.ladder import LADDER, ladder
from wisp.search.limits import Limits
from wisp.search.selection import choose, is_safe
from wisp.search.strategies import STRATEGIES
from wisp.train.photos import load_photos
from wisp.train.recipe import Recipe
from wisp.train.run import (
    ARCH,
    ARTIFACT,
    MEASUREMENT,
    RECIPE,
    REPORT,
    RUN_FILES,
    check_folder,
    describe_data,
    prepare_folder,
    read_run,
)
from wisp.trials import TrialTask, evaluate_artifact, probe_seconds_per_epoch

STATE, CANDIDATES = "optimize.json", "candidates"
_LEAST_BUDGET_SECONDS = 30.0
_DECODING_SHARE = 0.25  # of the budget: input sizes that would take the decoding beyond it are left out


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `recipe` is what all candidates share: all but their size, epochs and seed."""

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
    strategy: str | None = None  # `ladder`, or who decides in a search; None: see `_decided`
    search: SearchSettings | None = None  # what is asked of a search, its strategy included
    init: str = PRETRAINED  # what trainings begin with: see `wisp.models.find_start`


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
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    started: float | None = None,
) -> Outcome:
    """From photos to the candidate with the best score on validation, measured once on test, exported, reported.

    Args:
        settings: data, folder, budget and wishes.
        resume: go on with the job in `settings.out`; time spent before counts against the budget.
        overwrite: replace the job in `settings.out`.
        progress: show progress bars on a terminal.
        started: the `time.monotonic()` from which the budget counts; None for now.

    Raises:
        InputError: the data, an option or the output folder cannot be used.
        TrainingError: a training failed.
    """
    started = time.monotonic() if started is None else started
    _check_settings(settings)
    dataset = load_dataset(settings.data, progress=progress)
    resuming = resume and (settings.out / STATE).is_file()
    settings = _decided(settings, dataset, resuming=resuming)
    if settings.search is None:
        every = ladder(len(dataset.classes), max_macs=settings.max_macs)
    contents = (*RUN_FILES, STATE, CANDIDATES, DATABASE, LATENCIES, SUMMARY, TRIALS)
    if not resuming:
        check_folder(settings.out, contents=contents, overwrite=overwrite)
    inspection, _ = inspect_folder(settings.data, progress=progress)
    _check_photos(inspection, dataset, settings)
    if not resuming:  # only now: an earlier job is not given up for photos that cannot be used
        prepare_folder(settings.out, contents=contents, overwrite=overwrite)
    budget = _begin(settings, started, resuming=resuming)
    described = describe_data(dataset, progress=progress)
    if settings.search is not None:
        every = settings.search.sizes_to_decode(len(dataset.classes), settings.out)
    candidates = _decode(every, dataset, settings, budget, progress=progress)

    # Decide and train, round by round, until the budget is used up.
    def make_task(candidate: Candidate, epochs: int, deadline: float) -> TrialTask:
        return TrialTask(
            candidate=candidate,
            recipe=settings.recipe.replace(
                image_size=candidate.image_size, epochs=epochs, seed=settings.seed, stop_after_epochs=0
            )
            .resolved(len(dataset.split(TRAIN)))
            .with_augmentation(candidate.augmentation),
            data=settings.data,
            folder=settings.out / CANDIDATES / f"{candidate.name}-{epochs}ep",
            baseline=settings.baseline,
            skip_unreadable=settings.skip_unreadable,
            deadline=deadline,
            described=described,
            init=settings.init,
        )

    def probe(candidate: Candidate) -> float:
        return probe_seconds_per_epoch(candidate, settings.recipe, len(dataset.split(TRAIN)))

    if settings.search is None:
        executor: Executor = ProcessExecutor(settings.workers) if settings.workers > 1 else InlineExecutor()
        rounds = Rounds(budget, executor, make_task, probe, settings.target_f1, progress)
        rounds.run(candidates, kept=budget.plans(every))
    else:
        rounds = _explore(
            settings, settings.search, dataset, described, candidates, budget, make_task, progress
        )

    # The choice is made on validation; test photos are looked at once, with the chosen network.
    trials = [_with_latency(trial) for trial in rounds.trials]
    chosen = choose(trials, target_f1=settings.target_f1)
    _publish(_folder(chosen), settings.out)
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
    assert validation is not None  # noqa: S101  (_check_photos made sure of it)
    write_json(settings.out / MEASUREMENT, (test or validation).to_json())
    outcome = Outcome(
        settings=settings,
        trials=tuple(sorted(trials, key=lambda trial: (trial.measurement.macs, trial.epochs))),
        chosen=chosen,
        validation=validation,
        test=test,
        inspection=inspection,
        notes=tuple(_notes(trials, chosen, test, rounds.left_out, settings)),
        seconds=budget.spent(),
    )
    write_report(_report(outcome), outcome.report)
    budget.save()
    return outcome


def _explore(
    settings: Settings,
    search: SearchSettings,
    dataset: Dataset,
    described: dict[str, Any],
    sizes: Sequence[Candidate],
    budget: Budget,
    make_task: Callable[[Candidate, int, float], TrialTask],
    progress: bool,
) -> Rounds:
    """Search in place of the ladder."""
    return explore(
        search,
        photos=Photos(
            settings.data,
            len(dataset.classes),
            _steps_per_epoch(settings, dataset),
            described,
            settings.skip_unreadable,
        ),
        recipe=settings.recipe.resolved(len(dataset.split(TRAIN))),
        seed=settings.seed,
        sizes=[candidate.image_size for candidate in sizes],
        out=settings.out,
        workers=settings.workers,
        budget=budget,
        make_task=make_task,
        init=settings.init,
        target_f1=settings.target_f1,
        progress=progress,
    )


def _decided(settings: Settings, dataset: Dataset, *, resuming: bool) -> Settings:
    """The settings with ladder or search decided: as asked, else as the job was begun, else by the budget."""
    search = settings.search
    strategy = settings.strategy if search is None else search.strategy
    if strategy is None and resuming:
        strategy = Budget.begun_with(settings.out / STATE).get("strategy")
    if strategy is None and search is None:
        steps = _steps_per_epoch(settings, dataset)
        if not is_worth_searching(settings.budget_seconds, settings.workers, steps):
            strategy = LADDER
    if strategy == LADDER and search is None:
        return replace(settings, strategy=LADDER)
    if strategy is not None and strategy not in STRATEGIES:
        known = ", ".join((LADDER, *STRATEGIES) if search is None else STRATEGIES)
        raise RecipeError(f"--strategy {strategy}: there is none of this name; known: {known}")
    asked = search or SearchSettings(limits=Limits(macs=settings.max_macs))
    search = replace(asked, strategy=strategy).decided(len(dataset.classes), settings.workers)
    return replace(settings, strategy=search.strategy, search=search)


def _steps_per_epoch(settings: Settings, dataset: Dataset) -> int:
    photos = len(dataset.split(TRAIN))
    return photos // max(1, min(settings.recipe.batch_size, photos))


def _check_settings(settings: Settings) -> None:
    """Refuse what could not work."""
    if settings.budget_seconds < _LEAST_BUDGET_SECONDS:
        raise RecipeError(
            f"--budget {settings.budget_seconds:g}s: at least {_LEAST_BUDGET_SECONDS:g}s, for one short training and "
            "its checks"
        )
    if settings.recipe.train_on_val:
        raise RecipeError(
            "recipe: train_on_val = true: optimize chooses on the validation photos; train the chosen network with "
            "them afterwards (wisp train)"
        )
    find_start(settings.init, named("wisp-1m", 2))  # is there such a thing at all?
    if settings.data.is_dir() and settings.out.resolve().is_relative_to(settings.data.resolve()):
        raise InputError(
            f"--out {settings.out}: inside {settings.data}, where it would count as a class; name a folder elsewhere"
        )


def _begin(settings: Settings, started: float, *, resuming: bool) -> Budget:
    """The budget's clock, running; with the settings that a resumed job must share written beside it."""
    kept = {
        "data": str(settings.data.resolve()),
        "seed": settings.seed,
        "max_macs": settings.max_macs,
        "strategy": settings.strategy,
        "skip_unreadable": settings.skip_unreadable,
        "init": settings.init,
        "baseline": asdict(settings.baseline),
        **{f"recipe.{name}": value for name, value in asdict(settings.recipe).items()},
    }
    begin = Budget.resume if resuming else Budget.begin
    return begin(settings.out / STATE, settings.budget_seconds, kept, started)


def _check_photos(inspection: Inspection, dataset: Dataset, settings: Settings) -> None:
    """Stop now for what would stop the training later."""
    if inspection.unreadable and not settings.skip_unreadable:
        name, reason = next(iter(inspection.unreadable.items()))
        raise DataError(
            f"{settings.data}: {len(inspection.unreadable)} unreadable photos (first: {name}: {reason}); remove them, "
            "or leave them out with --skip-unreadable"
        )
    if all(sample.name in inspection.unreadable for sample in dataset.split(VAL)):
        raise DataError(f"{settings.data}: no photos in the val split; the choice needs some")


def _decode(
    candidates: Sequence[Candidate], dataset: Dataset, settings: Settings, budget: Budget, *, progress: bool
) -> list[Candidate]:
    """Fill the photo cache for the candidates' input sizes, and return those whose size found the time.

    The first one always does. What is decoded stays for the next job.
    """
    taken: dict[int, float] = {}
    for candidate in candidates:
        began = time.monotonic()
        one_more = budget.spent() + max(taken.values(), default=0.0)
        if candidate.image_size in taken or (taken and one_more > _DECODING_SHARE * budget.seconds):
            continue
        recipe = settings.recipe.replace(image_size=candidate.image_size)
        load_photos(dataset, recipe, skip_unreadable=settings.skip_unreadable, progress=progress)
        build_cache(
            dataset.split(TEST), recipe.resize, skip_unreadable=settings.skip_unreadable, progress=progress
        )
        taken[candidate.image_size] = time.monotonic() - began
    return [candidate for candidate in candidates if candidate.image_size in taken]


def _folder(trial: Trial) -> Path:
    assert trial.folder is not None  # noqa: S101  (all trials here have one)
    return trial.folder


def _with_latency(trial: Trial) -> Trial:
    """The trial with its latency, measured now that nothing else runs."""
    latency = measure_latency(_folder(trial) / ARTIFACT)
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
            with replacing(out / name) as temporary:
                shutil.copyfile(run / name, temporary)


def _report(outcome: Outcome) -> ReportContent:
    """What the page shows."""
    settings = outcome.settings
    return ReportContent(
        data_name=settings.data.resolve().name,
        trials=outcome.trials,
        chosen=outcome.chosen,
        validation=outcome.validation,
        test=outcome.test,
        inspection=outcome.inspection,
        recipe=asdict(read_run(settings.out).recipe),
        curves={display_name(trial): read_run(_folder(trial)).metrics() for trial in outcome.trials},
        notes=outcome.notes,
        baseline=settings.baseline,
        seconds=outcome.seconds,
        command=_reproduction(outcome),
        version=__version__,
    )


def _reproduction(outcome: Outcome) -> str:
    """The command that trains the chosen network again."""
    out = outcome.settings.out
    model = ["--model", str(out / ARCH), "--recipe", str(out / RECIPE)]
    if outcome.settings.init != SCRATCH:
        model += ["--init", outcome.settings.init]
    return shlex.join(["wisp", "train", str(outcome.settings.data), *model, "--out", "again"])


def _notes(
    trials: Sequence[Trial],
    chosen: Trial,
    test: Evaluation | None,
    left_out: Sequence[str],
    settings: Settings,
) -> Iterator[str]:
    """What the user must know to read the result, one line each."""
    f1 = chosen.measurement.f1_macro
    wanted = F1_FLOOR if settings.target_f1 is None else settings.target_f1
    if f1 < wanted:
        floor = " (the floor of the score)" if settings.target_f1 is None else ""
        yield (
            f"no candidate reached F1 {wanted:g}{floor} on validation; this is the most accurate one ({f1:.4f}): give "
            "it more time (--budget) or more photos"
        )
    elif settings.target_f1 is None and not is_safe(chosen.measurement):
        yield (
            f"F1 {f1:.4f} on validation is too near the score's floor ({F1_FLOOR:g}) to be sure of it on other photos, "
            "and no candidate is safely above; this one is the safest: give it more time (--budget) or more photos"
        )
    if settings.init != SCRATCH:
        whose = "that came with wisp" if settings.init == PRETRAINED else f"of {settings.init}"
        yield f"pretrained: all trainings began with the weights {whose} (--init)"
    if test is None:
        yield "no labelled test photos: the figures are those of the validation split, which also made the choice"
    planned = [(trial, read_run(_folder(trial)).recipe.epochs) for trial in trials]
    cut = [
        f"{trial.candidate.name} ({trial.epochs} of {epochs} epochs)"
        for trial, epochs in planned
        if trial.epochs < epochs
    ]
    if cut:
        yield f"the budget ended these trainings before their last epoch: {', '.join(cut)}"
    if left_out:
        yield f"the budget ended before these had their turn: {', '.join(left_out)}"
