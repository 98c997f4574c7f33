"""`wisp reproduce`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli import columns
from wisp.cli.duration import Duration
from wisp.cores import usable_cores
from wisp.errors import RecipeError

if TYPE_CHECKING:
    from wisp.reproduction import Reproduction, Settings

_GIB = 2**30


@click.command()
@click.argument("submission", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="The photos that it was trained on."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1, max=1000),
    default=3,
    show_default=True,
    help="Trainings: the first with the submitted seed, the others with seeds that nobody chose.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.05,
    show_default=True,
    help="A difference of macro F1 that must not go unnoticed.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write.  [default: NAME-reproduction]"
)
@click.option("--resume", is_flag=True, help="Go on with the reproduction in --out, also with more seeds.")
@click.option("--overwrite", is_flag=True, help="Replace the reproduction in --out.")
@click.option(
    "--run-source", is_flag=True, help="Run a submission's own Python code, confined (docs/sandbox.md)."
)
@click.option(
    "--time-limit",
    type=Duration(),
    default="12h",
    show_default=True,
    metavar="TIME",
    help="With --run-source: time that one training may take.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="GIB",
    help="With --run-source: memory that one training may take.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings side by side."
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reproduce(
    submission: Path,
    data: Path,
    seeds: int,
    within: float,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    run_source: bool,
    time_limit: float,
    memory_limit: int,
    workers: int,
    skip_unreadable: bool,
    as_json: bool,
) -> int:
    """Train a submission again from itself alone, and decide whether its result is real.

    The exit code is 0 for `reproduced`, 1 for `not reproduced`, 3 for `undecided`.
    """
    if resume and overwrite:
        raise RecipeError("--resume and --overwrite: one goes on, the other starts again; give one")
    from wisp.reproduction import Settings
    from wisp.reproduction import reproduce as run
    from wisp.reproduction.reproduce import STATE
    from wisp.sandbox import Limits, confinement

    limits = Limits(
        wall_seconds=time_limit,
        cpu_seconds=2 * time_limit,
        memory_bytes=memory_limit * _GIB,
        processes=64 + 4 * usable_cores(),  # what runs models starts a thread a core
        disk_bytes=16 * _GIB,
        disk_files=10_000,
        file_bytes=8 * _GIB,
        open_files=256,
    )
    settings = Settings(
        submission=submission,
        data=data,
        out=out or Path(f"{submission.stem}-reproduction"),
        seeds=seeds,
        within=within,
        workers=workers,
        run_source=run_source,
        limits=limits,
        skip_unreadable=skip_unreadable,
    )
    if run_source and (warning := confinement().warning):
        click.echo(warning, err=True)
    try:
        result = run(settings, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        if (settings.out / STATE).is_file():
            click.echo(
                f"{settings.out}: stopped; go on with the same command, --out {settings.out} and --resume",
                err=True,
            )
        raise
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(_as_text(result, settings))
    return result.exit_code


def _as_text(result: Reproduction, settings: Settings) -> str:
    claimed = "none claimed" if result.claimed_f1 is None else f"{result.claimed_f1:.4f} claimed"
    rows = []
    if result.f1 is not None:
        rows.append((f"F1 on {result.split}", f"{result.f1:.4f} by the submitted model, {claimed}"))
    rows += [
        (
            f"seed {run.seed}",
            f"{run.f1:.4f} retrained in {run.seconds:.0f} s"
            + (", the submitted weights bit for bit" if run.same_weights else ""),
        )
        for run in result.runs
    ]
    interval = result.decision.interval if result.decision else None
    if interval is not None:
        low, high = max(0.0, interval.low), min(1.0, interval.high)
        made = f"{interval.level:.0%}; {interval.n} seeds, standard deviation {interval.spread:.4f}"
        rows.append(("interval", f"{low:.4f} to {high:.4f} for one more result ({made})"))
    if result.runs and not any(run.differences for run in result.runs):
        rows.append(("network", "MACs, parameters and shapes are as claimed"))
    width = max((columns.width(name) for name, _ in rows), default=0)
    lines = [f"{columns.pad(name, width)}  {text}" for name, text in rows]
    lines += [*(f"note: {remark}" for remark in result.remarks), ""]
    more = result.more_seeds
    verdict: str = result.verdict
    if more is not None:
        verdict = f"undecided: needs {more} more seed{'s' * (more > 1)}"
    lines.append(f"{verdict}: {result.reasons[0]}" if more is None else f"{verdict}; {result.reasons[0]}")
    lines += [f"  also: {reason}" for reason in result.reasons[1:]]
    if more is not None:
        lines.append(
            f"next: wisp reproduce {settings.submission} --data {settings.data} --out {settings.out} "
            f"--seeds {settings.seeds + more} --resume"
        )
    return "\n".join(lines)
