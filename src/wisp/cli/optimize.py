"""`wisp optimize`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli.baseline import baseline_options
from wisp.cli.duration import Duration
from wisp.cores import usable_cores
from wisp.errors import RecipeError

if TYPE_CHECKING:
    from wisp.pipeline import Outcome
    from wisp.score import Baseline
    from wisp.search.candidate import Trial


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--budget",
    type=Duration(),
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Wall time for everything, such as 90s, 10m or 1.5h.",
)
@click.option(
    "--target-f1", type=click.FloatRange(0, 1), help="Take the cheapest network that reaches this macro F1."
)
@click.option(
    "--max-macs", type=click.IntRange(min=1), help="Try no network that costs more multiply-accumulates."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random."
)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="A TOML recipe for all candidates (their size, epochs and seed are set here).",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Trainings side by side.  [default: the cores there are]"
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
@click.option("--resume", is_flag=True, help="Go on with the job in --out; time already spent counts.")
@click.option("--overwrite", is_flag=True, help="Replace the job in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@baseline_options
def optimize(
    data: Path,
    out: Path,
    budget: float,
    target_f1: float | None,
    max_macs: int | None,
    seed: int,
    recipe_file: Path | None,
    workers: int | None,
    skip_unreadable: bool,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    baseline: Baseline,
) -> None:
    """From a folder of photos to the best small classifier within a time budget.

    DATA has train/, val/ and test/ with one folder a class, or one folder a class. OUT gets model.onnx, report.html
    and everything needed to train the chosen network again.
    """
    if resume and overwrite:
        raise RecipeError("--resume and --overwrite: one goes on with the job, the other replaces it; give one")
    started = time.monotonic()  # the imports below take seconds, and the budget is for everything
    from wisp.pipeline import STATE, Settings
    from wisp.pipeline import optimize as run_pipeline
    from wisp.train.recipe import Recipe

    settings = Settings(
        data=data,
        out=out,
        budget_seconds=budget,
        seed=seed,
        target_f1=target_f1,
        max_macs=max_macs,
        baseline=baseline,
        workers=workers or usable_cores(),
        skip_unreadable=skip_unreadable,
        recipe=Recipe.load(recipe_file) if recipe_file else Recipe(),
    )
    try:
        outcome = run_pipeline(settings, resume=resume, overwrite=overwrite, started=started)
    except KeyboardInterrupt:
        if (out / STATE).is_file():
            click.echo(f"{out}: stopped; go on with the same command and --resume", err=True)
        raise
    click.echo(json.dumps(_as_json(outcome), indent=2, ensure_ascii=False) if as_json else _as_text(outcome))


def _as_json(outcome: Outcome) -> dict[str, object]:
    def row(trial: Trial) -> dict[str, object]:
        return {"name": trial.candidate.name, "epochs": trial.epochs, **trial.measurement.to_json()}

    return {
        "chosen": row(outcome.chosen),
        "test": outcome.test.to_json() if outcome.test else None,
        "validation": outcome.validation.to_json(),
        "candidates": [row(trial) for trial in outcome.trials],
        "warnings": [*outcome.notes, *outcome.inspection.warnings],
        "model": str(outcome.artifact),
        "report": str(outcome.report),
        "seconds": round(outcome.seconds, 1),
    }


def _as_text(outcome: Outcome) -> str:
    head = ("candidate", "epochs", "F1 (val)", "MACs", "params", "bytes", "latency ms", "score")
    rows = [head]
    for trial in outcome.trials:
        measured = trial.measurement
        rows.append(
            (
                ("* " if trial == outcome.chosen else "  ") + trial.candidate.name,
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
        f"{outcome.seconds:.0f} s in all. Try it: wisp classify --model {outcome.artifact} PHOTO",
    ]
    return "\n".join(lines)
