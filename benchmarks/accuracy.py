"""Macro F1 on real photos, three seeds: python -m benchmarks.accuracy trashnet DATA --out RUNS [--record FILE].

Every row is trained with the default recipe (for as many epochs as its floor, where that is said), from scratch or
from the weights that `--init` names, on the training split alone (unless train_on_val is set), one thread a training,
two at a time; validation is only looked at, test is measured once at the end (with `--validate`, not at all).
`--networks` gives other rows, without floors: a name, or the folder of a run whose network is trained anew.
`--teacher` is a finished run that all learn from. A run that is there already is not repeated. The floors are those
of one plain recipe (one seed), at the same MACs as trained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.naming import network_name
from benchmarks.outcome import Bar, finish
from wisp.data.folders import load_dataset
from wisp.errors import WispError
from wisp.models import find_start, resolve
from wisp.models.starts import SCRATCH
from wisp.records import TEST, TRAIN
from wisp.score import LEADERBOARD_2021, score
from wisp.search.candidate import Candidate
from wisp.search.executors import ProcessExecutor
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data, open_run, read_run, with_start, with_teachers
from wisp.trials import TrialTask, evaluate_artifact, run_trial


@dataclass(frozen=True)
class Row:
    """One network at one size, and the figure it has to beat. `part` names the part of the data the second is of."""

    model: str
    image_size: int
    floor_f1: float = 0.0
    floor_macs: int = 0
    epochs: int = 0  # 0: the recipe's default; else as many as the plain recipe had
    part: str | None = None
    part_floor_f1: float | None = None

    @property
    def name(self) -> str:
        """Of the network, without where it lies."""
        return network_name(self.model)


ROWS = {
    "trashnet": (
        Row("wisp-2m", 64, 0.840, 2_330_000),
        Row("wisp-2m", 48, 0.806, 1_400_000, 400),
        Row("wisp-1m", 64, 0.792, 945_000, 400),
        Row("wisp-2m", 32, 0.781, 585_000),
        Row("wisp-1m", 48, 0.773, 550_000, 400),
    ),
    "waste9": (Row("wisp-2m", 64, 0.609, 2_330_000, part="taco416", part_floor_f1=0.313),),
}


def main() -> None:
    """Train what is missing, measure everything, print and record the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=ROWS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="*", help="only these rows, counted from 0")
    parser.add_argument("--networks", nargs="*", metavar="NAME|RUN:PIXELS", help="other rows")
    parser.add_argument("--init", default=SCRATCH, help="scratch, pretrained, or the folder of a run")
    parser.add_argument("--teacher", type=Path, metavar="RUN", help="a finished run to learn from")
    parser.add_argument("--set-field", nargs="*", default=(), metavar="FIELD=VALUE", help="of the recipe")
    parser.add_argument("--validate", action="store_true", help="leave test alone: to choose")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = [
        row for index, row in enumerate(ROWS[arguments.set]) if not arguments.rows or index in arguments.rows
    ]
    if arguments.networks:
        part = ROWS[arguments.set][0].part
        pairs = [text.rsplit(":", 1) for text in arguments.networks]
        rows = [Row(name, int(size), part=part) for name, size in pairs]
    changes = {name: json.loads(value) for name, value in (text.split("=") for text in arguments.set_field)}

    dataset = load_dataset(arguments.data)
    described = describe_data(dataset)
    tasks = {}
    for row in rows:
        for seed in range(arguments.seeds):
            arch = resolve(row.model, num_classes=len(dataset.classes))
            candidate = Candidate(f"{row.name}-{row.image_size}px", arch, row.image_size)
            recipe = Recipe(image_size=row.image_size, seed=seed, epochs=row.epochs)
            recipe = recipe.replace(**changes).resolved(len(dataset.split(TRAIN)))
            tasks[row, seed] = TrialTask(
                candidate=candidate,
                recipe=recipe,
                data=arguments.data,
                folder=arguments.out / f"{arguments.set}-{candidate.name}-seed{seed}",
                baseline=LEADERBOARD_2021,
                skip_unreadable=False,
                deadline=None,
                described=described,
                init=arguments.init,
                teacher=arguments.teacher,
            )
    for task in tasks.values():
        if task.is_done:
            _check_done(task)
    started = time.monotonic()
    for task, measurement in ProcessExecutor(arguments.workers).run(run_trial, tasks.values()):
        print(
            f"{task.folder.name}: validation F1 {measurement.f1_macro:.4f}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    if arguments.validate:
        return

    results = [_measure(row, [tasks[row, seed] for seed in range(arguments.seeds)]) for row in rows]
    bars = []
    for row, result in zip(rows, results, strict=True):
        name = f"{row.name} at {row.image_size} px"
        if not row.floor_macs:
            continue
        bars.append(Bar(f"{name}: mean test F1", result["f1_test_mean"], row.floor_f1))
        bars.append(Bar(f"{name}: MACs as trained", result["macs_as_trained"], row.floor_macs, at_most=True))
        if row.part is not None and row.part_floor_f1 is not None:
            bars.append(
                Bar(f"{name}: mean test F1 of {row.part}", result["part"]["f1_mean"], row.part_floor_f1)
            )
    numbers = {
        "set": arguments.set,
        "init": arguments.init,
        "teacher": arguments.teacher and arguments.teacher.name,
        "settings": changes,
        "seeds": list(range(arguments.seeds)),
        "rows": results,
    }
    finish("accuracy", numbers, bars, arguments.record)


def _check_done(task: TrialTask) -> None:
    """What is done is taken as it is, so it must have been trained as is asked now: settings, start and teacher."""
    arch = task.candidate.arch
    described = with_start(task.described, find_start(task.init, arch))
    described = with_teachers(described, [task.teacher] if task.teacher else [])
    try:
        open_run(task.folder, task.recipe, arch, described, resume=True)
    except WispError as error:
        raise SystemExit(str(error)) from error


def _measure(row: Row, tasks: list[TrialTask]) -> dict[str, Any]:
    """The row's figures on test, mean and spread over its seeds."""
    evaluations = []
    for task in tasks:
        run = read_run(task.folder)
        evaluations.append(
            evaluate_artifact(run.artifact, load_dataset(task.data), TEST, baseline=LEADERBOARD_2021)
        )
    f1s = [evaluation.f1_macro for evaluation in evaluations]
    first = evaluations[0]
    result: dict[str, Any] = {
        "model": row.name,
        "image_size": row.image_size,
        "epochs": tasks[0].recipe.epochs,
        "macs_as_trained": first.macs_as_trained,
        "macs_deployed": first.macs,
        "params": first.params,
        "f1_test": [round(f1, 4) for f1 in f1s],
        "f1_test_mean": round(statistics.mean(f1s), 4),
        "f1_test_stdev": round(statistics.stdev(f1s), 4) if len(f1s) > 1 else None,
        "score_mean": round(statistics.mean(evaluation.score for evaluation in evaluations), 4),
        "score_as_trained": round(score(statistics.mean(f1s), first.macs_as_trained), 4),
        "seconds": [round(read_run(task.folder).metrics()[-1]["seconds"]) for task in tasks],
        **({"floor": {"f1": row.floor_f1, "macs": row.floor_macs}} if row.floor_macs else {}),
    }
    if row.part is not None:
        part_f1s = [evaluation.parts[row.part].f1_macro for evaluation in evaluations]
        result["part"] = {
            "name": row.part,
            "n_images": first.parts[row.part].n_images,
            "f1": [round(f1, 4) for f1 in part_f1s],
            "f1_mean": round(statistics.mean(part_f1s), 4),
            "floor_f1": row.part_floor_f1,
        }
    return result


if __name__ == "__main__":
    main()
