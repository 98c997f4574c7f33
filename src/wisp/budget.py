"""A time budget that holds over interruptions, and the plans that were made with it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wisp.errors import InputError
from wisp.files import write_json
from wisp.search.candidate import Candidate
from wisp.search.planning import Plan

_GRACE = 1.04  # trainings still running at this share of the budget end after their epoch
_SAVE_SECONDS = 1.0


@dataclass
class Budget:
    """The clock of one job. `spent` counts across resumes; what lies between them does not count.

    `path` is a small JSON file: the settings the job was begun with, its plans and the seconds spent.
    """

    path: Path
    seconds: float
    settings: dict[str, Any]
    _before: float = 0.0
    _plans: dict[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _saved: float = 0.0

    @classmethod
    def begin(cls, path: Path, seconds: float, settings: dict[str, Any]) -> Budget:
        """A new job."""
        budget = cls(path, seconds, settings)
        budget.save()
        return budget

    @classmethod
    def resume(cls, path: Path, seconds: float, settings: dict[str, Any]) -> Budget:
        """The job that `path` describes; a larger `seconds` than before extends it.

        Raises:
            InputError: the file is damaged, or the job was begun with other settings.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            before, plans, earlier = (
                float(state["spent_seconds"]),
                dict(state["plans"]),
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
        return cls(path, seconds, settings, before, plans)

    def spent(self) -> float:
        """Seconds that the job has taken so far."""
        return self._before + time.monotonic() - self._started

    def left(self) -> float:
        """Seconds that remain; may be negative."""
        return self.seconds - self.spent()

    @property
    def deadline(self) -> float:
        """Wall-clock time (`time.time()`) at which a training that still runs has to end."""
        return time.time() + self.left() + (_GRACE - 1) * self.seconds

    def save(self) -> None:
        """Write the state."""
        state = {"settings": self.settings, "spent_seconds": round(self.spent(), 3), "plans": self._plans}
        write_json(self.path, state)
        self._saved = time.monotonic()

    def tick(self) -> None:
        """Save from time to time: a killed job then knows what it had spent."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def remember(self, name: str, plan: Plan) -> None:
        """Keep a plan, so that a resumed job follows it instead of making another."""
        self._plans[name] = {
            "candidates": [candidate.name for candidate in plan.candidates],
            "epochs": plan.epochs,
        }
        self.save()

    def recall(self, name: str, candidates: Sequence[Candidate]) -> Plan | None:
        """The plan kept under `name`, or None. `candidates` are those it may name."""
        if name not in self._plans:
            return None
        by_name = {candidate.name: candidate for candidate in candidates}
        kept = self._plans[name]
        try:
            return Plan(tuple(by_name[each] for each in kept["candidates"]), int(kept["epochs"]))
        except KeyError as error:
            raise InputError(
                f"{self.path}: plans the candidate {error}, which this version of wisp does not have; start again "
                "with --overwrite"
            ) from error
