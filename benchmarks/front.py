"""Our networks against known ones, all trained alike: python -m benchmarks.front DATA --out RUNS --record FILE.json.

Every network at every size is trained on the training split with the same recipe, for as many epochs, with the same
seeds, one thread a training, several at a time. Nothing is chosen: test is measured once, at the end. A peer is
dominated where one of ours costs fewer MACs and has the higher mean F1; the bar is that none is left. A training that
is there is not repeated, one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.front_trainings import (
    Entrant,
    Point,
    Training,
    measure_points,
    measure_step,
    run_training,
    work_for,
)
from benchmarks.naming import network_name
from benchmarks.outcome import Bar, finish
from benchmarks.peers import PEERS, SIZES
from wisp.data.folders import load_dataset
from wisp.errors import InputError, WispError
from wisp.files import write_text
from wisp.macs import count_macs
from wisp.models import ArchSpec, build, find_start, resolve
from wisp.models.starts import SCRATCH
from wisp.records import TRAIN, Dataset
from wisp.search.executors import Executor, local_executor
from wisp.train.photos import load_photos
from wisp.train.recipe import Recipe
from wisp.train.run import RECIPE, describe_data, read_run

FOUND = Path(__file__).parents[1] / "docs" / "records" / "networks"
OURS = (
    "wisp-500k:48",
    "wisp-1m-se:36",
    "wisp-1m:48",
    "wisp-1m:64",
    f"{FOUND / 'wisp-808k-44px-a33234.json'}:44",
    "wisp-2m:48",
    "wisp-2m-se:44,64,96",
    "wisp-2m:64",
    "wisp-4m-se:80,120",
    "wisp-4m:96",
)


def main() -> None:
    """Train what is missing, measure everything, print and record the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photos with train, val and test")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument(
        "--ours",
        nargs="*",
        default=OURS,
        metavar="NAME:PIXELS|RUN",
        help="networks of ours: by name, or the network and size of a run",
    )
    parser.add_argument(
        "--peers", nargs="*", default=tuple(PEERS), metavar="NAME[:PIXELS,...]", help=", ".join(PEERS)
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="pixels, of peers without their own"
    )
    parser.add_argument("--recipe", type=Path, help="TOML file (default: the default recipe)")
    parser.add_argument("--epochs", type=int, help="of every training (default: the recipe's)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--init", default=SCRATCH, help="what OUR networks begin with; peers always from scratch"
    )
    parser.add_argument("--limit-minutes", type=float, help="stop the trainings then; run again to go on")
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take")
    parser.add_argument("--record", type=Path, nargs="*", default=(), help="files to write: .json, .md")
    arguments = parser.parse_args()
    try:
        _compare(arguments)
    except WispError as error:
        parser.exit(2, f"error: {error}\n")


def _compare(arguments: argparse.Namespace) -> None:
    others = [path for path in arguments.record if path.suffix not in {".json", ".md"}]
    if others:
        raise InputError(f"--record {others[0]}: give a name that ends in .json or .md")
    dataset = load_dataset(arguments.data)
    entrants = list_entrants(arguments, len(dataset.classes))
    tasks = make_trainings(arguments, entrants, dataset)
    workers = arguments.workers
    executor = local_executor(workers, reuse=True)
    if arguments.estimate:
        _estimate(tasks, executor, photos=len(dataset.split(TRAIN)))
        return
    _train(tasks, executor, dataset, arguments.limit_minutes)
    points = measure_points(tasks, executor)
    missing = [task.folder.name for task in tasks if not task.artifact.is_file()]
    dominators = find_dominators(points)
    text = table(points, dominators)
    print(text)
    numbers = {
        "data": {"name": dataset.root.name, "digest": tasks[0].described["digest"]},
        "recipe": {**asdict(tasks[0].recipe), "image_size": None, "seed": None},
        "init_of_ours": arguments.init,
        "seeds": list(range(arguments.seeds)),
        "points": [point_to_json(point, dominators) for point in points],
        "missing": missing,
    }
    bars = [
        Bar("peers not dominated", sum(not by for by in dominators.values()), 0, at_most=True),
        Bar("trainings missing", len(missing), 0, at_most=True),
    ]
    record = None
    for path in arguments.record:
        if path.suffix == ".md":
            write_text(path, page(text, numbers, bars))
        else:
            record = path
    finish("front", numbers, bars, record)


