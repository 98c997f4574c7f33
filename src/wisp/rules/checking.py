"""Applying every rule to a target."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from wisp.records import Dataset, Violation
from wisp.rules.case import Case
from wisp.rules.external_libraries import external_libraries
from wisp.rules.findings import (
    EXTERNAL_LIBRARIES,
    HIDDEN_COMPUTATION,
    ONE_INFERENCE,
    REPRODUCIBLE,
    RULES,
    TEST_SET,
)
from wisp.rules.hearing import LIMITS, Judgement
from wisp.rules.hidden_computation import hidden_computation
from wisp.rules.judging import judge
from wisp.rules.one_inference import one_inference
from wisp.rules.reproducible import reproducible
from wisp.rules.target import Target
from wisp.rules.untouched_test_set import untouched_test_set
from wisp.sandbox import Limits

CHECKS: Mapping[str, Callable[[Case], list[Violation]]] = MappingProxyType(
    {
        HIDDEN_COMPUTATION: hidden_computation,
        EXTERNAL_LIBRARIES: external_libraries,
        ONE_INFERENCE: one_inference,
        TEST_SET: untouched_test_set,
        REPRODUCIBLE: reproducible,
    }
)
NOT_RUN = "its source was not run"
_RUN_SOURCE = f"{NOT_RUN}; run it, confined, with --run-source"
_NO_TRAINING = "there is no training to look at"
_ORDER = {"violation": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a target.

    Attributes:
        findings: worst first, in the order of the rules.
        not_judged: rules that were not judged, or not to the end, each with the reason.
        counts: MACs by counter and parameters, where they were counted.
        seed: of the images that the network was asked about; the same seed asks the same again.
    """

    findings: tuple[Violation, ...]
    not_judged: Mapping[str, str]
    counts: Mapping[str, int]
    seed: int

    @property
    def result(self) -> Literal["clean", "violations", "not judged"]:
        """`clean` only where every rule was judged to the end (those that need a training aside, without one)."""
        if any(item.severity == "violation" for item in self.findings):
            return "violations"
        open_rules = [rule for rule, reason in self.not_judged.items() if reason != _NO_TRAINING]
        return "not judged" if open_rules else "clean"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return {
            "result": self.result,
            "findings": [item.to_json() for item in self.findings],
            "not_judged": dict(self.not_judged),
            "counts": dict(self.counts),
            "seed": self.seed,
        }


def check(
    target: Target,
    *,
    run_source: bool = False,
    dataset: Dataset | None = None,
    seed: int | None = None,
    recipe_fields: frozenset[str] = frozenset(),
    limits: Limits = LIMITS,
    progress: bool = True,
    tick: Callable[[], None] | None = None,
) -> Verdict:
    """Apply every rule to `target`.

    Args:
        target: what to check (`read_target`).
        run_source: run its source code, confined. Without it, source code is read only.
        dataset: the photos that it was trained and tested on.
        seed: of the images that the network is asked about. None: one that nobody knows before.
        recipe_fields: the fields that a whole recipe has.
        limits: what a confined process may use.
        progress: show progress bars on a terminal.
        tick: called about five times a second while source code runs.

    Raises:
        SandboxError: source code is to be run, and this system cannot confine it.
        DataError: the photos of `dataset` cannot be read.
    """
    seed = secrets.randbits(48) if seed is None else seed
    judgement = judge(target, seed, limits=limits, tick=tick) if run_source or not target.has_source else None
    case = Case(target, target.names(), judgement, seed, dataset, recipe_fields, progress)
    findings = [item for rule in RULES for item in CHECKS[rule](case)]
    findings.sort(key=lambda item: _ORDER[item.severity])
    counts = {} if judgement is None else judgement.counts or {}
    return Verdict(tuple(dict.fromkeys(findings)), _not_judged(target, judgement), counts, seed)


def _not_judged(target: Target, judgement: Judgement | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if judgement is None:
        found = dict.fromkeys((HIDDEN_COMPUTATION, ONE_INFERENCE), _RUN_SOURCE)
    elif judgement.failure is not None:
        found = dict.fromkeys((HIDDEN_COMPUTATION, ONE_INFERENCE), judgement.failure)
    if target.data is None:
        found |= dict.fromkeys((TEST_SET, REPRODUCIBLE), _NO_TRAINING)
    return found
