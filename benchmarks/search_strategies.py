"""Strategies of `wisp search` compared at equal time: the area under the front of F1 against log MACs.

    python -m benchmarks.search_strategies real DATA --out FOLDER [--minutes 20] [--seeds 0 1 2] [--strategies NAME ...]
    python -m benchmarks.search_strategies collect --out FOLDER [--minutes 20] [--record FILE.json]
    python -m benchmarks.search_strategies simulated --out FOLDER [--record FILE.json]

`real` trains on photos, every search on one core, all strategies with the same minutes of processor time, seeds, input
sizes and recipe. Several may run side by side into one folder, each with strategies or seeds of its own; `collect`
then reads what is there. A search that is finished is not repeated; one that was interrupted goes on. A trial that
ended when the time was used up is not counted. `simulated` does the same on networks that learn by formula, in minutes.
With `--record`, a table (.md) lies beside the JSON file.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.outcome import Bar, finish
from wisp.data.folders import load_dataset
from wisp.exploration import LEAST_MACS, MOST_MACS
from wisp.files import write_text
from wisp.records import TRAIN
from wisp.search.executors import InlineExecutor
from wisp.search.front import hypervolume
from wisp.search.limits import Limits
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import TrialStore
from wisp.search.strategies import STRATEGIES, make_strategy, unit_epochs
from wisp.search.study import Assignment, Outcome, Study
from wisp.short_trials import ShortTraining
from wisp.train.photos import load_photos
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data

SIZES = (24, 32, 48, 64)
LIMITS = Limits(macs=4_000_000)
BASELINE = "random"
FOUNDERS = 24
CURVE_POINTS = 20
STUDY, DATABASE, CLOCK = "search", "trials.db", "clock.jsonl"


@dataclass(frozen=True)
class Done:
    """One trial: when it ended, in seconds since the search began, and what it found."""

    at: float
    macs: int
    f1: float


def main() -> None:
    """Run what is missing, and record the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("real", "collect", "simulated"))
    parser.add_argument("data", type=Path, nargs="?", help="photos, for `real`")
    parser.add_argument("--out", type=Path, required=True, help="where the searches are kept")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="of every search (`real`: processor time)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="of a simulated search")
    parser.add_argument("--strategies", nargs="+", choices=tuple(STRATEGIES), default=tuple(STRATEGIES))
    parser.add_argument("--record", type=Path, help="JSON file to write, and a table (.md) beside it")
    arguments = parser.parse_args()
    simulated = arguments.what == "simulated"
    if arguments.what == "real":
        if arguments.data is None:
            parser.error("real: give a folder of photos")
        search_photos(arguments)
    elif simulated:
        search_formulas(arguments)
    found = collect(arguments.out, arguments.minutes, arguments.strategies, arguments.seeds, simulated)
    numbers, bars = compare(found, arguments.minutes)
    text = table(numbers)
    print(text)
    if arguments.record is not None:
        write_text(arguments.record.with_suffix(".md"), text)
    finish("search_strategies", {"what": arguments.what, **numbers}, bars, arguments.record)


# Searching


