"""`wisp macs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wisp.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from torch import nn

    from wisp.macs import MacsReport, ProgramReport

_IMAGE_SIZE = 64
_ROWS = 20  # elementwise operators and unknown ones that are listed


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
    "--counter",
    type=click.Choice(["official", "exact", "onnx", "all"]),
    help="Whose count.  [default: onnx for an .onnx file, else official]",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="Side of the image in pixels.  [default: the run's own; 64 for others]",
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
def macs(
    model: str, counter: str | None, image_size: int | None, num_classes: int | None, *, as_json: bool
) -> None:
    """Count a network's multiply-accumulates, layer by layer.

    MODEL is a name (mobilenet_v2-0.35: the number is a width, any works), an arch.json, a run folder, an .onnx file, or
    a Python file with a function build() that returns a torch module; that file is executed.

    The official count is the competition's: that of ptflops 0.6.5 with activations ignored, of the network as trained.
    The exact one sees every operator, and says what it cannot count. The onnx one is of the exported graph: the file,
    or the model.onnx in the run folder.
    """
    path = Path(model)
    artifact = path / "model.onnx" if path.is_dir() else path if path.suffix == ".onnx" else None
    counter = counter or ("onnx" if path.suffix == ".onnx" else "official")
    head: dict[str, Any] = {"model": model}
    reports: dict[str, MacsReport] = {}
    if path.suffix == ".onnx":
        if counter in {"official", "exact"}:
            raise RecipeError(
                f"--counter {counter}: {path} is an exported graph, and only --counter onnx can read it"
            )
        if num_classes is not None:
            raise RecipeError(f"--num-classes: {path} has its own classes; leave the option out")
        head["image_size"] = image_size
    elif counter != "onnx":
        image_size = image_size or _own_size(path) or _IMAGE_SIZE
        network, classes = _network(model, num_classes)
        head |= {"image_size": image_size, **({} if classes is None else {"num_classes": classes})}
        reports |= _counted(network, counter, image_size)
    if counter in {"onnx", "all"} and artifact is not None and (artifact.exists() or counter == "onnx"):
        from wisp.macs import count_onnx

        reports["onnx"] = count_onnx(artifact, image_size)
    if not reports:
        raise ModelError(f"{model}: no exported graph; give an .onnx file, or a run folder with a model.onnx")
    if counter == "all":
        _show_all(head, reports, as_json=as_json)
    elif as_json:
        click.echo(json.dumps({**head, "counter": counter, **reports[counter].to_json()}, indent=2))
    else:
        click.echo(_table(reports[counter]))


def _own_size(path: Path) -> int | None:
    """The size of the images that the run in `path` was trained for; None where there is no recipe."""
    recipe = path / "recipe.toml"
    if not recipe.is_file():
        return None
    from wisp.train.recipe import Recipe

    return Recipe.load(recipe).image_size


def _network(model: str, num_classes: int | None) -> tuple[nn.Module, int | None]:
    """The network that MODEL names, and its classes where they are known."""
    from wisp.models import build, load_source, resolve

    if Path(model).suffix == ".py":
        if num_classes is not None:
            raise RecipeError(f"--num-classes: build() in {model} decides; leave the option out")
        return load_source(Path(model)), None
    if (Path(model) / "model.py").is_file():
        from wisp.train.run import read_run

        if num_classes is not None:
            raise RecipeError(f"--num-classes: {model} has its own classes; leave the option out")
        arch = read_run(Path(model)).arch
        return build(arch), arch.num_classes
    spec = resolve(model, num_classes)
    return build(spec), spec.num_classes


def _counted(network: nn.Module, counter: str, image_size: int) -> dict[str, MacsReport]:
    from wisp.macs import count_exact, count_macs

    reports: dict[str, MacsReport] = {}
    if counter in {"official", "all"}:
        reports["official"] = count_macs(network, image_size)
    if counter in {"exact", "all"}:
        reports["exact"] = count_exact(network, image_size)
    return reports


def _show_all(head: dict[str, Any], reports: dict[str, MacsReport], *, as_json: bool) -> None:
    """All counts side by side, and why the official one and the exact one differ."""
    from wisp.macs import ProgramReport, differences

    exact = reports.get("exact")
    items = differences(reports["official"], exact) if isinstance(exact, ProgramReport) else ()
    if as_json:
        because = [{"cause": item.cause, "macs": item.macs} for item in items]
        counts = {name: report.to_json() for name, report in reports.items()}
        click.echo(
            json.dumps({**head, "counter": "all", **counts, "official_minus_exact": because}, indent=2)
        )
        return
    rows = [("counter", "MACs", "elementwise", "complete")]
    for name, report in reports.items():
        more = ("-", "-")
        if isinstance(report, ProgramReport):
            more = (f"{report.elementwise:,}", "yes" if report.complete else "NO")
        rows.append((name, f"{report.total:,}", *more))
    lines = _aligned(rows, left=1)
    if items:
        lines += ["", "official - exact"]
        lines += _aligned([(item.cause, f"{item.macs:+,}") for item in items], left=1)
    for report in reports.values():
        if isinstance(report, ProgramReport):
            lines += _unknown(report)
    click.echo("\n".join(lines))


def _table(report: MacsReport) -> str:
    from wisp.macs import ProgramReport

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
    lines = _aligned(rows, left=2)
    rule = "-" * len(lines[0])
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    if report.uncounted:
        kinds = ", ".join(f"{kind} ({number})" for kind, number in report.uncounted.items())
        lines.append(f"counted as zero, as the competition's counter does: {kinds}")
    if isinstance(report, ProgramReport):
        lines += _elementwise(report) + _unknown(report)
    return "\n".join(lines)


def _elementwise(report: ProgramReport) -> list[str]:
    """Work on single values, by operator."""
    if not report.elementwise:
        return []
    totals: dict[str, int] = {}
    for row in report.operators:
        totals[row.operator] = totals.get(row.operator, 0) + row.elementwise
    largest = sorted(((count, name) for name, count in totals.items() if count), reverse=True)
    listed = ", ".join(f"{name} {count:,}" for count, name in largest[:_ROWS])
    return [
        f"besides, on single values: {report.elementwise:,} ({listed}{', ...' if len(largest) > _ROWS else ''})"
    ]


def _unknown(report: ProgramReport) -> list[str]:
    """What makes a count incomplete, a line each."""
    if report.complete:
        return []
    lines = ["INCOMPLETE: the total is a lower bound"]
    for item in report.unknown[:_ROWS]:
        where = ", ".join(part for part in (item.layer, item.source) if part)
        lines.append(f"  {item.operator}{f' ({where})' if where else ''}: {item.reason}")
    if len(report.unknown) > _ROWS:
        lines.append(f"  ... and {len(report.unknown) - _ROWS} more")
    return lines


def _aligned(rows: Sequence[tuple[str, ...]], *, left: int) -> list[str]:
    """The rows as lines; the first `left` columns are text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column >= left else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
