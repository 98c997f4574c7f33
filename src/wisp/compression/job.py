"""One compression from end to end: read, make smaller, fine-tune, export, count by every counter, write."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from wisp.compress import Change, FuseConfig, LowRankConfig, PruneConfig, factorize, fuse, prune
from wisp.compress.change import ONNX, Costs
from wisp.compression.subject import Subject
from wisp.compression.tuning import Judge, Tuner
from wisp.data.fingerprint import content_fingerprint
from wisp.errors import DataError, ExportError, InputError, ModelError
from wisp.export import export_onnx
from wisp.files import new_folder, write_json
from wisp.macs import count_macs, count_onnx
from wisp.records import TRAIN, VAL, Dataset, ResizeRule
from wisp.train.distributed import Processes, alone
from wisp.train.recipe import Recipe
from wisp.train.run import (
    COMPRESSION,
    RUN_FILES,
    Run,
    arch_file,
    check_folder,
    create_run,
)
from wisp.trials import export_run

Method = Literal["fuse", "prune", "lowrank"]
_SHORTER = 4  # fine-tuning takes a fourth of the recipe's epochs


@dataclass(frozen=True)
class Options:
    """What a compression is to do.

    Attributes:
        method: fuse, prune or lowrank.
        max_macs: the most MACs by any counter.
        ratio: instead, the share of the MACs that is to stay.
        importance: of `prune`; None: `taylor` with photos, else `magnitude`.
        steps: of `prune`, how often to prune and fine-tune.
        least_share: of `prune`, the share of each layer's channels that stays in any case.
        epochs: of the last fine-tuning; None: a fourth of the recipe's; 0: none.
        ranks: of `lowrank`, in place of a target: `variational` takes those that stand out of the weights' noise.
    """

    method: Method
    max_macs: int | None = None
    ratio: float | None = None
    importance: Literal["taylor", "magnitude", "batchnorm"] | None = None
    steps: int | None = None
    least_share: float | None = None
    epochs: int | None = None
    ranks: Literal["variational"] | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense together.

        Raises:
            InputError: it names the options.
        """
        if self.max_macs is not None and self.ratio is not None:
            raise InputError("--max-macs and --ratio: give one of them")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise InputError(f"--ratio {self.ratio:g}: the share of the MACs that stays, between 0 and 1")
        has_target = self.max_macs is not None or self.ratio is not None
        if self.method == "prune" and not has_target:
            raise InputError("--method prune needs a target: --max-macs or --ratio")
        if self.ranks is not None and (self.method != "lowrank" or has_target):
            raise InputError(
                "--ranks belongs to --method lowrank, in place of a target (--max-macs or --ratio)"
            )
        if self.method == "lowrank" and not has_target and self.ranks is None:
            raise InputError(
                "--method lowrank needs a target: --max-macs or --ratio (or --ranks variational, for large networks)"
            )
        if self.method == "fuse" and has_target:
            raise InputError(
                "--method fuse changes no function, so it has no target; leave --max-macs and --ratio out"
            )
        for option, value in (
            ("--importance", self.importance),
            ("--steps", self.steps),
            ("--least-share", self.least_share),
        ):
            if value is not None and self.method != "prune":
                raise InputError(f"{option} belongs to --method prune")
        if self.epochs is not None and self.method == "fuse":
            raise InputError("--epochs: a fused network is the same function, and needs no fine-tuning")


@dataclass(frozen=True)
class Compressed:
    """What came of it: the change, the smaller network, and the run folder where one was written."""

    change: Change
    model: nn.Module
    run: Run | None = None


