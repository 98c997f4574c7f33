"""`wisp macs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wisp.macs import MacsReport


def _list_models(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Print every name and stop: an eager option, since MODEL is not needed with it."""
    if not value or context.resilient_parsing:
        return
    from wisp.models import names, pretrained_names

    published = set(pretrained_names())
    for name in names():
        click.echo(f"{name}  (ImageNet weights)" if name in published else name)
    context.exit()


@click.command()
@click.argument("model")
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Side of the image in pixels.",
)
@click.option(
    "--num-classes",
    type=click.IntRange(min=2),
    help="Classes of the network.  [default: the file's own; 9 for a name]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_models,
    help="List the names of networks and exit.",
)
def macs(model: str, image_size: int, num_classes: int | None, *, as_json: bool) -> None:
    """Count a network's multiply-accumulates, layer by layer.

    MODEL is a name (mobilenet_v2-0.35: the number is a width, any works), an arch.json, or a run folder. The count is
    the competition's: that of ptflops 0.6.5 with activations ignored, of the network as trained.
    """
    from wisp.macs import count_macs
    from wisp.models import build, resolve

    spec = resolve(model, num_classes)
    report = count_macs(build(spec), image_size)
    if as_json:
        head = {"model": model, "image_size": image_size, "num_classes": spec.num_classes}
        click.echo(json.dumps({**head, **report.to_json()}, indent=2))
    else:
        click.echo(_table(report))


def _table(report: MacsReport) -> str:
    rows = [("layer", "kind", "output", "MACs", "params")]
    rows += [
        (
            layer.name,
            layer.kind,
            "-" if layer.output_shape is None else " x ".join(map(str, layer.output_shape)),
            f"{layer.macs:,}",
            f"{layer.params:,}",
        )
        for layer in report.layers
    ]
    rows.append(("total", "", "", f"{report.total:,}", f"{report.params:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column >= 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    text = "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
    if report.uncounted:
        kinds = ", ".join(f"{kind} ({number})" for kind, number in report.uncounted.items())
        text += f"\ncounted as zero, as the competition's counter does: {kinds}"
    return text