def search_photos(arguments: argparse.Namespace) -> None:
    """Searches that train, one after the other, each in this process alone."""
    dataset = load_dataset(arguments.data)
    described = describe_data(dataset)
    photos = len(dataset.split(TRAIN))
    recipe = Recipe().resolved(photos)
    for size in SIZES:  # decoded before any clock runs
        load_photos(dataset, recipe.replace(image_size=size), skip_unreadable=False, progress=True)
    space = Space(len(dataset.classes), image_size=SIZES)
    seconds = 60 * arguments.minutes
    epochs = unit_epochs(seconds, photos // recipe.batch_size)
    for seed in arguments.seeds:  # seed by seed: an interrupted comparison is still a fair one
        for name in arguments.strategies:
            folder = folder_of(arguments.out, name, arguments.minutes, seed)
            settings = {"data": described["digest"], "minutes": arguments.minutes}
            store = TrialStore(folder / DATABASE, STUDY, settings)
            clock = Clock(folder / CLOCK)
            training = ShortTraining(
                data=arguments.data,
                recipe=recipe,
                space=space,
                folder=folder / "trials",
                seed=seed,
                skip_unreadable=False,
                deadline=None,
                described=described,
            )
            strategy = make_strategy(
                name, Sampler(space, LIMITS), seed=seed, epochs=epochs, founders=FOUNDERS
            )
            study = Study(
                strategy,
                store,
                InlineExecutor(),
                clock.timed(training),
                left=lambda clock=clock: seconds - clock.spent(),  # type: ignore[misc]
            )
            print(f"{name}, seed {seed}: {clock.spent():.0f} of {seconds:.0f} s are done", flush=True)
            try:
                study.run()
            finally:
                clock.note(None)
                store.close()


class Clock:
    """Processor time of a search, over interruptions: a line for the end of every trial.

    Others that use the machine at the same time take nothing away from it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._before = float(json.loads(lines[-1])["seconds"]) if lines else 0.0
        self._began = time.process_time()

    def spent(self) -> float:
        """Seconds so far."""
        return self._before + time.process_time() - self._began

    def note(self, trial: int | None) -> None:
        """Write down when a trial ended, or with None that the search stops here."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"trial": trial, "seconds": round(self.spent(), 3)}) + "\n")

    def timed(self, function: Callable[[Assignment], Outcome]) -> Callable[[Assignment], Outcome]:
        """The function, with a note after each trial."""

        def run(assignment: Assignment) -> Outcome:
            outcome = function(assignment)
            self.note(assignment.number)
            return outcome

        return run


def search_formulas(arguments: argparse.Namespace) -> None:
    """Searches on learning curves; the seed also chooses the curves."""
    space = Space(6)
    sampler = Sampler(space, LIMITS)
    seconds = 60 * arguments.minutes
    for seed in arguments.seeds:
        for name in arguments.strategies:
            training = SimulatedTraining(LearningCurves(space, seed=seed))
            executor = SimulatedExecutor(arguments.workers, seconds=training.seconds)
            folder = folder_of(arguments.out, name, arguments.minutes, seed, simulated=True)
            for path in (folder / DATABASE, folder / CLOCK):  # its clock cannot be resumed
                path.unlink(missing_ok=True)
            store = TrialStore(folder / DATABASE, STUDY, {})
            strategy = make_strategy(
                name,
                sampler,
                seed=seed,
                epochs=unit_epochs(seconds * arguments.workers, 27),
                founders=FOUNDERS,
            )
            lines: list[str] = []

            def timed(
                assignment: Assignment,
                training: SimulatedTraining = training,
                executor: SimulatedExecutor = executor,
                lines: list[str] = lines,
            ) -> Outcome:
                lines.append(json.dumps({"trial": assignment.number, "seconds": executor.now}) + "\n")
                return training(assignment)

            Study(
                strategy,
                store,
                executor,
                timed,
                left=lambda executor=executor: seconds - executor.now,  # type: ignore[misc]
            ).run()
            store.close()
            write_text(folder / CLOCK, "".join(lines))
            print(f"{name}, seed {seed}: done", flush=True)


def folder_of(out: Path, name: str, minutes: float, seed: int, *, simulated: bool = False) -> Path:
    """Where a search lies."""
    return out / f"{'simulated-' if simulated else ''}{name}-{minutes:g}m-seed{seed}"


# Comparing


def collect(
    out: Path, minutes: float, strategies: Sequence[str], seeds: Sequence[int], simulated: bool
) -> dict[str, dict[int, list[Done]]]:
    """Of every strategy and seed that has used up its time: its trials, in the order in which they ended."""
    found: dict[str, dict[int, list[Done]]] = {}
    for name in strategies:
        for seed in seeds:
            folder = folder_of(out, name, minutes, seed, simulated=simulated)
            if not (folder / CLOCK).is_file():
                print(f"{folder}: not there")
                continue
            lines = [json.loads(line) for line in (folder / CLOCK).read_text(encoding="utf-8").splitlines()]
            if lines[-1]["seconds"] < 60 * minutes and not simulated:
                print(
                    f"{folder}: {lines[-1]['seconds']:.0f} s of {60 * minutes:.0f} s are done; go on with it first"
                )
                continue
            store = TrialStore(folder / DATABASE, STUDY, {})
            results = {trial.number: trial.result for trial in store.trials()}
            store.close()
            found.setdefault(name, {})[seed] = [
                Done(line["seconds"], result.macs, result.f1)
                for line in lines
                if line["trial"] is not None and (result := results.get(line["trial"])) and not result.error
            ]
    return found


def area_at(trials: Sequence[Done], seconds: float) -> float:
    """The indicator that all strategies are compared by, of what had ended by then."""
    points = [(trial.macs, trial.f1) for trial in trials if trial.at <= seconds]
    return hypervolume(points, least_macs=LEAST_MACS, most_macs=MOST_MACS)


def compare(
    found: Mapping[str, Mapping[int, Sequence[Done]]], minutes: float
) -> tuple[dict[str, Any], list[Bar]]:
    """Mean and spread over seeds, on the way and at the end."""
    times = [minutes * (step + 1) / CURVE_POINTS for step in range(CURVE_POINTS)]
    results: dict[str, Any] = {}
    for name, seeds in found.items():
        curves = {seed: [area_at(trials, 60 * at) for at in times] for seed, trials in seeds.items()}
        columns = list(zip(*curves.values(), strict=True))
        results[name] = {
            "area_mean": round(statistics.mean(columns[-1]), 4),
            "area_stdev": round(_spread(columns[-1]), 4),
            "curve_mean": [round(statistics.mean(column), 4) for column in columns],
            "seeds": [
                {
                    "seed": seed,
                    "area": round(curve[-1], 5),
                    "trials": sum(trial.at <= 60 * minutes for trial in seeds[seed]),
                    "curve": [round(value, 4) for value in curve],
                }
                for seed, curve in curves.items()
            ],
        }
    bars = []
    if BASELINE in found:
        for name in found:
            if name == BASELINE:
                continue
            # The standard error of the difference of two means (Welch), twice.
            error = math.sqrt(
                sum(results[each]["area_stdev"] ** 2 / len(found[each]) for each in (name, BASELINE))
            )
            gain = results[name]["area_mean"] - results[BASELINE]["area_mean"]
            bars.append(Bar(f"{name}: area above {BASELINE}'s", round(gain, 4), round(2 * error, 4)))
    return {"minutes": minutes, "curve_minutes": [round(at, 3) for at in times], "strategies": results}, bars


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def table(numbers: Mapping[str, Any]) -> str:
    """Markdown: a row a strategy, the best first."""
    quarters = [CURVE_POINTS * quarter // 4 - 1 for quarter in (1, 2, 3)]
    times = [numbers["curve_minutes"][index] for index in quarters]
    head = [
        "strategy",
        "seeds",
        *(f"{at:g} min" for at in times),
        f"{numbers['minutes']:g} min",
        "± (s.d.)",
        "trials",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    rows = sorted(numbers["strategies"].items(), key=lambda item: -item[1]["area_mean"])
    for name, row in rows:
        cells = [
            name,
            str(len(row["seeds"])),
            *(f"{row['curve_mean'][index]:.4f}" for index in quarters),
            f"{row['area_mean']:.4f}",
            f"{row['area_stdev']:.4f}",
            f"{statistics.mean(seed['trials'] for seed in row['seeds']):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
