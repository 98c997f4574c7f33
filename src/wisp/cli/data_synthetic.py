"""`wisp data synthetic`: render the embedded data set."""

from __future__ import annotations

from pathlib import Path

import click

CROPS, SCENES = 1800, 100


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make; new or empty.")
@click.option(
    "--images",
    type=int,
    help=f"How many pictures (at least 27 crops).  [default: {CROPS}; with --coco {SCENES}]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same pictures.")
@click.option(
    "--coco", is_flag=True, help="Whole scenes with COCO annotations instead of crops in class folders."
)
@click.option(
    "--if-missing", is_flag=True, help="Keep OUT where it already holds a set made with these settings."
)
@click.option("--workers", type=int, help="Processes to render with.  [default: one a processor]")
def synthetic(
    out: Path, images: int | None, seed: int, coco: bool, if_missing: bool, workers: int | None
) -> None:
    """Render a labelled synthetic data set, for demos and tests.

    Nine classes of waste on cluttered grounds, imbalanced as in real collections, split into train, val and test.
    These are renderings, not photographs: the folder, every file and the annotations say so.
    """
    from wisp.data.synthetic import render_dataset

    if images is None:
        images = SCENES if coco else CROPS
    made = render_dataset(
        out,
        images=images,
        seed=seed,
        kind="scenes" if coco else "crops",
        if_missing=if_missing,
        workers=workers,
    )
    parts = ", ".join(f"{name} {sum(classes.values()):,}" for name, classes in made.counts.items())
    verb = "Kept" if made.reused else "Rendered"
    click.echo(
        f"{verb} {made.images:,} synthetic {'scenes' if coco else 'pictures'} in {out} ({parts}; seed {made.seed})."
    )
    click.echo("They are renderings, not photographs: label whatever you report on them as synthetic.")
