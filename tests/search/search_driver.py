"""A search that shares a store, for tests that kill it: `python search_driver.py URL OWNER TRIALS`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from wisp.search import study as study_module
from wisp.search.executors import InlineExecutor
from wisp.search.halving import Halving, RandomSource
from wisp.search.sampling import Sampler
from wisp.search.simulation import LearningCurves, SimulatedTraining
from wisp.search.space import Space
from wisp.search.store import TrialStore
from wisp.search.study import Assignment, Outcome, Study

if __name__ == "__main__":
    url, owner, trials = sys.argv[1:]
    # Short, for a test: a sign of life often, and the dead are missed soon.
    study_module._LEASE_SECONDS, study_module._SIGN_SECONDS, study_module._POLL_SECONDS = 3.0, 0.3, 0.1
    space = Space(3)
    training = SimulatedTraining(LearningCurves(space))
    notes = Path(os.environ.get("WISP_TEST_FOLDER", os.devnull))

    def run(assignment: Assignment) -> Outcome:
        if notes.is_dir():
            with (notes / f"ran-{owner}").open("a") as file:
                file.write(json.dumps({"owner": owner, "trial": assignment.number}) + "\n")
        time.sleep(0.02)
        return training(assignment)

    if notes.is_dir():  # two begin together, however long one of them took to start
        (notes / f"ready-{owner}").touch()
        while len(list(notes.glob("ready-*"))) < 2:
            time.sleep(0.02)

    Study(
        Halving(RandomSource(Sampler(space), 3), (2, 6, 18)),
        TrialStore(url, "shared", {"seed": 3}),
        InlineExecutor(),
        run,
        owner=owner,
        most_trials=int(trials),
    ).run()
