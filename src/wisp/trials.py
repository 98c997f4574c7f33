"""One trial of a search: train a candidate, export it, measure the exported file on validation photos."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from wisp import __version__
from wisp.bench.latency import measure_latency
from wisp.data.cache import build_cache
from wisp.data.folders import load_dataset
from wisp.data.synthetic import is_synthetic
from wisp.errors import DataError
from wisp.evaluation import Evaluation, evaluate
from wisp.export.onnx import ParityReport, export_onnx
from wisp.files import write_json
from wisp.macs import count_macs
from wisp.models import find_start
from wisp.models.starts import SCRATCH, initializer
from wisp.records import TRAIN, VAL, Dataset, Measurement
from wisp.runtime import Classifier
from wisp.score import Baseline
from wisp.search.candidate import Candidate
from wisp.train.distributed import alone
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import MEASUREMENT, Run, open_run, with_start, with_teachers
from wisp.train.speed import seconds_per_step
from wisp.train.teacher import load_teacher
from wisp.train.threads import one_thread, own_bar_lock

CHECK_IMAGES = 256  # real photos that an exported file must agree on


@dataclass(frozen=True)
class TrialTask:
    """One candidate to train, and everything that a worker process needs to know for it.

    `recipe` is complete (image size, epochs, seed); `described` is what `describe_data` says of the photos;
    `deadline` is the wall-clock time at which the training ends in any case; `init` is what it begins with
    (`wisp.models.find_start`); `teacher` is a complete run that it follows.
    """

    candidate: Candidate
    recipe: Recipe
    data: Path
    folder: Path
    baseline: Baseline
    skip_unreadable: bool
    deadline: float | None
    described: dict[str, Any] = field(compare=False, repr=False)
    init: str = SCRATCH
    teacher: Path | None = None

    @property
    def is_done(self) -> bool:
        """Whether the trial was completed, perhaps by an earlier process."""
        return (self.folder / MEASUREMENT).is_file()


def run_trial(task: TrialTask) -> Measurement:
    """Train the candidate (or go on with it) and measure the exported file; what is done already is not done again."""
    measured = task.folder / MEASUREMENT
    if task.is_done:
        with suppress(ValueError, TypeError):  # damaged: measured again, from the weights beside it
            return Measurement.from_json(json.loads(measured.read_text(encoding="utf-8")))
    own_bar_lock()
    dataset = load_dataset(task.data, progress=False)
    arch = task.candidate.arch
    start = find_start(task.init, arch)
    teachers = () if task.teacher is None else (task.teacher,)
    described = with_teachers(with_start(task.described, start), teachers)
    run = open_run(task.folder, task.recipe, arch, described, resume=True)
    with one_thread():
        train(
            run,
            dataset,
            initialize=initializer(start, arch),
            teacher=load_teacher(teachers, dataset.classes, alone().device) if teachers else None,
            skip_unreadable=task.skip_unreadable,
            progress=False,
            deadline=task.deadline,
        )
    export_run(run, dataset, skip_unreadable=task.skip_unreadable)
    measurement = evaluate_artifact(
        run.artifact,
        dataset,
        VAL,
        baseline=task.baseline,
        skip_unreadable=task.skip_unreadable,
        progress=False,
    ).measurement()
    write_json(measured, measurement.to_json())
    return measurement


def probe_seconds_per_epoch(candidate: Candidate, recipe: Recipe, n_photos: int) -> float:
    """How long one epoch of the candidate's training will take here, from a few steps on random pixels."""
    steps = n_photos // min(recipe.batch_size, n_photos)
    with one_thread():
        return steps * seconds_per_step(candidate.arch, recipe.replace(image_size=candidate.image_size))


def export_run(
    run: Run, dataset: Dataset, *, path: Path | None = None, skip_unreadable: bool = False
) -> ParityReport:
    """Export a complete run as one `.onnx`, checked on real photos: those of validation, else of training.

    Args:
        run: a complete run.
        dataset: the photos that the run was trained on.
        path: the file to write; None for the run's own `model.onnx`.
        skip_unreadable: leave unreadable photos out of the check instead of stopping.

    Raises:
        ModelError: the run is not complete.
        DataError: there is no photo to check with.
        ExportError: the file would not agree with the trained network; nothing is written.
    """
    model = run.load_model()
    samples = dataset.split(VAL) or dataset.split(TRAIN)
    if not samples:
        raise DataError(
            f"{dataset.root}: no photos to check the exported file with; give the run's photos with --data"
        )
    # evenly spread, so that every class is among them
    chosen = samples[:: math.ceil(len(samples) / CHECK_IMAGES)]
    images = build_cache(chosen, run.recipe.resize, progress=False, skip_unreadable=skip_unreadable).images
    provenance = {
        "wisp": __version__,
        "torch": str(torch.__version__),
        "recipe": asdict(run.recipe),
        "arch": run.arch.to_json(),
        "data_digest": run.data.get("digest"),
        "data_name": run.data.get("root_name"),
        "synthetic_data": is_synthetic(dataset.root),
    }
    return export_onnx(
        model,
        labels=run.classes,
        resize=run.recipe.resize,
        macs_as_trained=count_macs(model, run.recipe.image_size).total,
        provenance=provenance,
        check_images=images,
        path=path or run.artifact,
    )


def evaluate_artifact(
    path: Path,
    dataset: Dataset,
    split: str,
    *,
    baseline: Baseline,
    skip_unreadable: bool = False,
    latency: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure an exported file on one split; with `latency` also how long one image takes here."""
    evaluation = evaluate(
        Classifier(path),
        dataset,
        split,
        baseline=baseline,
        skip_unreadable=skip_unreadable,
        progress=progress,
    )
    return evaluation.with_latency(measure_latency(path)) if latency else evaluation
