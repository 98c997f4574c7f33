"""Rule 5: the training can be repeated from what was submitted. Whether it really can, `wisp reproduce` finds out."""

from __future__ import annotations

from collections.abc import Iterator

from wisp.models.starts import is_public
from wisp.records import Violation
from wisp.rules.case import Case
from wisp.rules.findings import REPRODUCIBLE, finding
from wisp.submission.contents import DATA, RECIPE, WEIGHTS

_TRAIN_AGAIN = "train the run again with: wisp train"


def reproducible(case: Case) -> list[Violation]:
    """What a repetition needs and does not find."""
    found = case.judged(REPRODUCIBLE)
    if case.target.kind in {"submission", "run"}:
        found += _needed(case)
    return found


def _needed(case: Case) -> Iterator[Violation]:
    target = case.target
    recipe, data = target.recipe or {}, target.data or {}
    if not isinstance(recipe.get("seed"), int):
        yield finding(REPRODUCIBLE, "violation", RECIPE, "has no seed", _TRAIN_AGAIN)
    missing = sorted(case.recipe_fields - recipe.keys())
    if missing:
        message = (
            f"not resolved: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''} left to defaults"
        )
        yield finding(REPRODUCIBLE, "warning", RECIPE, message, "defaults change; write every field down")
    if not isinstance(data.get("digest"), str):
        yield finding(REPRODUCIBLE, "violation", DATA, "has no digest of the photos", _TRAIN_AGAIN)
    if target.weights is None:
        yield finding(REPRODUCIBLE, "violation", WEIGHTS, "no trained weights", "finish the training")
    if data.get("teachers"):
        message = "learned from a teacher, which is not part of it: nobody else can train it again"
        yield finding(
            REPRODUCIBLE, "violation", DATA, message, "submit a network that was trained without a teacher"
        )
    elif not is_public(data.get("pretrained")):
        message = "began with weights from a file, which is not part of it: nobody else can train it again"
        yield finding(
            REPRODUCIBLE, "violation", DATA, message, "begin with published weights, or without any"
        )
    if target.kind == "submission":
        command = f"wisp reproduce {target.shown} --data DATA --seeds 3"
        if target.has_source:
            command += " --run-source"
        yield finding(
            REPRODUCIBLE,
            "note",
            RECIPE,
            "that it really can be repeated is not proved here",
            f"prove it with: {command}",
        )
