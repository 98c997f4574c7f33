"""Strategies of `wisp search` compared at equal time: the area under the front of F1 against log MACs.

    python -m benchmarks.search_strategies real DATA --out FOLDER [--minutes 20] [--seeds 3] [--record FILE]
    python -m benchmarks.search_strategies simulated --out FOLDER [--record FILE]
    python -m benchmarks.search_strategies scaling --out FOLDER [--record FILE]

`real` trains on photos, all strategies on the same budget, seeds, input sizes and recipe; the curve of every search is
its area by training seconds of one core. `simulated` does the same on networks that learn by formula, in minutes.
`scaling` measures the time that deciding and writing down takes, and how busy it leaves 1 to 1,000 simulated workers.
A search that is there already is not repeated; one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.outcome import Bar, finish
from wisp.data.folders import load_dataset
from wisp.exploration import LEAST_MACS, MOST_MACS
from wisp.records import TRAIN
from wisp.search.executors import Executor, InlineExecutor, ProcessExecutor
from wisp.search.front import hypervolume
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import StoredTrial, TrialStore
from wisp.search.strategies import STRATEGIES, make_strategy, unit_epochs
from wisp.search.study import Outcome, Study
from wisp.short_trials import ShortTraining
from wisp.train.photos import load_photos
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data

SIZES = (24, 32, 48, 64)
LIMITS = Limits(macs=4_000_000)
BASELINE = "random"
_POINTS = 20  # of every curve


def main() -> None:
    """Run what is missing, and record the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("real", "simulated", "scaling"))
    parser.add_argument("data", type=Path, nargs="?", help="photos, for `real`")
    parser.add_argument("--out", type=Path, required=True, help="where the searches are kept")
    parser.add_argument("--minutes", type=float, default=20.0, help="of every search, wall time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strategies", nargs="*", choices=tuple(STRATEGIES), default=tuple(STRATEGIES))
    parser.add_argument("--record", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.what == "scaling":
        numbers, bars = scaling(arguments.out)
    else:
        if arguments.what == "real" and arguments.data is None:
            parser.error("real: give a folder of photos")
        numbers, bars = compare(arguments)
    finish("search_strategies", {"what": arguments.what, **numbers}, bars, arguments.record)


def compare(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Bar]]:
    """All strategies, all seeds."""
    begin = _real(arguments) if arguments.what == "real" else _simulated(arguments)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(arguments.seeds):  # seed by seed: an interrupted comparison is still a fair one
        for name in arguments.strategies:
            began = time.monotonic()
            study, workers = begin(name, seed)
            trials = study.run()
            study.store.close()
            rows.setdefault(name, []).append(_figures(trials, study, workers))
            print(f"{name}, seed {seed}: {rows[name][-1]['area']:.4f}, {time.monotonic() - began:.0f} s")
    results = {
        name: {
            "area_mean": round(statistics.mean(row["area"] for row in each), 4),
            "area_stdev": round(_spread(each), 4),
            "seeds": each,
        }
        for name, each in rows.items()
    }
    bars = []
    if BASELINE in rows:
        base, spread = results[BASELINE]["area_mean"], _spread(rows[BASELINE])
        bars = [
            Bar(
                f"{name}: area above {BASELINE}'s",
                results[name]["area_mean"] - base,
                2 * max(spread, _spread(rows[name])) / math.sqrt(arguments.seeds),
            )
            for name in rows
            if name != BASELINE
        ]
    return {"minutes": arguments.minutes, "strategies": results}, bars


def _spread(rows: Sequence[dict[str, Any]]) -> float:
    return statistics.stdev(row["area"] for row in rows) if len(rows) > 1 else 0.0


def _figures(trials: Sequence[StoredTrial], study: Study, workers: int) -> dict[str, Any]:
    """The area at the end, and on the way there."""
    results = [trial.result for trial in trials if trial.result]
    curve: list[list[float]] = []
    points: list[tuple[float, float]] = []
    spent = 0.0
    total = sum(result.seconds for result in results)
    for result in results:
        spent += result.seconds
        points.append((result.macs, result.f1))
        if spent >= total * (len(curve) + 1) / _POINTS:
            curve.append([round(spent), round(area(points), 4)])
    return {
        "area": round(area(points), 5),
        "trials": len(results),
        "training_seconds": round(total),
        "deciding_seconds": round(study.overhead_seconds, 1),
        "workers": workers,
        "curve": curve,
    }


def area(points: Sequence[tuple[float, float]]) -> float:
    """The indicator that all strategies are compared by."""
    return hypervolume(points, least_macs=LEAST_MACS, most_macs=MOST_MACS)