def list_entrants(arguments: argparse.Namespace, num_classes: int) -> list[Entrant]:
    """What is compared, ours first.

    Raises:
        InputError: no such network or peer, no size, an image too small for a network, two alike.
    """
    entrants = []
    for text in arguments.ours:
        name, size = _split(text)
        arch = resolve(name, num_classes)
        if not size:
            size = (_size_of_run(Path(name)),)
        find_start(arguments.init, arch)
        entrants += [Entrant(network_name(name), arch, pixels, True, arguments.init) for pixels in size]
    for text in arguments.peers:
        name, size = _split(text)
        if name not in PEERS:
            raise InputError(f"--peers {text}: no such peer; there are {', '.join(PEERS)}")
        network = PEERS[name].build(num_classes)
        entrants += [Entrant(name, network, pixels, False, SCRATCH) for pixels in size or arguments.sizes]
    labels = [entrant.label for entrant in entrants]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(
                f"two networks are called {label}; rename one of the run folders, or leave one out"
            )
    for entrant in entrants:
        _macs(entrant)
    return entrants


def _split(text: str) -> tuple[str, tuple[int, ...]]:
    """`NAME:32,64` as name and sizes, which may be missing."""
    name, colon, sizes = text.rpartition(":")
    if not colon:
        return text, ()
    try:
        return name, tuple(int(size) for size in sizes.split(","))
    except ValueError:
        raise InputError(f"{text}: behind the colon come pixels, as in {name}:64 or {name}:32,64") from None


def _size_of_run(path: Path) -> int:
    folder = path.parent if path.suffix == ".json" else path
    if not (folder / RECIPE).is_file():
        raise InputError(f"--ours {path}: say at which size, as in {path}:64")
    return read_run(folder).recipe.image_size


def _macs(entrant: Entrant) -> int:
    if isinstance(entrant.arch, ArchSpec) and not entrant.arch.edits:
        return entrant.arch.macs(entrant.image_size)
    if not isinstance(entrant.arch, ArchSpec):
        entrant.arch.check(entrant.image_size)
    return count_macs(build(entrant.arch), entrant.image_size).total


def make_trainings(
    arguments: argparse.Namespace, entrants: Sequence[Entrant], dataset: Dataset
) -> list[Training]:
    """All trainings, seed by seed: a comparison that was stopped is still a fair one. Within a seed the cheap first."""
    recipe = Recipe.load(arguments.recipe) if arguments.recipe else Recipe()
    if arguments.epochs is not None:
        recipe = recipe.replace(epochs=arguments.epochs)
    recipe = recipe.resolved(len(dataset.split(TRAIN)))
    described = describe_data(dataset)
    return [
        Training(
            entrant,
            recipe.replace(image_size=entrant.image_size, seed=seed),
            arguments.data,
            arguments.out / f"{entrant.label}-{recipe.epochs}epochs-seed{seed}",
            described,
        )
        for seed in range(arguments.seeds)
        for entrant in sorted(entrants, key=lambda entrant: (not entrant.ours, _macs(entrant)))
    ]


def _train(
    tasks: Sequence[Training], executor: Executor, dataset: Dataset, limit_minutes: float | None
) -> None:
    """Run what is not done, until the time is up."""
    left = [task for task in tasks if not task.artifact.is_file()]
    print(f"{len(tasks) - len(left)} of {len(tasks)} trainings are there", flush=True)
    began = time.monotonic()

    def run() -> None:
        for recipe in {task.entrant.image_size: task.recipe for task in left}.values():
            load_photos(
                dataset, recipe, skip_unreadable=False, progress=True
            )  # before several processes want it
        with contextlib.closing(executor.run(run_training, left)) as done:
            for count, (task, outcome) in enumerate(done, start=1):
                passed = (time.monotonic() - began) / 60
                print(f"{count}/{len(left)} {task.folder.name}: {outcome}, at {passed:.1f} min", flush=True)

    if not work_for(None if limit_minutes is None else 60 * limit_minutes, run):
        print(f"stopped after {limit_minutes:g} minutes; run the same again to go on", flush=True)


