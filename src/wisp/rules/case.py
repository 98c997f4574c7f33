"""What a rule is given: the target, and all that was found out about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wisp.records import Dataset, Violation
from wisp.rules.hearing import Judgement
from wisp.rules.names import Names
from wisp.rules.target import Target


@dataclass(frozen=True)
class Case:
    """A target with its evidence.

    Attributes:
        target: what is checked.
        names: what the names in each of its files stand for; empty where it has no source.
        judgement: what came of running its network; None where it was not run.
        seed: of the images that the network was asked about.
        dataset: the photos; None where they were not given.
        recipe_fields: what a whole recipe has.
        progress: whether to show progress bars on a terminal.
    """

    target: Target
    names: tuple[Names, ...]
    judgement: Judgement | None
    seed: int
    dataset: Dataset | None = None
    recipe_fields: frozenset[str] = frozenset()
    progress: bool = True

    @property
    def place(self) -> str:
        """The file that findings name where they know no better one."""
        return self.target.files[0].path if self.target.files else self.target.shown

    def judged(self, rule: str) -> list[Violation]:
        """What running the network found against `rule`."""
        found = () if self.judgement is None else self.judgement.findings
        return [replace(item, path=item.path or self.place) for item in found if item.rule == rule]
