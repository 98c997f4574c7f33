"""How a search scales: what many workers are kept busy with, and what two processes do that one does not.

    python -m benchmarks.search_scaling simulated --out FOLDER [--record FILE.json]
    python -m benchmarks.search_scaling processes DATA --out FOLDER [--minutes 4] [--record FILE.json]

`simulated` measures the time that deciding and writing down a trial takes, here, and how busy that leaves 1 to 1,000
simulated workers. `processes` searches photos with one process, then with two, for the same time of the clock, and
counts the trials and what was not training; it needs two cores that nothing else uses. With `--record`, a table (.md)
lies beside the JSON file.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.outcome import Bar, finish
from benchmarks.search_strategies import DATABASE, FOUNDERS, LIMITS, SIZES, STUDY
from wisp.data.folders import load_dataset
from wisp.files import write_text
from wisp.records import TRAIN
from wisp.search.executors import local_executor
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import TrialStore
from wisp.search.strategies import make_strategy
from wisp.search.study import Outcome, Study
from wisp.short_trials import ShortTraining
from wisp.train.photos import load_photos
from wisp.train.recipe import Recipe
from wisp.train.run import describe_data

TRIAL_SECONDS = 600.0
LEAST_BUSY, LEAST_RATIO, MOST_OVERHEAD = 0.9, 1.6, 0.05
UNIT_EPOCHS = 8  # as in the shortest budget that is searched by default

Measured = tuple[dict[str, Any], list[Bar], str]


def main() -> None:
    """Measure, and record the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("simulated", "processes"))
    parser.add_argument("data", type=Path, nargs="?", help="photos, for `processes`")
    parser.add_argument("--out", type=Path, required=True, help="where the searches are kept meanwhile")
    parser.add_argument("--minutes", type=float, default=4.0, help="of each of the two searches")
    parser.add_argument("--record", type=Path, help="JSON file to write, and a table (.md) beside it")
    arguments = parser.parse_args()
    if arguments.what == "simulated":
        numbers, bars, text = simulated(arguments.out)
    else:
        if arguments.data is None:
            parser.error("processes: give a folder of photos")
        numbers, bars, text = processes(arguments.data, arguments.out, arguments.minutes)
    print(text)
    if arguments.record is not None:
        write_text(arguments.record.with_suffix(".md"), text)
    finish("search_scaling", {"what": arguments.what, **numbers}, bars, arguments.record)


def simulated(out: Path) -> Measured:
    """How busy many workers are, when one process decides and writes everything down."""
    space = Space(6)
    sampler = Sampler(space, LIMITS)
    training = SimulatedTraining(LearningCurves(space))
    rows = []
    for workers in (1, 10, 100, 1000):
        trials = max(200, 4 * workers)
        path = out / f"scaling-{workers}.db"
        path.unlink(missing_ok=True)
        store = TrialStore(path, STUDY, {})
        strategy = make_strategy("evolution", sampler, seed=0, epochs=8, founders=max(FOUNDERS, workers))
        # Once for the time that a trial takes to decide and to write down, here, with the database on this disk ...
        plain = SimulatedExecutor(workers, seconds=lambda _: TRIAL_SECONDS)
        study = Study(strategy, store, plain, training, most_trials=trials)
        study.run()
        store.close()
        dispatch = study.overhead_seconds / trials
        # ... and then with that time in the simulation, with workers that fail and straggle.
        busy = SimulatedExecutor(
            workers,
            seconds=lambda _: TRIAL_SECONDS,
            straggling=0.3,
            failures_an_hour=0.05,
            dispatch_seconds=dispatch,
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
    text = "| workers | trials | deciding, ms a trial | share of time busy |\n| ---: | ---: | ---: | ---: |\n"
    text += "".join(
        f"| {row['workers']:,} | {row['trials']:,} | {row['deciding_ms']} | {row['utilisation']:.1%} |\n"
        for row in rows
    )
    bars = [
        Bar(f"{row['workers']} workers: share of time busy", row["utilisation"], LEAST_BUSY) for row in rows
    ]
    return {"trial_seconds": TRIAL_SECONDS, "scaling": rows}, bars, text


def _nothing(number: int) -> Outcome | None:
    return None


def processes(data: Path, out: Path, minutes: float) -> Measured:
    """One process against two: random search, which proposes about the same to both."""
    dataset = load_dataset(data)
    described = describe_data(dataset)
    recipe = Recipe().resolved(len(dataset.split(TRAIN)))
    for size in SIZES:  # decoded before any clock runs
        load_photos(dataset, recipe.replace(image_size=size), skip_unreadable=False, progress=True)
    space = Space(len(dataset.classes), image_size=SIZES)
    rows = []
    for workers in (1, 2):
        folder = out / f"processes-{workers}"
        shutil.rmtree(folder, ignore_errors=True)
        store = TrialStore(folder / DATABASE, STUDY, {})
        seconds = 60 * minutes
        end = time.monotonic() + seconds
        training = ShortTraining(
            data=data,
            recipe=recipe,
            space=space,
            folder=folder / "trials",
            seed=0,
            skip_unreadable=False,
            deadline=time.time() + seconds,
            described=described,
        )
        executor = local_executor(workers, reuse=True)
        strategy = make_strategy(
            "random", Sampler(space, LIMITS), seed=0, epochs=UNIT_EPOCHS, founders=FOUNDERS
        )
        study = Study(
            strategy,
            store,
            executor,
            training,
            left=lambda end=end: end - time.monotonic(),  # type: ignore[misc]
        )
        began = time.monotonic()
        trials = len(study.run())
        took = time.monotonic() - began
        store.close()
        trained = sum(result.seconds - result.setup_seconds for result in study.ran)
        rows.append(
            {
                "processes": workers,
                "seconds": round(took, 1),
                "trials": trials,
                "trials_a_minute": round(60 * trials / took, 2),
                "deciding_seconds": round(study.overhead_seconds, 2),
                "setup_seconds": round(sum(result.setup_seconds for result in study.ran), 2),
                "overhead_share": round(1 - trained / (workers * took), 4),
            }
        )
    ratio = rows[1]["trials_a_minute"] / rows[0]["trials_a_minute"]
    text = "| processes | trials a minute | not training |\n| ---: | ---: | ---: |\n"
    text += "".join(
        f"| {row['processes']} | {row['trials_a_minute']} | {row['overhead_share']:.1%} |\n" for row in rows
    )
    bars = [
        Bar("two processes: trials of one", round(ratio, 3), LEAST_RATIO),
        *(
            Bar(
                f"{row['processes']} processes: share that is not training",
                row["overhead_share"],
                MOST_OVERHEAD,
                at_most=True,
            )
            for row in rows
        ),
    ]
    return {"minutes": minutes, "processes": rows}, bars, text


if __name__ == "__main__":
    main()