def _estimate(tasks: Sequence[Training], executor: Executor, photos: int) -> None:
    """Print seconds a step and minutes a training of each, and the time for what is not done."""
    first = [task for task in tasks if task.recipe.seed == 0]
    steps = max(1, photos // first[0].recipe.batch_size) * first[0].recipe.epochs
    total = 0.0
    print(f"{'network':32} {'s/step':>8} {'min':>7}   (of {steps:,} steps)")
    for task, seconds in executor.run(measure_step, first):
        left = sum(not each.artifact.is_file() for each in tasks if each.entrant == task.entrant)
        total += left * seconds * steps
        print(f"{task.entrant.label:32} {seconds:8.4f} {seconds * steps / 60:7.1f}", flush=True)
    undone = sum(not task.artifact.is_file() for task in tasks)
    print(
        f"{undone} trainings: {total / 3600:.1f} h of one core, {total / 3600 / executor.workers:.1f} h "
        f"with {executor.workers} workers",
    )


def find_dominators(points: Sequence[Point]) -> dict[str, list[Point]]:
    """For each peer, by label, those of ours that cost less and classify better, the cheapest first."""
    ours = sorted((point for point in points if point.entrant.ours), key=lambda point: point.macs)
    return {
        peer.entrant.label: [point for point in ours if point.beats(peer)]
        for peer in points
        if not peer.entrant.ours
    }


def point_to_json(point: Point, dominators: dict[str, list[Point]]) -> dict[str, Any]:
    """The row of the record."""
    entrant = point.entrant
    row: dict[str, Any] = {
        "name": entrant.name,
        "image_size": entrant.image_size,
        "ours": entrant.ours,
        "f1_test": {str(seed): round(f1, 4) for seed, f1 in point.f1.items()},
        "f1_test_mean": round(point.f1_mean, 4),
        "f1_test_stdev": None if point.f1_stdev is None else round(point.f1_stdev, 4),
        "macs_deployed": point.macs,
        "macs_graph": point.macs_graph,
        "macs_as_trained": point.macs_as_trained,
        "params": point.params,
        "latency_p50_ms": round(point.latency_ms, 4),
    }
    if not entrant.ours:
        row["dominated_by"] = [better.entrant.label for better in dominators[entrant.label]]
    return row


def table(points: Sequence[Point], dominators: dict[str, list[Point]]) -> str:
    """All points by their MACs, as Markdown; each peer with the best of those that dominate it."""
    lines = [
        "| network | pixels | F1 (test) | MACs | MACs of the graph | parameters | ms | dominated by |",
        "| --- | --: | --: | --: | --: | --: | --: | --- |",
    ]
    for point in sorted(points, key=lambda point: point.macs):
        entrant = point.entrant
        spread = "" if point.f1_stdev is None else f" ± {point.f1_stdev:.4f}"
        verdict = ""
        if not entrant.ours:
            better = dominators[entrant.label]
            best = max(better, key=lambda one: one.f1_mean, default=None)
            verdict = (
                "**none**"
                if best is None
                else f"{best.entrant.label} ({best.f1_mean:.4f}, {best.macs:,} MACs)"
            )
        name = f"**{entrant.name}**" if entrant.ours else entrant.name
        lines.append(
            f"| {name} | {entrant.image_size} | {point.f1_mean:.4f}{spread} | {point.macs:,} | {point.macs_graph:,} "
            f"| {point.params:,} | {point.latency_ms:.3f} | {verdict} |"
        )
    return "\n".join(lines)


def page(text: str, numbers: dict[str, Any], bars: Sequence[Bar]) -> str:
    """The record as a page."""
    recipe, seeds = numbers["recipe"], numbers["seeds"]
    lines = [
        f"# Ours and the known families on {numbers['data']['name']}",
        "",
        f"All trained alike on the training split: {recipe['epochs']} epochs, {len(seeds)} seeds, the same recipe. "
        f"Ours began from {numbers['init_of_ours']}, the others from scratch. Macro F1 on test, mean ± standard "
        "deviation; MACs, parameters and latency (one thread) of the deployed file. Ours are bold. A peer is dominated "
        "by one of ours with fewer MACs, by either count, and a higher mean.",
        "",
        text,
        "",
        *(f"- {bar.name}: {bar.measured:g}, {'met' if bar.met else 'MISSED'}" for bar in bars),
    ]
    if numbers["missing"]:
        lines.append(f"- not trained yet: {', '.join(numbers['missing'])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
