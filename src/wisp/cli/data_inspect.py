"""`wisp data inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli import columns
from wisp.errors import DataError

if TYPE_CHECKING:
    from wisp.data.inspection import DuplicateGroup, Inspection, Spread

_LISTED = 20  # on the terminal; the JSON has all
_COLUMNS = 12  # photos of a class on the contact sheet


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("wisp-inspect"),
    show_default=True,
    help="Folder for inspection.json, contact_sheet.png and duplicates.png.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the division, where DATA has no splits."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def inspect(data: Path, out: Path, seed: int, as_json: bool) -> None:
    """What is in a folder of photos, and what will trouble a training on it.

    Counts classes, sizes and formats; lists unreadable files, exact and near duplicates, and shots that lie in
    more than one split; draws a contact sheet. Nothing in DATA is changed. Warnings do not change the exit code.
    """
    from wisp.data.contact_sheet import class_rows, write_contact_sheet
    from wisp.data.inspection import inspect_folder
    from wisp.files import write_json

    if out.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"--out {out}: inside {data}, where it would count as a class; name a folder elsewhere"
        )
    inspection, dataset = inspect_folder(data, seed=seed)
    write_contact_sheet(class_rows(dataset, _COLUMNS), out / "contact_sheet.png")
    written = ["inspection.json", "contact_sheet.png"]
    (out / "duplicates.png").unlink(missing_ok=True)  # of an earlier inspection
    if inspection.duplicates:
        paths = {sample.name: sample.path for samples in dataset.splits.values() for sample in samples}
        leaks_first = sorted(inspection.duplicates, key=lambda group: not group.leaks)
        rows = [
            (_describe(group), [paths[photo.name] for photo in group.photos[:_COLUMNS]])
            for group in leaks_first
        ]
        write_contact_sheet(rows, out / "duplicates.png")
        written.append("duplicates.png")
    write_json(out / "inspection.json", inspection.to_json())
    if as_json:
        click.echo(json.dumps(inspection.to_json(), indent=2, ensure_ascii=False))
        return
    _print(inspection)
    click.echo(f"\nwritten to {out}: {', '.join(written)}")


def _print(inspection: Inspection) -> None:
    how = "train/val/test folders" if inspection.is_split else "one folder a class, divided by wisp"
    click.echo(
        f"{inspection.root}: {inspection.n_images:,} photos, {len(inspection.classes)} classes ({how})\n"
    )
    click.echo(_table(inspection))
    click.echo()
    if inspection.imbalance is not None:
        click.echo(f"imbalance     {inspection.imbalance:.1f} : 1 (largest to smallest class of train)")
    for title, spread in (
        ("width", inspection.widths),
        ("height", inspection.heights),
        ("aspect ratio", inspection.aspect_ratios),
    ):
        if spread is not None:
            click.echo(f"{title:<13} {_line(spread)}")
    formats = ", ".join(f"{name} {count:,}" for name, count in inspection.formats.items())
    click.echo(f"formats       {formats or 'none readable'}")
    exact = sum(group.kind == "exact" for group in inspection.duplicates)
    click.echo(
        f"duplicates    {exact} exact and {len(inspection.duplicates) - exact} near groups, "
        f"{len(inspection.leaks)} across splits"
    )
    _list("unreadable files", [f"{name}: {reason}" for name, reason in inspection.unreadable.items()])
    _list("leakage: one shot in more than one split", [_describe(group) for group in inspection.leaks])
    _list(
        "one shot with more than one label",
        [_describe(group) for group in inspection.duplicates if group.contradicts],
    )
    if inspection.warnings:
        click.echo("\nwarnings")
        for warning in inspection.warnings:
            click.echo(f"  ! {warning}")


def _line(spread: Spread) -> str:
    return (
        f"min {spread.minimum:g}, 5% {spread.q05:.4g}, median {spread.median:.4g}, "
        f"95% {spread.q95:.4g}, max {spread.maximum:g}"
    )


def _list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    click.echo(f"\n{title} ({len(lines)})")
    for line in lines[:_LISTED]:
        click.echo(f"  {line}")
    if len(lines) > _LISTED:
        click.echo(f"  ... and {len(lines) - _LISTED} more in inspection.json")


def _describe(group: DuplicateGroup) -> str:
    return f"{group.kind}: " + " = ".join(
        photo.name if photo.name.startswith(f"{photo.split}/") else f"{photo.name} [{photo.split}]"
        for photo in group.photos
    )


def _table(inspection: Inspection) -> str:
    """Photos of each class and split, columns aligned also for names in wide letters."""
    splits = list(inspection.counts)
    names = [*inspection.classes, *([""] if "" in inspection.counts.get("unlabelled", {}) else [])]
    shown = {name: name or "(unlabelled)" for name in names}
    width = max(map(columns.width, [*shown.values(), "class", "total"]))
    lines = [columns.pad("class", width) + "".join(f"{split:>12}" for split in splits)]
    for name in names:
        counts = (inspection.counts[split].get(name) for split in splits)
        lines.append(
            columns.pad(shown[name], width) + "".join(f"{'-' if n is None else f'{n:,}':>12}" for n in counts)
        )
    totals = (sum(inspection.counts[split].values()) for split in splits)
    lines.append(columns.pad("total", width) + "".join(f"{n:>12,}" for n in totals))
    return "\n".join(lines)
