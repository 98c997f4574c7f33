"""The tables of the page. Numbers are shown as they were measured: counts in full, ratios with four digits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wisp.data.inspection import Inspection
from wisp.evaluation import MIN_PART_SUPPORT, Evaluation
from wisp.records import UNLABELLED
from wisp.report.markup import Markup, element, joined, name
from wisp.report.photos import pair_strip
from wisp.search.candidate import Trial
from wisp.search.selection import pareto_front

MATRIX_CLASSES = (
    50  # beyond so many, a matrix is too big to read (and to load); the list of confusions remains
)
_LISTED_CONFUSIONS = 8
_DASH = "\N{EN DASH}"
_STRONG = 0.6  # share from which a cell is so dark that its number must be light


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    label: str,
    class_: str = "",
    marked: int | None = None,
) -> Markup:
    """A table that scrolls sideways where the page is narrow.

    Args:
        head: the column names.
        rows: cells; those that are finished `<td>` or `<th>` elements stay so, others become cells.
        label: what it shows, for people who cannot see it.
        class_: of the table.
        marked: index of a row to stand out.
    """
    body = (
        element("tr", *(_cell(cell) for cell in row), class_="marked" if index == marked else None)
        for index, row in enumerate(rows)
    )
    header = element("tr", *(element("th", column, scope="col") for column in head))
    return _scrolling(
        element("table", element("thead", header), element("tbody", *body), class_=class_ or None), label
    )


def candidates_table(trials: Sequence[Trial], chosen: Trial, seconds: Sequence[float | None]) -> Markup:
    """All trials, numbered as in the charts.

    Args:
        trials: in the order of their numbers.
        chosen: the one to mark.
        seconds: how long each was trained; None where that is not known.
    """
    front = pareto_front(trials)
    timed = any(value is not None for value in seconds)
    rows = []
    for number, (trial, duration) in enumerate(zip(trials, seconds, strict=True), start=1):
        measured = trial.measurement
        marks = joined(
            element("span", mark, class_="mark")
            for mark, shown in (
                ("chosen", trial == chosen),
                ("front", trial in front),
                ("taught", trial.teacher is not None),
            )
            if shown
        )
        cells = [
            number_cell(number),
            element("th", name(trial.candidate.name), marks, scope="row"),
            number_cell(measured.f1_macro),
            interval_cell(measured.f1_ci95),
            number_cell(measured.macs),
            number_cell(measured.score),
            number_cell(measured.params),
            number_cell(measured.size_bytes),
            number_cell(measured.latency_p50_ms, digits=3),
            number_cell(trial.candidate.image_size),
            number_cell(trial.epochs),
            *([number_cell(duration, digits=0)] if timed else []),
        ]
        rows.append(cells)
    # what decides stands first: a phone shows few columns at once
    head = ["#", "network", "F1 val", "95%", "MACs", "score", "params", "bytes", "latency ms", "px", "epochs"]
    return table(
        [*head, *(["training s"] if timed else [])],
        rows,
        label="All candidates",
        class_="numbers",
        marked=trials.index(chosen),
    )


def splits_table(evaluations: Sequence[Evaluation]) -> Markup:
    """The chosen model on each split that it was measured on."""
    rows = [
        [
            element("th", result.split, scope="row"),
            number_cell(result.n_images),
            number_cell(result.f1_macro),
            interval_cell(result.f1_ci95),
            number_cell(result.accuracy),
            number_cell(result.calibration_error),
            number_cell(result.score),
        ]
        for result in evaluations
    ]
    head = ["split", "photos", "macro F1", "95%", "accuracy", "calibration error", "score"]
    return table(head, rows, label="The chosen model on each split", class_="numbers")


def confusion_table(evaluation: Evaluation) -> Markup:
    """The confusion matrix: counts as numbers, each row's shares as shades."""
    confusion = evaluation.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    head = element(
        "tr",
        element("th", "true ↓ predicted →", class_="corner"),
        *(
            element("th", element("span", name(label), title=label), scope="col")
            for label in evaluation.classes
        ),
    )
    body = (
        element(
            "tr",
            element("th", element("span", name(label), title=label), scope="row"),
            *(
                _heat(int(confusion[row, column]), float(shares[row, column]), label, said)
                for column, said in enumerate(evaluation.classes)
            ),
        )
        for row, label in enumerate(evaluation.classes)
    )
    return _scrolling(
        element(
            "table",
            element("thead", head),
            element("tbody", *body),
            class_=f"confusion {_density(len(shares))}",
        ),
        f"Confusion matrix on {evaluation.split}",
    )


