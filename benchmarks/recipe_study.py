"""What changes to the recipe are worth.

    python -m benchmarks.recipe_study DATA --out RUNS --variant NAME FIELD=VALUE ... --variant ... --record FILE.json

One network is trained with the default recipe and with every variant of it, each with the same seeds, and compared on
photos that none of them learned from: a part of the training photos (`--hold-out`), or the validation split. Test is
never looked at. A variant is a name and the fields that it changes; `teacher=RUN,RUN` learns from finished runs,
`augmentation=0.5` has all changes to the photos half as strong. What is trained already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.outcome import finish
from wisp.data.folders import load_dataset
from wisp.files import write_json
from wisp.metrics import confusion_matrix, macro_f1
from wisp.models import find_start, resolve
from wisp.models.starts import SCRATCH, initializer
from wisp.records import TRAIN, VAL, Dataset
from wisp.search.executors import local_executor
from wisp.train.loop import train
from wisp.train.photos import load_photos, predict_logits
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data, open_run, read_run
from wisp.train.teacher import load_teacher
from wisp.train.threads import one_thread, own_bar_lock

_RESULT = "held-out.json"


@dataclass(frozen=True)
class Study:
    """What all trainings share. `hold_out` is the share of train and val that is held out; 0: val itself."""

    data: Path
    out: Path
    model: str
    init: str
    hold_out: float


@dataclass(frozen=True)
class Training:
    """One seed of one variant."""

    study: Study
    variant: str
    recipe: Recipe
    teachers: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.study.out / f"{self.variant}-seed{self.recipe.seed}"


def main() -> None:
    """Train what is missing, print and record the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--model", default="wisp-1m", help="a named network or an arch.json")
    parser.add_argument("--init", default=SCRATCH, help="scratch, pretrained, or the folder of a run")
    parser.add_argument(
        "--hold-out", type=float, default=0.0, help="share of train and val; 0: the val split"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set-field", nargs="*", default=(), metavar="FIELD=VALUE", help="for all of them")
    parser.add_argument("--variant", nargs="+", action="append", default=[], metavar="NAME FIELD=VALUE")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    study = Study(arguments.data, arguments.out, arguments.model, arguments.init, arguments.hold_out)
    photos = len(_dataset(study).split(TRAIN))
    shared = dict(map(_field, arguments.set_field))
    variants = [(name, dict(map(_field, fields))) for name, *fields in [["default"], *arguments.variant]]
    trainings = []
    for seed in range(arguments.seeds):
        for name, fields in variants:
            teachers = tuple(Path(text) for text in str(fields.get("teacher", "")).split(",") if text)
            changes = {key: value for key, value in {**shared, **fields}.items() if key != "teacher"}
            strength = changes.pop("augmentation", None)
            recipe = Recipe(seed=seed).replace(**changes).resolved(photos).with_augmentation(strength)
            trainings.append(Training(study, name, recipe, teachers))

    workers = arguments.workers
    executor = local_executor(workers, reuse=True)
    results: dict[str, dict[int, dict[str, float]]] = {}
    for training, result in executor.run(_train, trainings):
        results.setdefault(training.variant, {})[training.recipe.seed] = result
        print(f"{training.folder.name}: {result}", flush=True)
    rows = []
    for name, fields in variants:
        by_seed = [results[name][seed] for seed in sorted(results[name])]
        rows.append(
            {
                "variant": name,
                "fields": fields,
                **{
                    f"{key}_{kind.__name__}": round(kind([result[key] for result in by_seed]), 4)
                    for key in ("f1", "cross_entropy", "loss", "seconds")
                    for kind in (statistics.mean, statistics.stdev)
                    if len(by_seed) > 1 or kind is statistics.mean
                },
                "f1": [round(result["f1"], 4) for result in by_seed],
            }
        )
        print(json.dumps(rows[-1]))
    numbers = {"model": study.model, "init": study.init, "hold_out": study.hold_out, "photos": photos}
    finish("recipe-study", {**numbers, "shared": shared, "rows": rows}, [], arguments.record)


def _field(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _dataset(study: Study) -> Dataset:
    """The photos, with a part of them (always the same) as the validation split."""
    dataset = load_dataset(study.data, progress=False)
    if not study.hold_out:
        return dataset
    samples = sorted(dataset.split(TRAIN) + dataset.split(VAL), key=lambda sample: sample.name)
    random.Random(0).shuffle(samples)  # noqa: S311
    held_out = round(study.hold_out * len(samples))
    splits = {VAL: tuple(samples[:held_out]), TRAIN: tuple(samples[held_out:])}
    return replace(dataset, splits=splits)


def _train(task: Training) -> dict[str, float]:
    """Train it, or find it done, and measure it on what was held out."""
    if (task.folder / _RESULT).is_file():
        return dict(json.loads((task.folder / _RESULT).read_text(encoding="utf-8")))
    own_bar_lock()
    dataset = _dataset(task.study)
    arch = resolve(task.study.model, num_classes=len(dataset.classes))
    start = find_start(task.study.init, arch)
    described = describe_data(dataset, teachers=task.teachers, start=start, progress=False)
    run = open_run(task.folder, task.recipe, arch, described, resume=True)
    cpu = torch.device("cpu")
    teacher = load_teacher(task.teachers, dataset.classes, cpu) if task.teachers else None
    with one_thread():
        result = train(run, dataset, initialize=initializer(start, arch), teacher=teacher, progress=False)
        run = read_run(task.folder)
        _, val = load_photos(dataset, task.recipe, skip_unreadable=False, progress=False)
        logits = torch.cat(list(predict_logits(run.load_model(), val, cpu)))
    numbers = {
        "f1": macro_f1(confusion_matrix(val.labels, logits.argmax(dim=1), len(dataset.classes))),
        "cross_entropy": float(F.cross_entropy(logits, val.labels)),
        "loss": result.loss,
        "seconds": result.seconds,
    }
    write_json(task.folder / _RESULT, numbers)
    return numbers


if __name__ == "__main__":
    main()
