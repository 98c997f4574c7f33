"""From what was found to a verdict, in one pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wisp.reproduction.interval import Decision, Verdict, decide

EXIT_CODES: Mapping[Verdict, int] = {"reproduced": 0, "not reproduced": 1, "undecided": 3}


@dataclass(frozen=True)
class Retrained:
    """One training of the submission, done and measured.

    Attributes:
        seed: its seed.
        f1: macro F1 on the deciding split.
        same_weights: whether its weights are those of the submission, bit for bit.
        same_answers: whether its exported file gives the probabilities of the submitted one on every photo of the
            split, within the rounding of export.
        differences: what of the network is not as claimed (MACs, parameters, shapes), one line each.
        seconds: of training.
    """

    seed: int
    f1: float
    same_weights: bool
    same_answers: bool
    differences: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Reproduction:
    """What retraining proved of a submission.

    Attributes:
        verdict: `reproduced`, `not reproduced` or `undecided`.
        reasons: why, one line each, the weightiest first.
        remarks: what else a person should know.
        split: whose F1 decides.
        f1: of the submitted model on it, measured here; None: not measured.
        claimed_f1: as the manifest says; None: not claimed.
        runs: the trainings, the first with the submitted seed.
        decision: of the interval; None where no training was needed.
        within: the difference of F1 that must not go unnoticed.
        same_environment: whether versions and processor are those that the submission names.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    split: str
    f1: float | None
    claimed_f1: float | None
    runs: tuple[Retrained, ...]
    decision: Decision | None
    within: float
    same_environment: bool

    @property
    def more_seeds(self) -> int | None:
        """How many more seeds should decide; None where it is decided, or no number would."""
        return self.decision.more_seeds if self.decision and self.verdict == "undecided" else None

    @property
    def exit_code(self) -> int:
        """0 reproduced, 1 not reproduced, 3 undecided."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        interval = self.decision.interval if self.decision else None
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
            "split": self.split,
            "f1": self.f1,
            "claimed_f1": self.claimed_f1,
            "interval": interval.to_json() if interval else None,
            "within": self.within,
            "more_seeds": self.more_seeds,
            "same_weights": bool(self.runs and self.runs[0].same_weights),
            "same_environment": self.same_environment,
            "runs": [asdict(run) for run in self.runs],
        }


def judge(
    runs: Sequence[Retrained],
    *,
    f1: float,
    claimed_f1: float | None,
    split: str,
    resolution: float,
    within: float,
    has_source: bool,
    same_environment: bool,
) -> Reproduction:
    """Decide from the trainings.

    A training with the submission's very weights is the submission again, no second witness: the interval is made
    from the others. Such weights prove by themselves where they come from. Only own source code could make one seed
    special (it runs during training), so there the other seeds must agree too.

    Args:
        runs: at least one, the first with the submitted seed.
        f1: of the submitted model, measured here.
        claimed_f1: as claimed, and found true; None: not claimed.
        split: whose F1 that is.
        resolution: the least spread to reckon with.
        within: the difference that must not go unnoticed.
        has_source: the network is Python code of the submission.
        same_environment: versions and processor are those that the submission names.
    """
    first = runs[0]
    differences = [f"seed {run.seed}: {line}" for run in runs for line in run.differences]
    others = [run.f1 for run in runs if not run.same_weights]
    decision = decide(f1, others, resolution=resolution, within=within)
    remarks = [_on_weights(first, same_environment=same_environment)]
    verdict: Verdict
    if differences:
        verdict, reasons = "not reproduced", differences
    elif first.same_weights and not first.same_answers:
        verdict = "not reproduced"
        reasons = ["training gives the submitted weights, but model.onnx is not the export of these weights"]
    elif first.same_weights and not (has_source and decision.verdict == "not reproduced"):
        verdict, reasons = "reproduced", ["the submitted seed gives the submitted weights, bit for bit"]
        if decision.verdict == "not reproduced":
            remarks.append(
                f"the submitted seed is an exceptional one: {_on_interval(f1, decision, within)}; its F1 says "
                "little of what this training gives"
            )
    else:
        verdict, reasons = decision.verdict, [_on_interval(f1, decision, within)]
        if first.same_weights:
            reasons.append(
                "the submitted seed alone gives this result, and own source can make a seed special"
            )
    return Reproduction(
        verdict=verdict,
        reasons=tuple(reasons),
        remarks=tuple(remarks),
        split=split,
        f1=f1,
        claimed_f1=claimed_f1,
        runs=tuple(runs),
        decision=decision,
        within=within,
        same_environment=same_environment,
    )


def _on_weights(first: Retrained, *, same_environment: bool) -> str:
    if first.same_weights:
        return f"seed {first.seed}: the retrained weights equal the submitted ones, bit for bit"
    if same_environment:
        return (
            f"seed {first.seed}: the retrained weights are not the submitted ones, although versions and processor "
            "are those that it names; expected only if it was trained on a GPU, or with another number of threads"
        )
    return (
        f"seed {first.seed}: the retrained weights are not bit for bit the submitted ones, which is expected on "
        "another machine or with other versions"
    )


def _on_interval(f1: float, decision: Decision, within: float) -> str:
    interval = decision.interval
    if interval is None:
        return "fewer than two trainings to compare with"
    bounds = f"{max(0.0, interval.low):.4f} to {min(1.0, interval.high):.4f} ({interval.level:.0%}, {interval.n} seeds)"
    if decision.verdict == "not reproduced":
        return f"F1 {f1:.4f} lies outside of what the seeds give, {bounds}"
    if decision.verdict == "reproduced":
        return f"F1 {f1:.4f} lies inside of what the seeds give, {bounds}"
    if decision.more_seeds is None:
        return (
            f"the seeds spread too widely (standard deviation {interval.spread:.4f}): no number of them shows a "
            f"difference of {within:g}; ask for less with --within"
        )
    return (
        f"F1 {f1:.4f} lies inside of what the seeds give, {bounds}, but a difference of {within:g} would too"
    )
