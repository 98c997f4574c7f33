"""`wisp optimize`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli.baseline import baseline_options
from wisp.cli.beginning import distill_option, init_option
from wisp.cli.duration import Duration
from wisp.cli.outcome import outcome_as_json, outcome_as_text
from wisp.cores import usable_cores
from wisp.errors import RecipeError

if TYPE_CHECKING:
    from wisp.score import Baseline


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
    "--strategy",
    metavar="NAME",
    help="ladder, or who decides in a search: evolution, optuna, random, supernet.  [default: by the budget]",
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
@init_option
@distill_option
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
    strategy: str | None,
    target_f1: float | None,
    max_macs: int | None,
    seed: int,
    init: str,
    distill: bool,
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
        raise RecipeError(
            "--resume and --overwrite: one goes on with the job, the other replaces it; give one"
        )
    started = time.monotonic()  # the imports below take seconds, and the budget is for everything
    from wisp.outcome import Settings
    from wisp.pipeline import STATE
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
        init=init,
        distill=distill,
        strategy=strategy,
    )
    try:
        outcome = run_pipeline(settings, resume=resume, overwrite=overwrite, started=started)
    except KeyboardInterrupt:
        if (out / STATE).is_file():
            click.echo(f"{out}: stopped; go on with the same command and --resume", err=True)
        raise
    click.echo(outcome_as_json(outcome) if as_json else outcome_as_text(outcome))
