"""What evolution's predictor is worth: python -m benchmarks.search_predictor [--minutes 15 60] [--record FILE.json].

Searches with and without it, in pairs of equal seed and objective, on networks that learn by formula: area under the
front of F1 against log MACs after so many simulated minutes of one worker.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.outcome import Bar, finish
from benchmarks.search_strategies import FOUNDERS, LIMITS, STUDY, Done, area_at
from wisp.search.evolution import Evolution
from wisp.search.ladder import known_good
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedExecutor, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import TrialStore
from wisp.search.strategies import unit_epochs
from wisp.search.study import Study

_SHARE = 0.5  # of the children, as `wisp search` has it
_STEPS = 27  # of an epoch: TrashNet's


def main() -> None:
    """Search, compare, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument("--objectives", type=int, default=12)
    parser.add_argument("--record", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows, bars = [], []
    for minutes in arguments.minutes:
        pairs = [
            (search(_SHARE, seed, minutes), search(0.0, seed, minutes))
            for seed in range(arguments.objectives)
        ]
        gains = [ours - without for ours, without in pairs]
        gain, error = statistics.mean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
        rows.append(
            {
                "minutes": minutes,
                "with": round(statistics.mean(ours for ours, _ in pairs), 4),
                "without": round(statistics.mean(without for _, without in pairs), 4),
                "gain": round(gain, 4),
                "standard_error": round(error, 4),
                "gains": [round(each, 4) for each in gains],
            }
        )
        print(f"{minutes:g} minutes: {gain:+.4f}, standard error {error:.4f}", flush=True)
        if minutes == max(arguments.minutes):
            bars.append(Bar(f"gain in {minutes:g} minutes, in standard errors", round(gain / error, 1), 2.0))
    finish(
        "search_predictor",
        {"share": _SHARE, "objectives": arguments.objectives, "rows": rows},
        bars,
        arguments.record,
    )


def search(share: float, seed: int, minutes: float) -> float:
    """The area that a search reaches; `share` of its children are chosen by the predictor."""
    space, seconds = Space(6), 60 * minutes
    epochs = unit_epochs(seconds, _STEPS)
    training = SimulatedTraining(LearningCurves(space, seed=seed))
    executor = SimulatedExecutor(1, seconds=training.seconds)
    sampler = Sampler(space, LIMITS)
    strategy = Evolution(
        sampler,
        seed=seed,
        first_epochs=epochs,
        epochs=max(2, epochs // 2),
        founders=FOUNDERS,
        known=known_good(sampler),
        predictor=share,
    )
    with TemporaryDirectory() as folder:
        store = TrialStore(Path(folder) / "trials.db", STUDY, {})
        trials = Study(strategy, store, executor, training, left=lambda: seconds - executor.now).run()
        store.close()
    done = [Done(0.0, trial.result.macs, trial.result.f1) for trial in trials if trial.result]
    return area_at(done, seconds)


if __name__ == "__main__":
    main()
