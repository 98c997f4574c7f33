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
from wisp.search.space import Genes, Space

_SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Finalist:
    """A network that a search chose to be trained for longer.

    `genes` are those of the search's space; `seconds_per_epoch` is None where it was measured without training.
    """

    genes: Genes
    seconds_per_epoch: float | None


@dataclass
class Budget:
    """The clock of one job. `spent` counts across resumes; what lies between them does not count.

    `path` is a small JSON file: the settings the job was begun with, a search's finalists, the plans and the seconds
    spent. `started` is the `time.monotonic()` from which this process counts.
    """

    path: Path
    seconds: float
    settings: Mapping[str, Any]
    started: float
    _before: float = 0.0
    _plans: list[dict[str, Any]] = field(default_factory=list)
    _saved: float = 0.0
    _finalists: list[dict[str, Any]] | None = None
    _finished: bool = False

    @classmethod
    def begin(cls, path: Path, seconds: float, settings: Mapping[str, Any], started: float) -> Budget:
        """A new job."""
        budget = cls(path, seconds, settings, started)
        budget.save()
        return budget

    @classmethod
    def resume(cls, path: Path, seconds: float, settings: Mapping[str, Any], started: float) -> Budget:
        """The job that `path` describes; a larger `seconds` than before extends what it is at.

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
            finalists, finished = state.get("finalists"), bool(state.get("finished", False))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged, cannot resume; start again with --overwrite") from error
        for name, value in settings.items():
            if earlier.get(name) != value:
                raise InputError(
                    f"{path.parent}: was begun with {name} = {earlier.get(name)!r}, not {value!r}; resume with the "
                    "same settings, or start again with --overwrite"
                )
        return cls(path, seconds, settings, started, before, plans, _finalists=finalists, _finished=finished)

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

    @property
    def taken(self) -> float:
        """What of `spent` counts: a finished job that is resumed counts no more before it trains again."""
        return self._before if self._finished else self.spent()

    def finish(self) -> None:
        """Nothing is left to do: the clock stands still until there is a new plan."""
        if not self._finished:
            self._before, self.started, self._finished = self.spent(), time.monotonic(), True
        self.save()

    def save(self) -> None:
        """Write the state."""
        state: dict[str, Any] = {
            "settings": self.settings,
            "budget_seconds": self.seconds,
            "spent_seconds": round(self.taken, 3),
            "plans": self._plans,
        }
        if self._finalists is not None:
            state["finalists"] = self._finalists
        if self._finished:
            state["finished"] = True
        write_json(self.path, state)
        self._saved = time.monotonic()

    def tick(self) -> None:
        """Save from time to time: a killed job then knows what it had spent."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def remember(self, plan: Plan) -> None:
        """Keep a plan, so that a resumed job follows it instead of making another."""
        self._finished = False
        self._plans.append(
            {
                "candidates": [candidate.name for candidate in plan.candidates],
                "epochs": plan.epochs,
                "seconds_per_epoch": list(plan.seconds_per_epoch),
                "teacher": plan.teacher,
            }
        )
        self.save()

    def keep_finalists(self, finalists: Sequence[Finalist]) -> None:
        """Keep what a search chose. Its time is over then: the plans that follow name these networks alone."""
        self._finalists = [
            {"genes": list(each.genes), "seconds_per_epoch": each.seconds_per_epoch} for each in finalists
        ]
        self.save()

    @property
    def has_finalists(self) -> bool:
        """Whether the job's search has ended; see `finalists`."""
        return self._finalists is not None

    def finalists(self, space: Space) -> list[Finalist] | None:
        """What the job's search in `space` chose, in order of interest; None where it has not ended yet.

        Raises:
            InputError: the file is damaged, or names networks that are not in the space.
        """
        if self._finalists is None:
            return None
        try:
            kept = [
                Finalist(
                    tuple(int(gene) for gene in each["genes"]),
                    None if each["seconds_per_epoch"] is None else float(each["seconds_per_epoch"]),
                )
                for each in self._finalists
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error
        if not kept or not all(space.has(each.genes) for each in kept):
            raise self._damaged("finalists")
        return kept

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
                    kept.get("teacher"),
                )
                for kept in self._plans
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, what: object) -> InputError:
        return InputError(
            f"{self.path}: damaged, or of another version of wisp ({what}); start again with --overwrite"
        )
