"""`wisp classify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wisp.cli import columns


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A model.onnx, the run folder it lies in, or the name of a shipped model (see `wisp zoo`).  "
    "[default: waste9-1m]",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Name the K most probable classes of each photo.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects instead of a table.")
def classify(photos: tuple[Path, ...], model: Path | None, top: int, as_json: bool) -> int:
    """Say what is on one or more photos.

    PHOTOS are image files; of a folder, every photo in it counts. A photo that cannot be read is reported on stderr,
    the others are still classified, and the exit code is then 2.
    """
    from wisp.errors import DataError
    from wisp.runtime import Classifier
    from wisp.runtime.answers import find_photos
    from wisp.zoo import find_model

    classifier = Classifier(find_model(model))
    files: list[Path] = []
    unreadable = 0
    for photo in photos:
        try:
            files.extend(find_photos(photo) if photo.is_dir() else [photo])
        except DataError as error:
            click.echo(f"wisp: {error}", err=True)
            unreadable += 1
    names = [click.format_filename(file) for file in files]
    name_width = max(map(columns.width, names), default=0)
    label_width = max(map(columns.width, classifier.labels))
    objects = []
    for name, result in zip(names, classifier.classify_many(files), strict=True):
        if isinstance(result, DataError):
            click.echo(f"wisp: {result}", err=True)
            unreadable += 1
            continue
        best = result.top(top)
        if as_json:
            objects.append(
                {
                    "file": name,
                    "label": result.label,
                    "probability": round(result.probability, 6),
                    "probabilities": {label: round(probability, 6) for label, probability in best},
                }
            )
            continue
        for rank, (label, probability) in enumerate(best):
            shown = name if rank == 0 else ""
            click.echo(
                f"{columns.pad(shown, name_width)}  {columns.pad(label, label_width)}  {probability:6.1%}"
            )
    if as_json:
        click.echo(json.dumps(objects, indent=2, ensure_ascii=False))
    return 2 if unreadable else 0
