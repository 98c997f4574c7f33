"""What `wisp optimize` and `wisp search` print of their outcome."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wisp.outcome import Outcome
    from wisp.search.candidate import Trial


def outcome_as_json(outcome: Outcome) -> str:
    """The outcome as indented JSON."""
    return json.dumps(_as_json(outcome), indent=2, ensure_ascii=False)


def _as_json(outcome: Outcome) -> dict[str, object]:
    def row(trial: Trial) -> dict[str, object]:
        taught = {"teacher": trial.teacher.name} if trial.teacher is not None else {}
        return {
            "name": trial.candidate.name,
            "epochs": trial.epochs,
            **taught,
            **trial.measurement.to_json(),
        }

    return {
        "strategy": outcome.settings.strategy,
        "chosen": row(outcome.chosen),
        "test": outcome.test.to_json() if outcome.test else None,
        "validation": outcome.validation.to_json(),
        "candidates": [row(trial) for trial in outcome.trials],
        "warnings": [*outcome.notes, *outcome.inspection.warnings],
        "model": str(outcome.artifact),
        "report": str(outcome.report),
        "seconds": round(outcome.seconds, 1),
    }


def outcome_as_text(outcome: Outcome) -> str:
    """The table of candidates, the chosen one on test, and what the user must know."""
    head = ("candidate", "epochs", "F1 (val)", "MACs", "params", "bytes", "latency ms", "score")
    rows = [head]
    for trial in outcome.trials:
        measured = trial.measurement
        rows.append(
            (
                ("* " if trial == outcome.chosen else "  ")
                + trial.candidate.name
                + (" (taught)" if trial.teacher is not None else ""),
                str(trial.epochs),
                f"{measured.f1_macro:.4f}",
                f"{measured.macs:,}",
                f"{measured.params:,}",
                f"{measured.size_bytes:,}",
                f"{measured.latency_p50_ms:.3f}",
                f"{measured.score:.4f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    result = outcome.test or outcome.validation
    low, high = result.f1_ci95
    lines += [
        "",
        f"* chosen on validation. On {result.split} ({result.n_images} {result.pictures}): macro F1 "
        f"{result.f1_macro:.4f} (95% {low:.4f}-{high:.4f}), accuracy {result.accuracy:.4f},",
        f"  {result.macs:,} MACs deployed ({result.macs_as_trained:,} as trained), score {result.score:.4f}, "
        f"latency {result.latency_p50_ms:.3f} ms median on {result.device}",
        *(
            f"  part {name}: macro F1 {part.f1_macro:.4f} ({part.n_images} photos, {len(part.classes)} classes)"
            for name, part in result.parts.items()
        ),
        *(f"note: {note}" for note in outcome.notes),
        *(f"data: {warning}" for warning in outcome.inspection.warnings),
        "",
        f"model   {outcome.artifact}",
        f"report  {outcome.report}",
        f"{outcome.seconds:.0f} s in all. Try it: wisp classify --model {shlex.quote(str(outcome.artifact))} PHOTO",
    ]
    return "\n".join(lines)
