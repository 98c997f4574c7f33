"""A trial of a search that leaves a note, for workers of a cluster: they import it by name."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

from wisp.data import cache
from wisp.search.study import Assignment, Outcome
from wisp.short_trials import ShortTraining
from wisp.train import loop

DYING = 1  # the trial whose first worker is killed after an epoch


class NotedTraining(ShortTraining):
    """Writes down, beside the trials' folder, where it ran and which decoded photos it built; one dies on the way."""

    def __call__(self, assignment: Assignment) -> Outcome:
        build, built = cache._build, []

        def noted(entry: Path, *rest: Any) -> None:
            built.append(str(entry))
            build(entry, *rest)

        killed = self.folder.parent / "killed"

        def die(*_: Any) -> None:
            killed.write_text(json.dumps({"pid": os.getpid(), "built": built}))
            os.kill(os.getpid(), signal.SIGKILL)

        dies = assignment.number == DYING and not killed.exists()
        with (
            mock.patch.object(cache, "_build", noted),
            mock.patch.object(loop, "measure_f1", die if dies else loop.measure_f1),
        ):
            outcome = super().__call__(assignment)
        note = {"pid": os.getpid(), "folder": str(Path.cwd()), "built": built}
        (self.folder.parent / f"ran-{assignment.number}").write_text(json.dumps(note))
        return outcome
