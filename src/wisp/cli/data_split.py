"""`wisp data split`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another division.")
@click.option(
    "--copy", is_flag=True, help="Copy the photos instead of linking to the same bytes (hard links)."
)
def split(data: Path, out: Path, seed: int, copy: bool) -> None:
    """Divide one folder a class into train, val and test folders.

    The division is the one that training makes by itself: stratified by class, with near duplicates on one side.
    Writing it out fixes it, shows it, and lets other tools use it.
    """
    from wisp.data.folder_writer import write_folders
    from wisp.data.folders import load_dataset

    dataset = load_dataset(data, seed=seed)
    write_folders(dataset, out, copy=copy)
    for name, samples in dataset.splits.items():
        click.echo(f"{name:<11} {len(samples):>7,} photos")
    click.echo(f"written to {out}")
