"""`wisp compress`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wisp.cli import columns
from wisp.errors import DataError, InputError

if TYPE_CHECKING:
    from wisp.compress import Change
    from wisp.compression import Compressed

_ROWS = 40  # layers that are listed


@click.command()
@click.argument("model")
@click.option(
    "--method",
    type=click.Choice(["fuse", "prune", "lowrank"]),
    required=True,
    help="Fuse layers, remove channels, or factor layers.",
)
@click.option("--max-macs", type=click.IntRange(min=1), help="The most MACs, by every counter.")
@click.option("--ratio", type=float, help="Instead: the share of the MACs that is to stay, such as 0.5.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Photos, to measure F1, to weigh channels and to fine-tune.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder to write.  [default: none]")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Weights of a MODEL that is no run.  [default: model.safetensors beside it]",
)
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the run's, else 64]")
@click.option("--num-classes", type=click.IntRange(min=2), help="Classes of a MODEL that is no run.")
@click.option(
    "--importance",
    type=click.Choice(["taylor", "magnitude", "batchnorm"]),
    help="What says how much a channel matters.  [default: taylor with --data, else magnitude]",
)
@click.option("--steps", type=click.IntRange(min=1), help="Prune and fine-tune so often.  [default: 1]")
@click.option(
    "--least-share",
    type=click.FloatRange(0.0, 1.0),
    help="The share of each layer's channels that stays in any case.  [default: 0.1]",
)
@click.option(
    "--ranks",
    type=click.Choice(["variational"]),
    help="Of lowrank, in place of a target: the ranks that stand out of the noise; for large networks.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    help="Epochs of fine-tuning, 0 for none.  [default: a fourth of the recipe's]",
)
@click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path), help="A TOML recipe.  [default: the run's]"
)
@click.option("--resume", is_flag=True, help="Go on with the fine-tuning in --out.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="Where to train.  [default: CUDA where there is one]"
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compress(
    model: str,
    data: Path | None,
    out: Path | None,
    weights: Path | None,
    image_size: int | None,
    num_classes: int | None,
    recipe_file: Path | None,
    device: str | None,
    threads: int,
    *,
    resume: bool,
    overwrite: bool,
    skip_unreadable: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Make a trained model smaller: fuse, prune or factor its layers.

    MODEL is a run folder, an arch.json or a Python file with build() and its weights, or a network's name with
    --weights. With --data the smaller network is fine-tuned, taught by the original, and F1 is measured before and
    after. Without --out nothing is written: the numbers are a preview.
    """
    import torch

    from wisp.compression import Options, read_subject
    from wisp.compression import compress as run_compression
    from wisp.data.folders import load_dataset
    from wisp.train.distributed import processes
    from wisp.train.recipe import Recipe
    from wisp.train.run import CHECKPOINT

    options = Options(**wishes)
    if resume and overwrite:
        raise InputError("--resume and --overwrite: give one of them")
    if (resume or overwrite) and out is None:
        raise InputError("--resume and --overwrite need --out")
    if data is not None and out is not None and out.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"--out {out}: inside {data}, where it would count as a class; name a folder elsewhere"
        )
    torch.set_num_threads(threads)
    subject = read_subject(model, weights=weights, image_size=image_size, num_classes=num_classes)
    with processes(device) as procs:
        if procs.world > 1:
            raise InputError("wisp compress runs in one process; start it without torchrun")
        try:
            result = run_compression(
                subject,
                options,
                dataset=None if data is None else load_dataset(data),
                recipe=None if recipe_file is None else Recipe.load(recipe_file),
                out=out,
                procs=procs,
                resume=resume,
                overwrite=overwrite,
                skip_unreadable=skip_unreadable,
            )
        except KeyboardInterrupt:
            if out is not None and any(
                (folder / CHECKPOINT).is_file() for folder in (out, *out.parent.glob(f"{out.name}.steps/*"))
            ):
                click.echo(f"{out}: saved; go on with --resume", err=True)
            raise
    if as_json:
        click.echo(json.dumps(result.change.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo("\n".join(_lines(result, out)))


def _lines(result: Compressed, out: Path | None) -> list[str]:
    change = result.change
    lines = _layers(change)
    rows = [("", "before", "after", "")]
    for counter, before in change.macs_before.items():
        rows.append((f"MACs, {counter}", *_pair(before, change.macs_after[counter])))
    rows.append(("parameters", *_pair(change.params_before, change.params_after)))
    if change.f1_before is not None and change.f1_after is not None:
        moved = f"{change.f1_after - change.f1_before:+.4f}"
        rows.append(("validation macro F1", f"{change.f1_before:.4f}", f"{change.f1_after:.4f}", moved))
    lines += ["", *_aligned(rows, left=1)]
    if change.max_macs is not None:
        lines.append(f"target: {change.max_macs:,} MACs: {'reached' if change.reached else 'NOT reached'}")
    lines += [f"note: {note}" for note in change.notes]
    if result.run is not None:
        folder, artifact = result.run.folder, result.run.artifact
        more = (
            f"exported as {artifact}"
            if artifact.is_file()
            else f"next: wisp export {shlex.quote(str(folder))}"
        )
        lines.append(f"{folder}: a run like any other; {more}")
    elif out is not None:
        lines.append(f"{out}: the network and its weights")
    return lines


def _layers(change: Change) -> list[str]:
    """The layers that changed, the largest savings where there are too many."""
    layers = change.layers
    if not layers:
        return ["no layer has changed"]
    if len(layers) > _ROWS:
        order = sorted(layers, key=lambda layer: layer.macs_after - layer.macs_before)[:_ROWS]
        chosen = {layer.name for layer in order}
        layers = tuple(layer for layer in layers if layer.name in chosen)
    rows = [("layer", "kind", "before", "after", "MACs", "MACs after")]
    rows += [
        (layer.name, layer.kind, layer.before, layer.after, f"{layer.macs_before:,}", f"{layer.macs_after:,}")
        for layer in layers
    ]
    lines = _aligned(rows, left=4)
    if len(layers) < len(change.layers):
        lines.append(f"... and {len(change.layers) - len(layers)} more that save less")
    return lines


def _pair(before: int, after: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{after:,}", f"{after / before - 1:+.1%}" if before else ""


def _aligned(rows: Sequence[tuple[str, ...]], *, left: int) -> list[str]:
    """The rows as lines; the first `left` columns are text, the others numbers."""
    widths = [max(map(columns.width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column >= left else columns.pad(cell, width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
