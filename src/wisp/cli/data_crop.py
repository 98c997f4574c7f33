"""`wisp data crop`, and how crops are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli import columns
from wisp.records import TEST, TRAIN, VAL

if TYPE_CHECKING:
    from wisp.data.crop_folder import CropReport

_LISTED = 5  # lines shown of a long list; files hold the rest


def parse_split(_ctx: click.Context, _param: click.Parameter, value: str) -> dict[str, float]:
    """`0.8,0.1,0.1` as fractions of train, val and test."""
    try:
        train, val, test = map(float, value.split(","))
    except ValueError as error:
        raise click.BadParameter("must be three fractions: TRAIN,VAL,TEST, such as 0.8,0.1,0.1") from error
    return {TRAIN: train, VAL: val, TEST: test}


@click.command("crop")
@click.option(
    "--annotations",
    required=True,
    type=click.Path(path_type=Path),
    help="COCO annotations, a .json file.",
)
@click.option(
    "--images",
    required=True,
    metavar="DIR|ZIP",
    type=click.Path(path_type=Path),
    help="Where the photos are: a folder, or a zip archive that is read as it is.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--class-map",
    type=click.Path(path_type=Path),
    help='TOML: [classes] "Category name" = "Class". What it does not name is left out.  '
    "[default: every category is a class]",
)
@click.option(
    "--margin",
    type=float,
    default=0.1,
    show_default=True,
    help="Added on each side of a box, as a fraction of its width and height.",
)
@click.option(
    "--min-size",
    type=int,
    default=16,
    show_default=True,
    help="Leave out boxes whose longer side is shorter, pixels.",
)
@click.option(
    "--split",
    default="0.8,0.1,0.1",
    show_default=True,
    metavar="TRAIN,VAL,TEST",
    callback=parse_split,
    help="Fractions; the crops of one photo stay together.",
)
@click.option("--no-split", is_flag=True, help="One folder a class, without train, val and test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the split.")
@click.option("--source", help="The source column of index.csv.  [default: the name of --images]")
@click.option("--workers", type=int, help="Threads.  [default: one a core]")
@click.option("--overwrite", is_flag=True, help="Replace crops in --out that were made with other settings.")
def crop(
    annotations: Path,
    images: Path,
    out: Path,
    class_map: Path | None,
    margin: float,
    min_size: int,
    split: dict[str, float],
    no_split: bool,
    seed: int,
    source: str | None,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Cut the objects of COCO annotations out of their photos.

    They land in one folder a class, below train, val and test. Interrupted, the same command goes on where it
    stopped. Beside the crops, index.csv tells where each comes from, and left_out.csv why an annotation gave none.
    """
    from wisp.data.coco import read_class_map, read_coco
    from wisp.data.crops import crop_objects
    from wisp.data.photo_store import open_store

    report = crop_objects(
        read_coco(read_input(annotations), str(annotations)),
        open_store(images),
        out,
        class_map=None if class_map is None else read_class_map(read_input(class_map), str(class_map)),
        margin=margin,
        min_size=min_size,
        split=None if no_split else split,
        seed=seed,
        source=images.stem if source is None else source,
        workers=workers,
        overwrite=overwrite,
    )
    print_crops(report, out)


def read_input(path: Path) -> bytes:
    """The bytes of a file that an option names."""
    from wisp.errors import DataError

    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def print_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """A table of photos: a row a class, a column a split."""
    labels = sorted({label for of_class in counts.values() for label in of_class})
    rows = [[label, *(of_class.get(label, 0) for of_class in counts.values())] for label in labels]
    rows.append(["total", *(sum(of_class.values()) for of_class in counts.values())])
    width = max(columns.width(str(row[0])) for row in rows)
    click.echo(" " * width + "".join(f"{split or 'photos':>8}" for split in counts))
    for name, *numbers in rows:
        click.echo(columns.pad(str(name), width) + "".join(f"{number:>8,}" for number in numbers))


def print_crops(report: CropReport, out: Path) -> None:
    """What came of the annotations: the table, then all that was left out."""
    from wisp.data.crop_folder import LEFT_OUT_FILE

    print_counts(report.counts)
    click.echo(
        f"{out}: {report.total:,} crops ({report.written:,} new, {report.clipped:,} cut at their photo's edge)"
    )
    if report.left_out:
        click.echo(f"left out: {len(report.left_out):,} annotations ({out / LEFT_OUT_FILE})")
        for reason, count in report.reasons().items():
            click.echo(f"  {count:>6,}  {reason}")
    unmapped = report.unmapped()
    if unmapped:
        click.echo(
            "not in the class map: " + ", ".join(f"{name} ({count:,})" for name, count in unmapped.items())
        )
    print_some(report.photo_problems)
    splits = [split for split in report.counts if split]
    for label in sorted({label for of_class in report.counts.values() for label in of_class}):
        without = [split for split in splits if label not in report.counts[split]]
        if without:
            click.echo(
                f"warning: no crop of {label} in {' and '.join(without)}: too few photos of it", err=True
            )


def print_some(lines: Iterable[str]) -> None:
    """The first lines of a list of troubles, on stderr, and how many more there are."""
    lines = list(lines)
    for line in lines[:_LISTED]:
        click.echo(f"warning: {line}", err=True)
    if len(lines) > _LISTED:
        click.echo(f"warning: ... and {len(lines) - _LISTED:,} more", err=True)
