"""A time budget that holds over interruptions, and the plans that were made with it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wisp.errors import InputError
from wisp.files import write_json
from wisp.search.candidate import Candidate
from wisp.search.planning import Plan

_SAVE_SECONDS = 1.0


@dataclass
class Budget:
    """The clock of one job. `spent` counts across resumes; what lies between them does not count.

    `path` is a small JSON file: the settings the job was begun with, its plans and the seconds spent. `started` is
    the `time.monotonic()` from which this process counts.
    """

    path: Path
    seconds: float
    settings: Mapping[str, Any]
    started: float
    _before: float = 0.0
    _plans: list[dict[str, Any]] = field(default_factory=list)
    _saved: float = 0.0

    @classmethod
    def begin(cls, path: Path, seconds: float, settings: Mapping[str, Any], started: float) -> Budget:
        """A new job."""
        budget = cls(path, seconds, settings, started)
        budget.save()
        return budget

    @classmethod
    def resume(cls, path: Path, seconds: float, settings: Mapping[str, Any], started: float) -> Budget:
        """The job that `path` describes; a larger `seconds` than before extends it.

        Raises:
            InputError: the file is damaged, or the job was begun with other settings.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            before, plans, earlier = (
                float(state["spent_seconds"]),
                list(state["plans"]),
                dict(state["settings"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged, cannot resume; start again with --overwrite") from error
        for name, value in settings.items():
            if earlier.get(name) != value:
                raise InputError(
                    f"{path.parent}: was begun with {name} = {earlier.get(name)!r}, not {value!r}; resume with the "
                    "same settings, or start again with --overwrite"
                )
        return cls(path, seconds, settings, started, before, plans)

    @staticmethod
    def begun_with(path: Path) -> dict[str, Any]:
        """The settings of the job that `path` describes; none where it is damaged, which `resume` will say."""
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def spent(self) -> float:
        """Seconds that the job has taken so far."""
        return self._before + time.monotonic() - self.started

    def left(self) -> float:
        """Seconds that remain; may be negative."""
        return self.seconds - self.spent()

    def save(self) -> None:
        """Write the state."""
        state = {
            "settings": self.settings,
            "budget_seconds": self.seconds,
            "spent_seconds": round(self.spent(), 3),
            "plans": self._plans,
        }
        write_json(self.path, state)
        self._saved = time.monotonic()

    def tick(self) -> None:
        """Save from time to time: a killed job then knows what it had spent."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def remember(self, plan: Plan) -> None:
        """Keep a plan, so that a resumed job follows it instead of making another."""
        self._plans.append(
            {
                "candidates": [candidate.name for candidate in plan.candidates],
                "epochs": plan.epochs,
                "seconds_per_epoch": list(plan.seconds_per_epoch),
            }
        )
        self.save()

    def plans(self, candidates: Sequence[Candidate]) -> list[Plan]:
        """The plans kept so far, the earliest first. `candidates` are those they may name.

        Raises:
            InputError: the file is damaged, or names other candidates.
        """
        by_name = {candidate.name: candidate for candidate in candidates}
        try:
            return [
                Plan(
                    tuple(by_name[name] for name in kept["candidates"]),
                    int(kept["epochs"]),
                    tuple(float(seconds) for seconds in kept["seconds_per_epoch"]),
                )
                for kept in self._plans
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: damaged, or of another version of wisp ({error}); start again with --overwrite"
            ) from error
