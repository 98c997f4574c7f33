"""The page of several runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wisp.comparison import Compared, Comparison
from wisp.files import write_text
from wisp.models import ArchSpec
from wisp.report.curves import Line, curves_chart, key_of
from wisp.report.document import Section, document, section
from wisp.report.front import front_chart
from wisp.report.markup import Markup, element, name
from wisp.report.tables import interval_cell, number_cell, table
from wisp.search.candidate import Candidate, Trial
from wisp.search.selection import choose


def write_comparison(comparison: Comparison, path: Path, *, version: str) -> None:
    """Write the page to `path`, whole or not at all. It loads nothing, from the network or from other files."""
    write_text(path, render(comparison, version=version))


def render(comparison: Comparison, *, version: str) -> str:
    """The page as HTML."""
    first = comparison.runs[0]
    summary = (
        f"{len(comparison.runs)} runs on the {first.evaluation.n_images:,} {first.evaluation.pictures} of "
        f"{comparison.split}."
    )
    label = f"{comparison.data_name}: {len(comparison.runs)} runs compared"
    return document(label, summary, _sections(comparison), version)


def _sections(comparison: Comparison) -> Iterator[Section]:
    yield section("runs", "The runs", _runs_table(comparison), _caption(comparison))
    groups = [group for group in comparison.groups() if len(group.runs) > 1]
    if groups:
        rows = [
            [
                element("th", ", ".join(map(str, group.numbers)), scope="row"),
                ", ".join(map(str, group.seeds)),
                number_cell(group.f1_mean),
                number_cell(None if math.isnan(group.f1_sd) else group.f1_sd),
            ]
            for group in groups
        ]
        head = ["runs that differ in their seed alone", "seeds", "mean F1", "standard deviation"]
        yield section("seeds", "Over seeds", table(head, rows, label="Over seeds", class_="numbers"))
    trials = [trial for compared in comparison.runs if (trial := _trial(compared))]
    if trials:
        baseline = comparison.runs[0].evaluation.baseline
        chart = front_chart(
            trials, choose(trials), baseline, split=comparison.split, chosen_as="the best score of these runs"
        )
        yield section("front", "Accuracy against cost", chart)
    lines = [
        Line(number, compared.name, metrics)
        for number, compared in enumerate(comparison.runs, start=1)
        if (metrics := compared.run.metrics())
    ]
    charts = [
        curve
        for key, label in (("loss", "training loss"), ("f1_val", "macro F1 on validation"))
        if (curve := curves_chart(lines, key, label))
    ]
    if charts:
        yield section(
            "training", "Training", element("div", *charts, class_="charts"), key_of(lines), class_="curves"
        )
    yield section("classes", f"F1 of every class, on {comparison.split}", _classes_table(comparison))
    if comparison.settings:
        yield section("settings", "What differs", _settings_table(comparison))


def _caption(comparison: Comparison) -> Markup:
    told = (
        "Difference: macro F1 minus that of run 1, with a paired 95% interval over the same photos; one without 0 says "
        "that the two differ. It knows nothing of seeds: two trainings of one recipe differ too."
    )
    if comparison.split != "val":
        told += f" What is chosen with these figures is chosen on {comparison.split}: they will flatter it."
    for note in comparison.notes():
        told += f" {note[0].upper()}{note[1:]}."
    return element("p", told, class_="caption")


def _runs_table(comparison: Comparison) -> Markup:
    rows = []
    for number, compared in enumerate(comparison.runs, start=1):
        measured, recipe = compared.evaluation, compared.run.recipe
        rows.append(
            [
                number_cell(number),
                element("th", name(compared.name), scope="row"),
                number_cell(measured.f1_macro),
                interval_cell(measured.f1_ci95),
                element("td", "" if compared.difference is None else f"{compared.difference:+.4f}"),
                interval_cell(compared.difference_ci95, sign=True),
                number_cell(measured.macs),
                number_cell(measured.params),
                number_cell(measured.size_bytes),
                number_cell(measured.score),
                number_cell(recipe.image_size),
                number_cell(recipe.epochs),
                number_cell(recipe.seed),
            ]
        )
    # What decides stands first: a phone shows three columns and scrolls to the rest.
    head = ["#", "run", f"F1 {comparison.split}", "95%", "difference", "95%", "MACs", "params", "bytes"]
    return table([*head, "score", "px", "epochs", "seed"], rows, label="The runs", class_="numbers")


def _classes_table(comparison: Comparison) -> Markup:
    """F1 of every class in every run."""
    of_run = [{row.name: row for row in compared.evaluation.per_class} for compared in comparison.runs]
    rows = [
        [
            element("th", name(row.name), scope="row"),
            number_cell(row.support),
            *(number_cell(classes[row.name].f1 if row.name in classes else None) for classes in of_run),
        ]
        for row in comparison.runs[0].evaluation.per_class
    ]
    head = ["class", "photos", *(f"run {number}" for number in range(1, len(of_run) + 1))]
    return table(head, rows, label="F1 of every class", class_="numbers")


def _settings_table(comparison: Comparison) -> Markup:
    rows = [
        [element("th", field, scope="row"), *(element("td", str(value), class_="words") for value in values)]
        for field, values in comparison.settings.items()
    ]
    head = ["field", *(f"run {number}" for number in range(1, len(comparison.runs) + 1))]
    return table(head, rows, label="What differs", class_="numbers")


def _trial(compared: Compared) -> Trial | None:
    """The run as the chart takes it; None where its network is a source of its own."""
    run = compared.run
    if not isinstance(run.arch, ArchSpec):
        return None
    candidate = Candidate(compared.name, run.arch, run.recipe.image_size)
    return Trial(candidate, run.recipe.epochs, replace(compared.evaluation.measurement()), run.folder)
