"""`wisp check`."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wisp.errors import RecipeError

if TYPE_CHECKING:
    from wisp.records import Dataset, Violation
    from wisp.rules import Target, Verdict

_EXIT = {"clean": 0, "violations": 1, "not judged": 2}


@click.command()
@click.argument("target")
@click.option("--data", type=click.Path(path_type=Path), help="The photos it was trained and tested on.")
@click.option(
    "--run-source", is_flag=True, help="Run the target's own Python code, confined (docs/sandbox.md)."
)
@click.option(
    "--image-size", type=click.IntRange(min=8, max=1024), help="Side of the image in pixels.  [default: 64]"
)
@click.option(
    "--num-classes", type=click.IntRange(min=2), help="Classes of the network.  [default: the target's own]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Ask about the images of an earlier check.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    target: str,
    data: Path | None,
    run_source: bool,
    image_size: int | None,
    num_classes: int | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Hold a submission or a network against the competition's rules.

    TARGET is a submission (team.zip), a run folder, a Python file with a function build(), an arch.json, or the name of
    a network. Each finding comes with its file and line, the reason and the mend; the rules are in docs/RULES.md.

    The exit code is 0 for clean, 1 for violations, 2 where it cannot be judged.
    """
    from tqdm import tqdm

    from wisp.rules import check as check_rules
    from wisp.rules import read_target
    from wisp.sandbox import confinement
    from wisp.train.recipe import Recipe

    dataset = None if data is None else _photos(data)
    verified = _verified(Path(target), dataset) if Path(target).suffix == ".zip" else []
    if any(item.severity == "violation" for item in verified):
        return _show_unsound(target, verified, as_json=as_json)
    found = read_target(target, image_size, num_classes)
    if dataset is not None and found.data is None:
        raise RecipeError(f"--data: {target} is no training; leave the option out")
    if run_source and found.has_source and (warning := confinement().warning):
        click.echo(warning, err=True)
    with tqdm(desc="judging", bar_format="{desc} {elapsed}", leave=False, disable=None) as clock:
        verdict = check_rules(
            found,
            run_source=run_source,
            dataset=dataset,
            seed=seed,
            recipe_fields=frozenset(item.name for item in fields(Recipe)),
            tick=clock.refresh,
        )
    if as_json:
        click.echo(
            json.dumps({"target": target, **_with(verdict.to_json(), verified)}, indent=2, ensure_ascii=False)
        )
    else:
        _show(found, verdict, verified)
    return _EXIT[verdict.result]


def _photos(data: Path) -> Dataset:
    from wisp.data.folders import load_dataset

    return load_dataset(data, needs=())


def _verified(path: Path, dataset: Dataset | None) -> list[Violation]:
    """What can be said of the file without its source: it must be sound before rules are applied to it."""
    from wisp.submission import verify_submission

    return [item for item in verify_submission(path, dataset, progress=True) if item.severity != "note"]


def _with(value: dict[str, Any], verified: list[Violation]) -> dict[str, Any]:
    return {**value, "findings": [*(item.to_json() for item in verified), *value["findings"]]}


def _show_unsound(target: str, verified: list[Violation], *, as_json: bool) -> int:
    """A submission that is not what it says: its rules are beside the point."""
    if as_json:
        value = {"target": target, "result": "violations", "findings": [item.to_json() for item in verified]}
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        for item in verified:
            _show_finding(item)
        click.echo(f"{target}: not what its manifest says; the rules were not applied")
    return 1


def _show(target: Target, verdict: Verdict, verified: list[Violation]) -> None:
    for item in (*verified, *verdict.findings):
        _show_finding(item)
    reasons: dict[str, list[str]] = {}
    for rule, reason in verdict.not_judged.items():
        reasons.setdefault(reason, []).append(rule)
    for reason, rules in reasons.items():
        click.echo(f"not judged: {', '.join(rules)}: {reason}")
    if verdict.counts:
        counts = verdict.counts
        click.echo(
            f"MACs for {target.image_size} x {target.image_size}: {counts['official']:,} official, {counts['exact']:,} "
            f"exact; {counts['params']:,} parameters"
        )
    violations = sum(item.severity == "violation" for item in verdict.findings)
    summary = {
        "clean": "clean",
        "violations": f"{violations} violation{'s' if violations > 1 else ''}",
        "not judged": "no violations found, and not judged to the end",
    }[verdict.result]
    click.echo(f"{target.shown}: {summary} (seed {verdict.seed})")


def _show_finding(item: Violation) -> None:
    where = item.path if item.line is None else f"{item.path}:{item.line}"
    click.echo(f"{item.severity} [{item.rule}] {where}: {item.message}")
    if item.fix:
        click.echo(f"    {item.fix}")
