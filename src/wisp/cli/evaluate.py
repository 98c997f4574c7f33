"""`wisp evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wisp.cli import columns
from wisp.cli.baseline import baseline_options
from wisp.score import Baseline

if TYPE_CHECKING:
    from wisp.evaluation import Evaluation


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which photos: train, val or test.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for confusion.png and evaluation.json.")
@click.option("--latency", is_flag=True, help="Also time the model on this machine, one image at a time.")
@baseline_options
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
def evaluate(
    model: Path,
    data: Path,
    split: str,
    out: Path | None,
    baseline: Baseline,
    *,
    as_json: bool,
    latency: bool,
    skip_unreadable: bool,
) -> None:
    """Measure a model on a labelled split: macro F1, MACs, score.

    MODEL is a model.onnx, the run folder it lies in, or a name from `wisp zoo`. DATA has train/, val/ and test/ with
    one folder a class, or one folder a class. Classes are matched by name.
    """
    from wisp.data.folders import load_dataset
    from wisp.data.overlap import learnt_photos, overlap_note
    from wisp.evaluation import evaluate as measure
    from wisp.files import write_json
    from wisp.macs import count_onnx
    from wisp.runtime import Classifier
    from wisp.zoo import find_model

    classifier = Classifier(find_model(model))
    dataset = load_dataset(data, needs=())
    result = measure(classifier, dataset, split, baseline=baseline, skip_unreadable=skip_unreadable)
    result = result.with_recount(count_onnx(classifier.path))
    if latency:
        from wisp.bench import measure_latency

        result = result.with_latency(measure_latency(classifier))
    if out is not None:
        from wisp.report.confusion import draw_confusion

        title = f"{data.resolve().name} {split}: macro F1 {result.f1_macro:.4f}"
        draw_confusion(result.confusion, result.classes, out / "confusion.png", title=title)
        write_json(out / "evaluation.json", result.to_json())
    if result.macs_doubt is not None:
        click.echo(
            f"wisp: {classifier.path}: {result.macs_doubt}; export the run again, and read no score here",
            err=True,
        )
    note = overlap_note(learnt_photos(classifier.path.parent, dataset.split(split)), result.n_images)
    if note is not None:
        click.echo(f"wisp: {classifier.path}: {note}", err=True)
    start = _start(classifier.path)
    if as_json:
        values = {**result.to_json(), "init": start}
        click.echo(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(_table(result, start, data, out and out / "confusion.png"))


def _start(path: Path) -> str | None:
    """What the model's training began with, as its run or its card says; None where neither is there."""
    from wisp import strict_json
    from wisp.models.starts import PRETRAINED, SCRATCH, name_start
    from wisp.train.run import DATA
    from wisp.zoo import shipped_models

    for shipped in shipped_models():
        if shipped.path == path:
            return PRETRAINED if shipped.card.training["pretrained"] else SCRATCH
    try:
        described = strict_json.loads((path.parent / DATA).read_bytes())
    except (OSError, strict_json.StrictJsonError):
        return None
    if not isinstance(described, dict) or "classes" not in described:
        return None
    began = described.get("pretrained")
    return name_start(None if began is None else str(began))


def _table(result: Evaluation, start: str | None, data: Path, picture: Path | None) -> str:
    skipped = f" ({result.n_skipped} unreadable left out)" if result.n_skipped else ""
    width = max(12, *(columns.width(row.name) for row in result.per_class))
    lines = [
        f"{data}, {result.split}: {result.n_images:,} {result.pictures}{skipped}",
        "",
        f"{'class':<{width}}  precision  recall      F1  photos",
    ]
    for row in result.per_class:
        name = columns.pad(row.name, width)
        lines.append(f"{name}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:6.3f}  {row.support:6,}")
    low, high = result.f1_ci95
    baseline = f"F1 {result.baseline.f1:g}, {result.baseline.macs:,.0f} MACs"
    if result.preset:
        baseline = f"{result.preset}: {baseline}"
    rows = [
        ("macro F1", f"{result.f1_macro:.4f}  (95% interval {low:.4f} to {high:.4f})"),
        ("accuracy", f"{result.accuracy:.4f}"),
        ("calibration error", f"{result.calibration_error:.4f}"),
        ("MACs", f"{result.macs:,}  ({result.macs_as_trained:,} as trained, before BatchNorm was folded)"),
        ("MACs of the graph", f"{result.macs_graph:,}  (exact: without biases, batch norms and pooling)"),
        ("parameters", f"{result.params:,}"),
    ]
    if start is not None:
        rows.append(("trained from", start))
    if result.size_bytes is not None:
        rows.append(("file size", f"{result.size_bytes:,} bytes"))
    if result.latency_p50_ms is not None:
        rows.append(
            (
                "latency",
                f"{result.latency_p50_ms:.3f} ms median, {result.latency_p99_ms:.3f} ms p99  "
                f"({result.device}, one thread)",
            )
        )
    rows.append(("score", f"{result.score:.4f}  (smaller is better; {baseline})"))
    rows += [
        (
            f"part {name}",
            f"macro F1 {part.f1_macro:.4f} on {part.n_images:,} photos of {', '.join(part.classes)}",
        )
        for name, part in result.parts.items()
    ]
    if picture is not None:
        rows.append(("confusion matrix", str(picture)))
    margin = max(17, *(columns.width(name) for name, _ in rows))
    return "\n".join([*lines, "", *(f"{columns.pad(name, margin)}  {value}" for name, value in rows)])
