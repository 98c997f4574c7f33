"""The main job, top to bottom: from a folder of photos to one small classifier that is measured and ready to run.

photos -> inspect -> decode -> a ladder or a search, then its best for longer -> choose on validation -> measure on test
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wisp.bench.latency import measure_latency
from wisp.budget import Budget
from wisp.data.cache import build_cache
from wisp.data.folders import load_dataset
from wisp.data.inspection import Inspection, inspect_folder
from wisp.errors import DataError, InputError, RecipeError
from wisp.exploration import LATENCIES, OWNER, SUMMARY, TRIALS, Photos, explore, explored_networks
from wisp.files import replacing, write_json
from wisp.models import find_start, named
from wisp.outcome import Outcome, Settings, find_notes, report_content
from wisp.records import TEST, TRAIN, VAL, Dataset
from wisp.report.page import write_report
from wisp.rounds import Rounds
from wisp.search.candidate import Candidate, Trial, folder_of
from wisp.search.executors import local_executor
from wisp.search.ladder import LADDER, ladder
from wisp.search.limits import Limits
from wisp.search.selection import choose
from wisp.search.strategies import STRATEGIES
from wisp.search_settings import DATABASE, JOURNAL, SearchSettings, is_worth_searching
from wisp.train.folder_lock import sole_use
from wisp.train.photos import load_photos
from wisp.train.run import (
    ARTIFACT,
    MEASUREMENT,
    RUN_FILES,
    check_folder,
    describe_data,
    prepare_folder,
)
from wisp.trials import TrialTask, evaluate_artifact, probe_seconds_per_epoch

STATE, CANDIDATES = "optimize.json", "candidates"
_LEAST_BUDGET_SECONDS = 30.0
_DECODING_SHARE = 0.25  # of the budget: input sizes that would take the decoding beyond it are left out
# Decoding and resizing a photo on a nominal machine, one thread; measured is half of it, or less.
_PHOTO_SECONDS, _PIXEL_SECONDS = 1e-3, 15e-9


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
    every = ladder(len(dataset.classes), max_macs=settings.max_macs) if settings.search is None else ()
    contents = (*RUN_FILES, STATE, CANDIDATES, DATABASE, JOURNAL, LATENCIES, OWNER, SUMMARY, TRIALS)
    if not resuming:
        check_folder(settings.out, contents=contents, overwrite=overwrite)
    inspection, _ = inspect_folder(settings.data, progress=progress)
    _check_photos(inspection, dataset, settings)
    with sole_use(settings.out):
        if not resuming:  # only now: an earlier job is not given up for photos that cannot be used
            prepare_folder(settings.out, contents=contents, overwrite=overwrite)
        budget = _begin(settings, started, resuming=resuming)
        return _spend(settings, dataset, inspection, budget, every, progress=progress)


def _spend(
    settings: Settings,
    dataset: Dataset,
    inspection: Inspection,
    budget: Budget,
    every: Sequence[Candidate],
    *,
    progress: bool,
) -> Outcome:
    """Decode, train and choose until the budget is used up; `every` is the ladder, where there is no search."""
    described = describe_data(dataset, progress=progress)
    if settings.search is not None:
        photos = sum(len(dataset.split(split)) for split in (TRAIN, VAL, TEST))
        most = _affordable_sizes(photos, inspection, settings.budget_seconds)
        every = settings.search.sizes_to_decode(len(dataset.classes), settings.out, most=most)
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
        executor = local_executor(settings.workers)
        rounds = Rounds(
            budget,
            executor,
            make_task,
            probe,
            settings.target_f1,
            progress,
            distill=settings.distill,
        )
        rounds.run(candidates, kept=budget.plans(every))
    else:
        rounds = _explore(
            settings, settings.search, dataset, described, candidates, budget, make_task, probe, progress
        )

    # The choice is made on validation; test photos are looked at once, with the chosen network.
    trials = [_with_latency(trial) for trial in rounds.trials]
    chosen = choose(trials, target_f1=settings.target_f1)
    _publish(folder_of(chosen), settings.out)
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
        notes=tuple(find_notes(trials, chosen, test, rounds.left_out, settings)),
        seconds=budget.taken,
        explored=() if settings.search is None else explored_networks(settings.out),
    )
    write_report(report_content(outcome), outcome.report)
    budget.finish()
    return outcome


def _explore(
    settings: Settings,
    search: SearchSettings,
    dataset: Dataset,
    described: dict[str, Any],
    sizes: Sequence[Candidate],
    budget: Budget,
    make_task: Callable[[Candidate, int, float], TrialTask],
    probe: Callable[[Candidate], float],
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
        probe=probe,
        init=settings.init,
        target_f1=settings.target_f1,
        distill=settings.distill,
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
    search = replace(asked, strategy=strategy).decided(
        len(dataset.classes),
        settings.workers,
        budget_seconds=settings.budget_seconds,
        steps_per_epoch=_steps_per_epoch(settings, dataset),
        latencies=settings.out / LATENCIES if resuming else None,
    )
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
        "distill": settings.distill,
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


def _affordable_sizes(photos: int, inspection: Inspection, budget_seconds: float) -> int:
    """How many input sizes a nominal machine decodes in its share of the budget, at least one.

    It follows from the photos and the budget alone, so that the same job searches in the same space again, however
    busy the machine is and whatever is decoded already. A machine so slow that it does not get as far is left with
    fewer (see `_decode`).
    """
    pixels = (
        inspection.widths.median * inspection.heights.median
        if inspection.widths and inspection.heights
        else 0.0
    )
    seconds = max(1, photos) * (_PHOTO_SECONDS + pixels * _PIXEL_SECONDS)
    return max(1, int(_DECODING_SHARE * budget_seconds / seconds))


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


def _with_latency(trial: Trial) -> Trial:
    """The trial with its latency, measured now that nothing else runs."""
    latency = measure_latency(folder_of(trial) / ARTIFACT)
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
