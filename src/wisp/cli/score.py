"""`wisp score`."""

from __future__ import annotations

import json

import click

from wisp.cli.baseline import baseline_options
from wisp.score import Baseline, f1_term, macs_term


@click.command()
@click.option("--f1", required=True, type=float, help="Macro F1, from 0 to 1.")
@click.option("--macs", required=True, type=float, help="MACs of one image, such as 1083210 or 1.08e6.")
@baseline_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(
    f1: float,
    macs: float,
    baseline: Baseline,
    *,
    as_json: bool,
) -> None:
    """The competition's score of an F1 and a number of MACs.

    Smaller is better: MACs relative to the baseline, plus what the F1 lacks relative to the baseline (half as much
    below zero when it is better; 1 when the F1 is below 0.5).
    """
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