Begin = Callable[[str, int], tuple[Study, int]]


def _real(arguments: argparse.Namespace) -> Begin:
    """Searches that train."""
    dataset = load_dataset(arguments.data)
    described = describe_data(dataset)
    photos = len(dataset.split(TRAIN))
    recipe = Recipe().resolved(photos)
    for size in SIZES:  # decoded before any clock runs
        load_photos(dataset, recipe.replace(image_size=size), skip_unreadable=False, progress=True)
    space = Space(len(dataset.classes), image_size=SIZES)
    seconds, workers = 60 * arguments.minutes, arguments.workers
    steps = photos // recipe.batch_size

    def begin(name: str, seed: int) -> tuple[Study, int]:
        folder = arguments.out / f"{name}-{arguments.minutes:g}m-seed{seed}"
        settings = {"data": described["digest"], "minutes": arguments.minutes, "workers": workers}
        store = TrialStore(folder / "trials.db", "search", settings)
        spent = sum(trial.result.seconds for trial in store.trials() if trial.result) / workers
        end = time.monotonic() + seconds - spent
        training = ShortTraining(
            data=arguments.data,
            recipe=recipe,
            space=space,
            folder=folder / "trials",
            seed=seed,
            skip_unreadable=False,
            deadline=time.time() + seconds - spent,
            described=described,
        )
        executor: Executor = ProcessExecutor(workers, reuse=True) if workers > 1 else InlineExecutor()
        strategy = make_strategy(
            name,
            Sampler(space, LIMITS),
            seed=seed,
            epochs=unit_epochs(seconds * workers, steps),
            founders=24,
        )
        return Study(strategy, store, executor, training, left=lambda: end - time.monotonic()), workers

    return begin


def _simulated(arguments: argparse.Namespace) -> Begin:
    """Searches on learning curves; the seed also chooses the curves."""
    space = Space(6)
    sampler = Sampler(space, LIMITS)
    seconds = 60 * arguments.minutes

    def begin(name: str, seed: int) -> tuple[Study, int]:
        training = SimulatedTraining(LearningCurves(space, seed=seed))
        executor = SimulatedExecutor(arguments.workers, seconds=training.seconds)
        folder = arguments.out / f"simulated-{name}-{arguments.minutes:g}m-seed{seed}"
        (folder / "trials.db").unlink(missing_ok=True)  # its clock cannot be resumed
        store = TrialStore(folder / "trials.db", "search", {})
        strategy = make_strategy(
            name,
            sampler,
            seed=seed,
            epochs=unit_epochs(seconds * arguments.workers, 27),
            founders=24,
        )
        study = Study(strategy, store, executor, training, left=lambda: seconds - executor.now)
        return study, arguments.workers

    return begin


def scaling(out: Path) -> tuple[dict[str, Any], list[Bar]]:
    """How busy many workers are, when one process decides and writes everything down."""
    space = Space(6)
    sampler = Sampler(space, LIMITS)
    training = SimulatedTraining(LearningCurves(space))
    rows = []
    for workers in (1, 10, 100, 1000):
        trials = max(200, 4 * workers)
        (out / f"scaling-{workers}.db").unlink(missing_ok=True)
        store = TrialStore(out / f"scaling-{workers}.db", "search", {})
        strategy = make_strategy("evolution", sampler, seed=0, epochs=8, founders=max(24, workers))
        # Once for the time that a trial takes to decide and to write down, here, with the database on this disk ...
        plain = SimulatedExecutor(workers, seconds=lambda _: 600.0)
        study = Study(strategy, store, plain, training, most_trials=trials)
        study.run()
        store.close()
        dispatch = study.overhead_seconds / trials
        # ... and then with that time in the simulation, with workers that fail and straggle.
        busy = SimulatedExecutor(
            workers, seconds=lambda _: 600.0, straggling=0.3, failures_an_hour=0.05, dispatch_seconds=dispatch
        )
        list(busy.run(_nothing, range(trials)))
        rows.append(
            {
                "workers": workers,
                "trials": trials,
                "deciding_ms": round(1000 * dispatch, 2),
                "utilisation": round(busy.utilisation, 4),
            }
        )
        print(rows[-1])
    bars = [Bar(f"{row['workers']} workers: share of time busy", row["utilisation"], 0.9) for row in rows]
    return {"trial_seconds": 600, "scaling": rows}, bars


def _nothing(number: int) -> Outcome | None:
    return None


if __name__ == "__main__":
    main()