def confusions_list(evaluation: Evaluation) -> Markup | None:
    """The most frequent mistakes, largest first, with some of the photos; None where there is no mistake."""
    confusion = evaluation.confusion
    support = confusion.sum(axis=1)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:_LISTED_CONFUSIONS]
    items = []
    for row, column in (divmod(int(index), len(confusion)) for index in order):
        if wrong[row, column]:
            items.append(
                element(
                    "li",
                    name(evaluation.classes[row]),
                    " taken for ",
                    name(evaluation.classes[column]),
                    f": {wrong[row, column]:,} of {support[row]:,} ({wrong[row, column] / support[row]:.0%})",
                    pair_strip(evaluation, evaluation.classes[row], evaluation.classes[column]),
                )
            )
    return element("ol", *items, class_="confusions") if items else None


def classes_table(evaluation: Evaluation) -> Markup:
    """Precision, recall and F1 of every class."""
    rows = [
        [
            element("th", name(row.name), scope="row"),
            number_cell(row.precision),
            number_cell(row.recall),
            number_cell(row.f1),
            _bar(row.f1),
            number_cell(row.support),
            number_cell(row.predicted),
        ]
        for row in evaluation.per_class
    ]
    head = ["class", "precision", "recall", "F1", "", "photos", "predicted"]
    return table(head, rows, label=f"Every class on {evaluation.split}", class_="numbers")


def parts_table(evaluation: Evaluation) -> Markup:
    """Macro F1 of the photos of each source."""
    rows = [
        [
            element("th", name(source), scope="row"),
            number_cell(part.f1_macro),
            number_cell(part.n_images),
            element("td", joined(map(name, part.classes), ", "), class_="words"),
        ]
        for source, part in evaluation.parts.items()
    ]
    head = ["source", "macro F1", "photos", f"classes (with at least {MIN_PART_SUPPORT} photos)"]
    return table(head, rows, label=f"Every source on {evaluation.split}", class_="numbers")


def balance_table(inspection: Inspection) -> Markup:
    """How many photos each class has in each split; bars for the first of them (train, where there is one)."""
    splits = [split for split in inspection.counts if split != UNLABELLED]
    first = inspection.counts[splits[0]] if splits else {}
    most = max([1, *first.values()])
    rows = [
        [
            element("th", name(label), scope="row"),
            _bar(first.get(label, 0) / most),
            *(number_cell(inspection.counts[split].get(label, 0)) for split in splits),
        ]
        for label in inspection.classes
    ]
    return table(["class", "", *splits], rows, label="Photos of every class", class_="numbers")


def recipe_list(recipe: Mapping[str, Any]) -> Markup:
    """Every setting of the training."""
    return element(
        "dl",
        *(
            element("div", element("dt", key), element("dd", _setting(value)))
            for key, value in recipe.items()
        ),
        class_="recipe",
    )


def _cell(cell: str) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith(("<td", "<th")) else element("td", cell)


def number_cell(value: float | None, *, digits: int = 4) -> Markup:
    """A cell with a number: counts in full, ratios with so many digits, a dash where it is not known."""
    if value is None:
        return element("td", _DASH)
    return element("td", f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}")


def interval_cell(bounds: tuple[float, float] | None, *, sign: bool = False) -> Markup:
    """A cell with an interval; with `sign` its bounds may be negative."""
    if bounds is None:
        return element("td", _DASH)
    low, high = bounds
    return element("td", f"{low:+.3f} to {high:+.3f}" if sign else f"{low:.3f}{_DASH}{high:.3f}")


def _bar(share: float) -> Markup:
    return element("td", element("div", style=f"width:{100 * share:.1f}%"), class_="bar", aria_hidden="true")


def _density(n_classes: int) -> str:
    """How narrow the columns of a matrix must be: a class in the style sheet."""
    return "sparse" if n_classes <= 12 else "dense" if n_classes <= 26 else "densest"


def _heat(count: int, share: float, true: str, said: str) -> Markup:
    return element(
        "td",
        str(count) if count else "·",
        class_=("strong" if share > _STRONG else "faint" if not count else None),
        style=f"--share:{share:.3f}" if count else None,
        title=f"{true}, called {said}: {count:,} ({share:.1%})" if count else None,
    )


def _scrolling(content: Markup, label: str) -> Markup:
    # Focusable, so that it can be scrolled by keyboard too.
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
