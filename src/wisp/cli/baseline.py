"""The options that name the baseline of a score, shared by the verbs that print one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from wisp.errors import InputError
from wisp.score import PRESETS, Baseline

_OPTIONS = (
    click.option("--baseline-f1", type=float, help="Macro F1 of the network to compare with."),
    click.option("--baseline-macs", type=float, help="MACs of the network to compare with."),
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="A published baseline instead of the two numbers.  [default: leaderboard-2021]",
    ),
)


def baseline_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--baseline-f1`, `--baseline-macs` and `--preset`; the command gets them as one `baseline`."""

    @functools.wraps(command)
    def with_baseline(
        *args: Any, baseline_f1: float | None, baseline_macs: float | None, preset: str | None, **options: Any
    ) -> None:
        command(*args, baseline=_baseline(baseline_f1, baseline_macs, preset), **options)

    for option in reversed(_OPTIONS):
        with_baseline = option(with_baseline)
    return with_baseline


def _baseline(f1: float | None, macs: float | None, preset: str | None) -> Baseline:
    if f1 is None and macs is None:
        return PRESETS[preset or "leaderboard-2021"]
    if preset is not None:
        raise InputError("--preset and --baseline-f1/--baseline-macs exclude one another; give one of them")
    if f1 is None or macs is None:
        raise InputError("--baseline-f1 and --baseline-macs belong together; give both, or a --preset")
    return Baseline(f1=f1, macs=macs)
