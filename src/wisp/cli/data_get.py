"""`wisp data get`."""

from __future__ import annotations

from pathlib import Path

import click

from wisp.cli.data_crop import parse_split, print_counts, print_crops, print_some, read_input
from wisp.errors import DownloadError, RecipeError

# What shapes crops, and means nothing for a set of whole photos.
_CROP_OPTIONS = ("class_map", "margin", "min_size", "split", "seed", "workers", "overwrite")


@click.command("get")
@click.argument("name", type=click.Choice(["trashnet", "taco"]), metavar="trashnet|taco")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--from",
    "source",
    metavar="ARCHIVE|FOLDER|URL",
    help="A copy at hand, or a mirror.  [default: the set's public address]",
)
@click.option("--class-map", type=click.Path(path_type=Path), help="taco: instead of the nine classes; TOML.")
@click.option("--margin", type=float, default=0.1, show_default=True, help="taco: see `wisp data crop`.")
@click.option("--min-size", type=int, default=16, show_default=True, help="taco: see `wisp data crop`.")
@click.option(
    "--split",
    default="0.8,0.1,0.1",
    show_default=True,
    metavar="TRAIN,VAL,TEST",
    callback=parse_split,
    help="taco: see `wisp data crop`. TrashNet has its authors' split.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="taco: seed of the split.")
@click.option("--workers", type=int, help="taco: threads that cut.  [default: one a core]")
@click.option(
    "--overwrite", is_flag=True, help="taco: replace crops in --out that were made with other settings."
)
@click.pass_context
def get(
    ctx: click.Context,
    name: str,
    out: Path,
    source: str | None,
    class_map: Path | None,
    margin: float,
    min_size: int,
    split: dict[str, float],
    seed: int,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Fetch a public waste data set: TrashNet or TACO.

    What was fetched is checked and kept in the cache ($WISP_CACHE, else ~/.cache/wisp). Interrupted, the same
    command goes on where it stopped.
    """
    try:
        if name == "trashnet":
            _refuse_crop_options(ctx)
            _get_trashnet(out, source)
            return
        from wisp.data.coco import read_class_map
        from wisp.data.public_sets.taco import NOT_FETCHED_FILE, get_taco

        report = get_taco(
            out,
            source,
            class_map=None if class_map is None else read_class_map(read_input(class_map), str(class_map)),
            margin=margin,
            min_size=min_size,
            split=split,
            seed=seed,
            workers=workers,
            overwrite=overwrite,
        )
    except DownloadError as error:
        if source is not None:
            raise
        raise DownloadError(f"{error} (a copy at hand serves as well: --from ARCHIVE|FOLDER|URL)") from error
    print_crops(report.crops, out)
    if report.not_fetched:
        click.echo(f"not fetched: {len(report.not_fetched):,} photos ({out / NOT_FETCHED_FILE})")
        print_some(reason for _, reason in report.not_fetched)


def _get_trashnet(out: Path, source: str | None) -> None:
    from wisp.data.public_sets.trashnet import get_trashnet

    report = get_trashnet(out, source)
    print_counts(report.counts)
    total = sum(sum(of_class.values()) for of_class in report.counts.values())
    click.echo(f"{out}: {total:,} photos ({report.written:,} new), the authors' split")


def _refuse_crop_options(ctx: click.Context) -> None:
    for option in _CROP_OPTIONS:
        if ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
            raise RecipeError(
                f"--{option.replace('_', '-')} is for taco; TrashNet's photos are whole and split"
            )
