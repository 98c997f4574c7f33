"""`wisp score`."""

from __future__ import annotations

import json

import click

from wisp.errors import InputError
from wisp.score import PRESETS, Baseline, f1_term, macs_term


@click.command()
@click.option("--f1", required=True, type=float, help="Macro F1, from 0 to 1.")
@click.option("--macs", required=True, type=float, help="MACs of one image, such as 1083210 or 1.08e6.")
@click.option("--baseline-f1", type=float, help="Macro F1 of the network to compare with.")
@click.option("--baseline-macs", type=float, help="MACs of the network to compare with.")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="A published baseline instead of the two numbers.  [default: leaderboard-2021]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(
    f1: float,
    macs: float,
    baseline_f1: float | None,
    baseline_macs: float | None,
    preset: str | None,
    *,
    as_json: bool,
) -> None:
    """The competition's score of an F1 and a number of MACs.

    Smaller is better: MACs relative to the baseline, plus what the F1 lacks relative to the baseline (half as much
    below zero when it is better; 1 when the F1 is below 0.5).
    """
    baseline = _baseline(baseline_f1, baseline_macs, preset)
    of_macs, of_f1 = macs_term(macs, baseline), f1_term(f1, baseline)
    if as_json:
        values = {
            "score": of_macs + of_f1,
            "macs_term": of_macs,
            "f1_term": of_f1,
            "f1": f1,
            "macs": int(macs) if macs.is_integer() else macs,
            "baseline": {"f1": baseline.f1, "macs": baseline.macs},
        }
        click.echo(json.dumps(values, indent=2))
    else:
        sign = "-" if of_f1 < 0 else "+"
        click.echo(f"score {of_macs + of_f1:.4f} = {of_macs:.4f} (MACs) {sign} {abs(of_f1):.4f} (F1)")


def _baseline(f1: float | None, macs: float | None, preset: str | None) -> Baseline:
    if f1 is None and macs is None:
        return PRESETS[preset or "leaderboard-2021"]
    if preset is not None:
        raise InputError("--preset and --baseline-f1/--baseline-macs exclude one another; give one of them")
    if f1 is None or macs is None:
        raise InputError("--baseline-f1 and --baseline-macs belong together; give both, or a --preset")
    return Baseline(f1=f1, macs=macs)
