"""`wisp search`."""

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
    default="60m",
    show_default=True,
    metavar="TIME",
    help="Wall time for everything, such as 10m or 1.5h.",
)
@click.option(
    "--strategy",
    metavar="NAME",
    help="Who decides what to try: supernet, evolution, optuna or random.  [default: supernet with one or two workers "
    "on one machine, else evolution]",
)
@click.option("--max-macs", type=click.IntRange(min=1), help="Most multiply-accumulates, as trained.")
@click.option("--max-params", type=click.IntRange(min=1), help="Most parameters of the deployed network.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Largest .onnx file, bytes.")
@click.option("--max-memory", type=click.IntRange(min=1), help="Most memory of activations, bytes (float32).")
@click.option("--max-latency", type=float, help="Longest time of one image, milliseconds, measured here.")
@click.option(
    "--target-f1", type=click.FloatRange(0, 1), help="Take the cheapest network that reaches this macro F1."
)
@click.option("--sizes", metavar="N,N,...", help="Input sizes to try, pixels.  [default: as time allows]")
@click.option(
    "--augmentation", is_flag=True, help="Search the strength of augmentation together with the network."
)
@click.option("--trials", type=click.IntRange(min=1), help="Search no longer than so many short trainings.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random."
)
@init_option
@distill_option
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="A TOML recipe for all trainings (their size, epochs and seed are set here).",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Trainings side by side.  [default: the cores there are]"
)
@click.option(
    "--storage", metavar="URL", help="A database that several machines share.  [default: a file in OUT]"
)
@click.option(
    "--study", default="search", show_default=True, metavar="NAME", help="Name of the search in it."
)
@click.option("--ray", metavar="ADDRESS", help="Run the short trainings on a Ray cluster, such as auto.")
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="With --ray: share of a GPU that each short training is given.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
@click.option("--resume", is_flag=True, help="Go on with the job in --out; time already spent counts.")
@click.option("--overwrite", is_flag=True, help="Replace the job in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@baseline_options
def search(
    data: Path,
    out: Path,
    budget: float,
    strategy: str | None,
    max_macs: int | None,
    max_params: int | None,
    max_bytes: int | None,
    max_memory: int | None,
    max_latency: float | None,
    target_f1: float | None,
    sizes: str | None,
    augmentation: bool,
    trials: int | None,
    seed: int,
    init: str,
    distill: bool,
    recipe_file: Path | None,
    workers: int | None,
    storage: str | None,
    study: str,
    ray: str | None,
    gpus_per_trial: float,
    skip_unreadable: bool,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    baseline: Baseline,
) -> None:
    """Search for the best small networks within a time budget, and train the best of them longer.

    DATA has train/, val/ and test/ with one folder a class, or one folder a class. OUT gets model.onnx, report.html
    and everything needed to go on, or to train the chosen network again.
    """
    started = time.monotonic()  # the imports below take seconds, and the budget is for everything
    if resume and overwrite:
        raise RecipeError(
            "--resume and --overwrite: one goes on with the job, the other replaces it; give one"
        )
    if gpus_per_trial and ray is None:
        raise RecipeError("--gpus-per-trial: is asked of a Ray cluster; give --ray too, or leave it out")
    from wisp.latency_probe import measure_untrained
    from wisp.outcome import Settings
    from wisp.pipeline import STATE, optimize
    from wisp.search.limits import Limits
    from wisp.search_settings import SearchSettings
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
        search=SearchSettings(
            strategy=strategy,
            limits=Limits(
                macs=max_macs,
                params=max_params,
                size_bytes=max_bytes,
                memory_bytes=max_memory,
                latency_ms=max_latency,
                measure=None if max_latency is None else measure_untrained,
            ),
            storage=storage,
            study=study,
            ray=ray,
            gpus_per_trial=gpus_per_trial,
            trials=trials,
            augmentation=augmentation,
            sizes=None if sizes is None else _sizes(sizes),
        ),
    )
    try:
        outcome = optimize(settings, resume=resume, overwrite=overwrite, started=started)
    except KeyboardInterrupt:
        if (out / STATE).is_file():
            click.echo(f"{out}: stopped; go on with the same command and --resume", err=True)
        raise
    click.echo(outcome_as_json(outcome) if as_json else outcome_as_text(outcome))


def _sizes(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"--sizes {text}: give pixels, such as 32,48,64") from None
