"""`wisp export`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from wisp.errors import DataError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The file to write.  [default: RUN/model.onnx]")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Photos to check the file with.  [default: those the run was trained on]",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out of the check.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(run: Path, out: Path | None, data: Path | None, *, skip_unreadable: bool, as_json: bool) -> None:
    """Write a run as one self-contained .onnx file and prove that it agrees.

    RUN is the folder of a finished `wisp train`. The file takes photos as uint8 pixels and gives probabilities; it
    is compared with torch on validation photos, and not written where the two differ.
    """
    from wisp.data.folders import load_dataset
    from wisp.runtime import Classifier
    from wisp.train.run import read_run
    from wisp.trials import export_run

    trained = read_run(run)
    root = data or Path(trained.data.get("root", ""))
    if data is None and not root.is_dir():
        raise DataError(
            f"{run}: the photos it was trained on are not at {root} any more; name their folder with --data"
        )
    dataset = load_dataset(root, needs=())
    path = out or trained.artifact
    parity = export_run(trained, dataset, path=path, skip_unreadable=skip_unreadable)
    info = Classifier(path).info
    size_bytes = path.stat().st_size
    if as_json:
        value = {
            "path": str(path),
            "size_bytes": size_bytes,
            "macs": info.macs,
            "macs_as_trained": info.macs_as_trained,
            "params": info.params,
            "labels": list(info.labels),
            "parity": dataclasses.asdict(parity),
        }
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    click.echo(
        f"{path}: {size_bytes:,} bytes, {len(info.labels)} classes, {info.resize.size} px, {info.macs:,} MACs "
        f"({info.macs_as_trained:,} as trained)"
    )
    click.echo(str(parity))
