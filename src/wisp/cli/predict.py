"""`wisp predict`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The submission file to write (JSON or .csv).",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave photos out that cannot be read, and list them.")
def predict(model: Path, folder: Path, out: Path, skip_unreadable: bool) -> None:
    """Classify a folder and write the competition's submission file.

    MODEL is a model.onnx, the run folder it lies in, or a name from `wisp zoo`; every photo in FOLDER and its
    subfolders is classified. The file holds {"macs": ..., "submission": {"file name": "Class"}}; with --out FILE.csv, a
    line a photo.
    """
    from wisp.errors import DataError
    from wisp.runtime import Classifier
    from wisp.runtime.answers import find_photos, predict_photos, write_answers
    from wisp.zoo import find_model

    if out.is_dir():
        raise DataError(f"{out}: is a folder; --out names the submission file to write")
    classifier = Classifier(find_model(model))
    photos = find_photos(folder)
    # click's bar, not tqdm: this verb works without the training extra.
    shown = sys.stderr.isatty()
    with (
        click.progressbar(length=len(photos), label="predict", file=sys.stderr)
        if shown
        else nullcontext() as bar
    ):
        submission = predict_photos(
            classifier,
            photos,
            skip_unreadable=skip_unreadable,
            on_photo=(lambda: bar.update(1)) if bar else (lambda: None),
        )
    for path, reason in submission.skipped:
        click.echo(f"wisp: {path}: {reason}; left out", err=True)
    write_answers(out, submission)
    click.echo(f"{out}: {len(submission.answers)} photos, {submission.macs:,} MACs each")