def compress(
    subject: Subject,
    options: Options,
    *,
    dataset: Dataset | None = None,
    recipe: Recipe | None = None,
    out: Path | None = None,
    procs: Processes | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Compressed:
    """Make a model smaller, and fine-tune and measure it where there are photos.

    Args:
        subject: the model.
        options: the method and its target.
        dataset: photos for the F1 before and after, for importance and for fine-tuning; None does without.
        recipe: of the fine-tuning; None: the run's, else the defaults. Its epochs are those of a whole training.
        out: the folder to write, a run folder where the classes are known; None writes nothing and tunes nothing.
        procs: where to train; None: on the CPU.
        resume: go on with what an interrupted call left in `out`.
        overwrite: replace what is in `out`.
        skip_unreadable: leave unreadable photos out instead of stopping.
        progress: show bars on a terminal.

    Raises:
        InputError: the options or the folder cannot be used.
        ModelError: the network cannot be compressed this way.
        DataError: the photos are of other classes, or cannot be read.
    """
    if out is not None:
        if out.resolve() == subject.weights.resolve().parent:
            raise InputError(f"--out {out}: holds the model that is compressed; choose another folder")
        if not resume:
            check_folder(out, contents=RUN_FILES, overwrite=overwrite)
    with ExitStack() as held:
        tuner, judge, recipe = None, None, _recipe(subject, recipe, dataset)
        if dataset is not None:
            _check_classes(subject, dataset)
            procs = procs or alone()
            flags = {"skip_unreadable": skip_unreadable, "progress": progress}
            judge = Judge(dataset, recipe.resize, procs.device, **flags)
            if out is not None and options.method != "fuse" and options.epochs != 0:
                described = {**_described(subject, dataset, progress=progress), "teachers": [subject.digest]}
                tuner = Tuner(
                    subject=subject,
                    dataset=dataset,
                    recipe=_fine_tuning(recipe, options),
                    out=out,
                    steps=(options.steps or 1) if options.method == "prune" else 1,
                    described=described,
                    procs=procs,
                    resume=resume,
                    overwrite=overwrite,
                    held=held,
                    **flags,
                )
        if tuner is not None and resume and (finished := _read_finished(subject, options, tuner)) is not None:
            tuner.remove_steps()
            return finished
        model, change = _apply(subject, options, tuner, judge, progress=progress)
        if judge is not None:
            classes = subject.network.num_classes
            change = change.replace(
                f1_before=judge.f1(subject.model, classes), f1_after=judge.f1(model, classes)
            )
        change = change.replace(notes=(*change.notes, *_notes(options, dataset, tuner, out)))
        run = tuner.run if tuner else None
        if run is None and out is not None and (dataset is not None or subject.run is not None):
            run = _write_run(subject, model, change, recipe, dataset, out, overwrite=overwrite or resume)
        if run is not None and dataset is not None:
            export_run(run, dataset, skip_unreadable=skip_unreadable)
        change = _count_graphs(change, subject, model, run)
        if run is not None:
            write_json(run.folder / COMPRESSION, _to_json(change, subject, options))
        elif out is not None:
            _write_folder(subject, model, change, options, out, overwrite=overwrite or resume)
        if tuner is not None:
            tuner.remove_steps()  # last: killed before, a resumed call needs them
        return Compressed(change, model, run)


def _read_finished(subject: Subject, options: Options, tuner: Tuner) -> Compressed | None:
    """What an earlier call with the same wishes brought to its end; None where none did.

    The runs of its earlier steps are gone, so to go through the steps would train them again.

    Raises:
        RecipeError, ModelError, DataError: it was trained with another recipe or on other photos.
    """
    try:
        told = json.loads((tuner.out / COMPRESSION).read_text(encoding="utf-8"))
        if told["options"] != asdict(options) or told["from"]["weights_sha256"] != subject.digest:
            return None
        change = Change.from_json(told)
    except (OSError, ValueError, KeyError, TypeError):  # not there, damaged, or of an earlier version
        return None
    if not change.edits:  # nothing was removed, so nothing was fine-tuned
        return None
    run = tuner.reopen(change.edits)
    return Compressed(change, run.load_model(), run) if run.is_complete else None


def _apply(
    subject: Subject, options: Options, tuner: Tuner | None, judge: Judge | None, *, progress: bool
) -> tuple[nn.Module, Change]:
    model, size = subject.model, subject.image_size
    target = options.max_macs
    if options.ratio is not None:
        target = max(1, int(options.ratio * Costs(size).larger(model)))
    match options.method:
        case "fuse":
            return fuse(model, FuseConfig(), image_size=size)
        case "lowrank":
            images = judge.images if judge else None
            return factorize(
                model, LowRankConfig(target), image_size=size, images=images, tune=tuner, progress=progress
            )
        case "prune":
            assert target is not None  # noqa: S101  (Options makes sure)
            config = PruneConfig(
                max_macs=target,
                importance=options.importance or ("taylor" if judge else "magnitude"),
                steps=options.steps or 1,
                least_share=0.1 if options.least_share is None else options.least_share,
            )
            losses = judge.losses if judge else None
            return prune(model, config, image_size=size, losses=losses, tune=tuner, progress=progress)


def _recipe(subject: Subject, recipe: Recipe | None, dataset: Dataset | None) -> Recipe:
    """The recipe of a whole training at the subject's image size."""
    chosen = recipe or (subject.run.recipe if subject.run else Recipe())
    if subject.run is not None and recipe is not None and recipe.resize != subject.run.recipe.resize:
        raise InputError(
            f"--recipe: image_size and geometry must be the run's, {subject.run.recipe.image_size} and "
            f"'{subject.run.recipe.geometry}'"
        )
    chosen = chosen.replace(image_size=subject.image_size, stop_after_epochs=0)
    return chosen.resolved(len(dataset.split(TRAIN))) if dataset is not None else chosen


def _fine_tuning(recipe: Recipe, options: Options) -> Recipe:
    return recipe.replace(epochs=options.epochs or max(1, recipe.epochs // _SHORTER))


def _check_classes(subject: Subject, dataset: Dataset) -> None:
    """Refuse photos of other classes than the model's."""
    if subject.run is not None and subject.run.classes != tuple(dataset.classes):
        raise DataError(
            f"{dataset.root}: classes {', '.join(dataset.classes)}; the run knows {', '.join(subject.run.classes)}"
        )
    if len(dataset.classes) != subject.network.num_classes:
        raise DataError(
            f"{dataset.root}: {len(dataset.classes)} classes; the network tells {subject.network.num_classes} apart"
        )


def _described(subject: Subject, dataset: Dataset | None, *, progress: bool) -> dict[str, Any]:
    """What data.json says: the photos, and the weights that the network starts from."""
    if dataset is not None:
        photos = {"root": str(dataset.root.resolve()), **content_fingerprint(dataset, progress=progress)}
    else:
        assert subject.run is not None  # noqa: S101  (callers make sure)
        photos = {
            name: value for name, value in subject.run.data.items() if name not in {"teachers", "pretrained"}
        }
    return {**photos, "pretrained": subject.digest}


def _notes(
    options: Options, dataset: Dataset | None, tuner: Tuner | None, out: Path | None
) -> tuple[str, ...]:
    """What was not done, and why."""
    notes: list[str] = []
    if dataset is None:
        tuned = "" if options.method == "fuse" else " and nothing was fine-tuned"
        return (f"no photos were given (--data), so F1 was not measured{tuned}",)
    if not dataset.split(VAL):
        notes.append("there are no validation photos, so F1 was not measured")
    if options.method != "fuse" and tuner is None:
        why = "--epochs 0" if out is not None else "no --out to train in"
        notes.append(f"nothing was fine-tuned: {why}")
    return tuple(notes)


def _write_run(
    subject: Subject,
    model: nn.Module,
    change: Change,
    recipe: Recipe,
    dataset: Dataset | None,
    out: Path,
    *,
    overwrite: bool,
) -> Run:
    """A complete run without a training of its own."""
    data = _described(subject, dataset, progress=False)
    run = create_run(out, recipe, subject.network.with_edits(change.edits), data, overwrite=overwrite)
    run.save_model(model)
    return run


def _write_folder(
    subject: Subject, model: nn.Module, change: Change, options: Options, out: Path, *, overwrite: bool
) -> None:
    """The network and its weights, where too little is known for a run."""
    for path in check_folder(out, contents=RUN_FILES, overwrite=overwrite):
        path.unlink()
    network = subject.network.with_edits(change.edits)
    with new_folder(out) as folder:
        network.save(folder / arch_file(network))
        Run(folder, Recipe(), network, {}).save_model(model)
        write_json(folder / COMPRESSION, _to_json(change, subject, options))


def _count_graphs(change: Change, subject: Subject, model: nn.Module, run: Run | None) -> Change:
    """The change with the counts of both exported graphs."""
    try:
        before = _graph_macs(subject.model, subject, subject.run)
        after = _graph_macs(model, subject, run)
    except (ExportError, ModelError) as error:
        return change.replace(notes=(*change.notes, f"the graph was not counted: {error}"))
    return change.replace(
        macs_before={**change.macs_before, ONNX: before}, macs_after={**change.macs_after, ONNX: after}
    )


def _graph_macs(model: nn.Module, subject: Subject, run: Run | None) -> int:
    """MACs of a network's exported graph: of the run's, else of one that is made for this."""
    if run is not None and run.artifact.is_file():
        return count_onnx(run.artifact).total
    noise = np.random.default_rng(0).integers(
        0, 256, (2, subject.image_size, subject.image_size, 3), dtype=np.uint8
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(
            model,
            labels=[str(index) for index in range(subject.network.num_classes)],
            resize=ResizeRule(subject.image_size),
            macs_as_trained=count_macs(model, subject.image_size).total,
            provenance={},
            check_images=noise,
            path=path,
        )
        return count_onnx(path).total


def _to_json(change: Change, subject: Subject, options: Options) -> Mapping[str, Any]:
    """compression.json: the change, what was compressed, and what was asked for."""
    origin = str(subject.run.folder if subject.run else subject.weights)
    return {
        "from": {"name": Path(origin).name, "weights_sha256": subject.digest},
        "options": asdict(options),
        **change.to_json(),
    }


__all__ = ["Compressed", "Method", "Options", "compress"]
