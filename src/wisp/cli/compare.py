"""`wisp compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp import __version__
from wisp.cli import columns
from wisp.cli.baseline import baseline_options
from wisp.errors import DataError
from wisp.score import Baseline

if TYPE_CHECKING:
    from wisp.comparison import Comparison


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The photos.  [default: those of the first run, where they lay]",
)
@click.option("--split", default="val", show_default=True, help="Which photos: train, val or test.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write a page (HTML) to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@baseline_options
def compare(
    runs: tuple[Path, ...],
    data: Path | None,
    split: str,
    out: Path | None,
    baseline: Baseline,
    *,
    as_json: bool,
) -> None:
    """Measure several runs on the same photos, side by side.

    RUNS are run folders with a model.onnx. Each is compared with the first, by a paired interval; runs that differ in
    their seed alone are also averaged. The split is val by default: what is chosen on test is not measured by it.
    """
    from wisp.comparison import compare_runs
    from wisp.data.folders import load_dataset
    from wisp.train.run import read_run

    if data is None:
        data = Path(str(read_run(runs[0]).data.get("root", "")))
        if not data.is_dir():
            raise DataError(
                f"{data}: the photos of {runs[0]} do not lie there any more; name them with --data"
            )
    comparison = compare_runs(runs, load_dataset(data, needs=()), split, baseline=baseline)
    if out is not None:
        from wisp.report.comparison_page import write_comparison

        write_comparison(comparison, out, version=__version__)
    if as_json:
        click.echo(json.dumps(comparison.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(_table(comparison))
    if out is not None:
        click.echo(f"page: {out}")


def _table(comparison: Comparison) -> str:
    first = comparison.runs[0].evaluation
    width = max(columns.width(compared.name) for compared in comparison.runs)
    lines = [
        f"{comparison.data_name}, {comparison.split}: {first.n_images:,} {first.pictures}",
        "",
        f"  #  {columns.pad('run', width)}  px  epochs  seed      F1  95% interval      difference (paired 95%)      "
        "    MACs    bytes    score",
    ]
    for number, compared in enumerate(comparison.runs, start=1):
        measured, recipe = compared.evaluation, compared.run.recipe
        low, high = measured.f1_ci95
        difference = ""
        if compared.difference is not None and compared.difference_ci95 is not None:
            below, above = compared.difference_ci95
            difference = f"{compared.difference:+.4f} ({below:+.4f} to {above:+.4f})"
        lines.append(
            f"{number:3}  {columns.pad(compared.name, width)}  {recipe.image_size:2}  {recipe.epochs:6}  "
            f"{recipe.seed:4}  {measured.f1_macro:.4f}  {low:.4f} to {high:.4f}  {difference:28}  {measured.macs:10,}  "
            f"{measured.size_bytes or 0:7,}  {measured.score:7.4f}"
        )
    for group in comparison.groups():
        if len(group.runs) > 1:
            numbers, seeds = (", ".join(map(str, values)) for values in (group.numbers, group.seeds))
            lines.append(
                f"runs {numbers}, seeds {seeds}: F1 {group.f1_mean:.4f}, standard deviation {group.f1_sd:.4f}"
            )
    lines += comparison.notes()
    if comparison.settings:
        lines.append("")
        lines += [
            f"differs: {field}: {', '.join(map(str, values))}"
            for field, values in comparison.settings.items()
        ]
    return "\n".join(lines)
