"""Several runs side by side: measured on the same photos, each against the first, seeds of one recipe together."""

from __future__ import annotations

import math
import os
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wisp.data.classes import class_order
from wisp.data.overlap import count_learnt, learnt_digests, overlap_note, readable_digests
from wisp.errors import InputError, ModelError
from wisp.evaluation import Evaluation, evaluate, labelled_samples
from wisp.metrics import paired_f1_difference_ci
from wisp.models.starts import name_start
from wisp.records import Dataset
from wisp.runtime import Classifier
from wisp.score import LEADERBOARD_2021, Baseline
from wisp.train.run import ARTIFACT, Run, read_run


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    Attributes:
        name: the run folder, without what all of the comparison have in common.
        run: the folder, read.
        evaluation: its exported file on the common photos.
        difference: macro F1 minus that of the first run; None for the first itself.
        difference_ci95: its paired 95% interval.
        n_learnt: how many of the common photos it has learnt from; None where its folder does not say.
    """

    name: str
    run: Run
    evaluation: Evaluation
    difference: float | None = None
    difference_ci95: tuple[float, float] | None = None
    n_learnt: int | None = None

    @property
    def note(self) -> str | None:
        """A warning where its F1 is not one on new photos."""
        return overlap_note(self.n_learnt, self.evaluation.n_images)


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in nothing but their seed: macro F1 on average, and its sample standard deviation.

    `numbers` are their places in the comparison, from 1.
    """

    numbers: tuple[int, ...]
    runs: tuple[Compared, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """In the order of the runs."""
        return tuple(compared.run.recipe.seed for compared in self.runs)

    @property
    def f1_mean(self) -> float:
        """Mean macro F1."""
        return statistics.fmean(compared.evaluation.f1_macro for compared in self.runs)

    @property
    def f1_sd(self) -> float:
        """Sample standard deviation of macro F1; NaN for a single run."""
        values = [compared.evaluation.f1_macro for compared in self.runs]
        return statistics.stdev(values) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class Comparison:
    """Runs on the same photos.

    Attributes:
        data_name: of the photos.
        split: which of them.
        runs: in the order given.
        settings: field of the recipe -> its value in each run, only the fields that are not alike.
    """

    data_name: str
    split: str
    runs: tuple[Compared, ...]
    settings: Mapping[str, tuple[Any, ...]]

    def groups(self) -> tuple[SeedGroup, ...]:
        """The runs, those that differ in their seed alone together."""
        found: dict[tuple[object, ...], list[tuple[int, Compared]]] = {}
        for number, compared in enumerate(self.runs, start=1):
            run = compared.run
            recipe, data = run.recipe.replace(seed=0), run.data.get("digest")
            key = (run.arch, recipe, data, *_known_before(run).values())
            found.setdefault(key, []).append((number, compared))
        groups = (zip(*members, strict=True) for members in found.values())
        return tuple(SeedGroup(numbers, runs) for numbers, runs in groups)

    def notes(self) -> list[str]:
        """What to warn of: a line for all runs of which the same is true."""
        found: dict[str, list[int]] = {}
        for number, compared in enumerate(self.runs, start=1):
            if compared.note is not None:
                found.setdefault(compared.note, []).append(number)
        return [
            f"run{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}: {note}"
            for note, numbers in found.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return {
            "data": self.data_name,
            "split": self.split,
            "runs": [
                {
                    "run": str(compared.run.folder),
                    "seed": compared.run.recipe.seed,
                    "epochs": compared.run.recipe.epochs,
                    "image_size": compared.run.recipe.image_size,
                    "difference": compared.difference,
                    "difference_ci95": compared.difference_ci95,
                    "n_learnt": compared.n_learnt,
                    **compared.evaluation.measurement().to_json(),
                }
                for compared in self.runs
            ],
            "groups": [
                {
                    "runs": [str(compared.run.folder) for compared in group.runs],
                    "seeds": list(group.seeds),
                    "f1_mean": group.f1_mean,
                    "f1_sd": None if math.isnan(group.f1_sd) else group.f1_sd,
                }
                for group in self.groups()
            ],
            "settings": {field: list(values) for field, values in self.settings.items()},
        }


def compare_runs(
    folders: Sequence[Path],
    dataset: Dataset,
    split: str,
    *,
    baseline: Baseline = LEADERBOARD_2021,
    progress: bool = True,
) -> Comparison:
    """Measure the exported files of several runs on the same photos.

    Args:
        folders: at least two run folders, each with a model.onnx; the others are compared with the first.
        dataset: labelled photos, with the classes of the runs.
        split: which of them.
        baseline: what the scores are relative to.
        progress: show progress bars on a terminal.

    Raises:
        InputError: fewer than two runs, or one of them twice.
        ModelError: a run is not exported, damaged, or does not know a class of the photos.
        DataError: the photos cannot be used.
    """
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run to compare; give at least two run folders")
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise InputError(f"{folder}: given twice; name each run once")
    names = sorted(dataset.classes)
    short = _short_names(resolved)
    samples = labelled_samples(dataset, split)
    runs = [_exported(folder, dataset) for folder in folders]
    digests = readable_digests(samples, progress=progress)
    compared: list[Compared] = []
    answers: list[npt.NDArray[np.int64]] = []
    for run, shown in zip(runs, short, strict=True):
        classifier = Classifier(run.artifact)
        evaluation = evaluate(classifier, dataset, split, baseline=baseline, progress=progress)
        known = [*names, *(name for name in evaluation.classes if name not in names)]
        wrong = {mistake.name: mistake.said for mistake in evaluation.mistakes}
        true = np.array([known.index(dataset.classes[sample.label or 0]) for sample in samples])
        said = np.array(
            [
                known.index(wrong[sample.name]) if sample.name in wrong else index
                for sample, index in zip(samples, true, strict=True)
            ]
        )
        answers.append(said)
        learnt = learnt_digests(run.data, train_on_val=run.recipe.train_on_val)
        n_learnt = None if learnt is None else count_learnt(learnt, digests)
        if not compared:
            compared.append(Compared(shown, run, evaluation, n_learnt=n_learnt))
            continue
        n = 1 + int(max(true.max(), answers[0].max(), said.max()))
        compared.append(
            Compared(
                shown,
                run,
                evaluation,
                evaluation.f1_macro - compared[0].evaluation.f1_macro,
                paired_f1_difference_ci(true, answers[0], said, n),
                n_learnt,
            )
        )
    settings = dict(_differences([each.run for each in compared]))
    return Comparison(dataset.root.resolve().name, split, tuple(compared), settings)


def _differences(runs: Sequence[Run]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What decides the runs and is not the same in all of them."""
    recipes = [asdict(run.recipe) for run in runs]
    described = [
        {"network": _network(run), **_known_before(run), **recipe, "data": str(run.data.get("digest"))[:12]}
        for run, recipe in zip(runs, recipes, strict=True)
    ]
    for field in described[0]:
        values = tuple(each[field] for each in described)
        if any(value != values[0] for value in values):
            yield field, values


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The folders without those that all of them lie in."""
    common = os.path.commonpath([folder.parent for folder in folders])
    return [str(folder.relative_to(common)) for folder in folders]


def _known_before(run: Run) -> dict[str, str]:
    """What a run learned from beside its photos: the weights that it began with, and its teachers."""
    teachers = run.data.get("teachers") or ()
    return {
        "init": name_start(run.data.get("pretrained")),
        "teachers": ", ".join(str(digest)[:12] for digest in teachers) or "none",
    }


def _exported(folder: Path, dataset: Dataset) -> Run:
    """The run, if it can be measured on these photos: known of all runs before the first is measured."""
    run = read_run(folder)
    if not run.artifact.is_file():
        raise ModelError(
            f"{folder}: no {ARTIFACT} in this run; make it with: wisp export {shlex.quote(str(folder))}"
        )
    try:
        class_order(dataset, run.classes)
    except ModelError as error:
        raise ModelError(f"{folder}: cannot be measured on these photos; {error}") from error
    return run


def _network(run: Run) -> str:
    return f"{run.arch.family} ({sum(parameter.numel() for parameter in run.load_model().parameters()):,} weights)"
