"""The one page of a run: everything that `wisp optimize` found, in a file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp.data.inspection import Inspection
from wisp.evaluation import Evaluation
from wisp.files import write_text
from wisp.report.charts import counted
from wisp.report.curves import Line, curves_chart, key_of
from wisp.report.dataset import dataset_facts
from wisp.report.document import Section, document, section
from wisp.report.front import front_chart
from wisp.report.markup import Markup, element, joined, name
from wisp.report.photos import hardest_strip
from wisp.report.points import standing_out
from wisp.report.tables import (
    MATRIX_CLASSES,
    candidates_table,
    classes_table,
    confusion_table,
    confusions_list,
    parts_table,
    recipe_list,
    splits_table,
)
from wisp.score import F1_FLOOR, PRESETS, Baseline, f1_term, macs_term
from wisp.search.candidate import Trial
from wisp.search.front import Point


@dataclass(frozen=True)
class ReportContent:
    """What the page shows.

    Attributes:
        data_name: name of the data set, for the title.
        trials: at least one; they are numbered in this order.
        chosen: one of them.
        validation: the chosen model on the validation split.
        test: the same on the test split; None where there is none.
        inspection: what was found in the photos.
        recipe: the settings of the chosen training.
        curves: `display_name` of a trial -> the rows of its `metrics.jsonl`; trials without rows have no line.
        notes: what the reader must know first, one line each.
        baseline: what all scores are relative to.
        seconds: how long the job took.
        command: the command line that trains the chosen network again.
        job: the command line that does the whole job again.
        version: of wisp.
        explored: MACs and F1 on validation of every network that the search trained briefly; none without a search.
    """

    data_name: str
    trials: tuple[Trial, ...]
    chosen: Trial
    validation: Evaluation
    test: Evaluation | None
    inspection: Inspection
    recipe: Mapping[str, Any]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    notes: tuple[str, ...]
    baseline: Baseline
    seconds: float
    command: str
    job: str
    version: str
    explored: tuple[Point, ...] = ()

    @property
    def measured(self) -> Evaluation:
        """The evaluation that counts: on test, else on validation."""
        return self.test or self.validation


def display_name(trial: Trial) -> str:
    """The name of a trial: a candidate may have been trained twice, for other numbers of epochs or with a teacher."""
    taught = "-taught" if trial.teacher is not None else ""
    return f"{trial.candidate.name}-{trial.epochs}ep{taught}"


def write_report(content: ReportContent, path: Path) -> None:
    """Write the page to `path`, whole or not at all. It loads nothing, from the network or from other files."""
    write_text(path, render(content))


def render(content: ReportContent) -> str:
    """The page as HTML."""
    label = f"{content.data_name}, synthetic pictures" if content.validation.synthetic else content.data_name
    return document(label, _summary(content), _sections(content), content.version)


def _sections(content: ReportContent) -> Iterator[Section | Markup]:
    measured = content.measured
    yield section("result", "The chosen model", *_headline(content))
    if content.notes:
        yield element(
            "aside", element("ul", *(element("li", note) for note in content.notes)), class_="notes"
        )
    yield section(
        "front",
        "Accuracy against cost",
        front_chart(content.trials, content.chosen, content.baseline, explored=content.explored),
    )
    lines = _lines(content)
    yield section(
        "candidates", "All candidates", candidates_table(content.trials, content.chosen, _seconds(content))
    )
    charts = [
        curve
        for key, label in (("loss", "training loss"), ("f1_val", "macro F1 on validation"))
        if (curve := curves_chart(lines, key, label))
    ]
    if charts:
        yield section(
            "training", "Training", element("div", *charts, class_="charts"), key_of(lines), class_="curves"
        )
    yield section("confusion", f"What is taken for what, on {measured.split}", *_confusion(measured))
    hardest = hardest_strip(measured)
    if hardest:
        yield section(
            "hardest",
            f"The hardest {measured.pictures}, on {measured.split}",
            element(
                "p",
                "Wrong answers that the model is surest of. Look for labels that are wrong, objects that are hardly to "
                "be seen, and classes that overlap.",
                class_="caption",
            ),
            hardest,
        )
    yield section("classes", f"Every class, on {measured.split}", classes_table(measured))
    if measured.parts:
        yield section("parts", f"Every source, on {measured.split}", parts_table(measured))
    yield section("data", "The photos", *dataset_facts(content.inspection))
    yield section("recipe", "Recipe of the chosen training", recipe_list(content.recipe))
    yield section(
        "again",
        "Do it again",
        element("p", "The model beside this page runs without torch:"),
        element("pre", element("code", "wisp classify PHOTO --model model.onnx")),
        element(
            "p", f"Train the chosen network once more, as it was trained here with wisp {content.version}:"
        ),
        element("pre", element("code", content.command)),
        element(
            "p",
            "The same data, recipe, seed and versions give the same network.",
            class_="caption",
        ),
        element("p", f"Do the whole job again, {_duration(content.seconds)} here:"),
        element("pre", element("code", content.job)),
        element(
            "p",
            "How many networks the time is enough for depends on the machine, and on several workers who is ready "
            "first; so the job may choose another network.",
            class_="caption",
        ),
    )


def _summary(content: ReportContent) -> Markup:
    chosen = content.chosen
    return joined(
        (
            element("strong", name(chosen.candidate.name)),
            f", {chosen.candidate.image_size} px, {counted(chosen.epochs, 'epoch')}: chosen on validation among "
            f"{counted(len(content.trials), 'trained candidate')} in {_duration(content.seconds)}.",
        )
    )


def _headline(content: ReportContent) -> Iterator[Markup]:
    measured, baseline = content.measured, content.baseline
    low, high = measured.f1_ci95
    preset = next((key for key, known in PRESETS.items() if known == baseline), "the given baseline")
    floor = f"; F1 below {F1_FLOOR:g}, the floor" if measured.f1_macro < F1_FLOOR else ""
    cost, loss = macs_term(measured.macs, baseline), f1_term(measured.f1_macro, baseline)
    figures = [
        (
            f"macro F1 on {measured.split}",
            f"{measured.f1_macro:.4f}",
            f"95% interval {low:.4f} to {high:.4f}, {measured.n_images:,} photos",
        ),
        (
            "score (smaller is better)",
            f"{measured.score:.4f}",
            f"MACs term {cost:.4f}, F1 term {loss:+.4f}{floor}",
        ),
        ("MACs", f"{measured.macs:,}", f"as deployed; {measured.macs_as_trained:,} as trained"),
        ("parameters", f"{measured.params:,}", "as deployed"),
        ("file", _size(measured.size_bytes), "model.onnx, with labels and normalisation"),
        ("latency", *_latency(measured)),
    ]
    yield element(
        "dl",
        *(
            element("div", element("dt", label), element("dd", value), element("dd", detail, class_="detail"))
            for label, value, detail in figures
        ),
        class_="figures",
    )
    yield splits_table([part for part in (content.test, content.validation) if part])
    yield element(
        "p",
        f"Scores are relative to {preset}: F1 {baseline.f1:g}, {baseline.macs:,} MACs. ",
        "The choice was made on validation, so its figures flatter; photos of test chose nothing."
        if content.test
        else "The choice was made on validation, so these figures flatter.",
        class_="caption",
    )


def _latency(measured: Evaluation) -> tuple[str, str]:
    """The number, and what it is."""
    if measured.latency_p50_ms is None:
        return "not measured", ""
    details = ["median of one image"]
    if measured.latency_p99_ms is not None:
        details.append(f"99th percentile {measured.latency_p99_ms:.3f} ms")
    if measured.device:
        details.append(measured.device)
    return f"{measured.latency_p50_ms:.3f} ms", "; ".join(details)


def _lines(content: ReportContent) -> list[Line]:
    prominent = standing_out(content.trials, content.chosen)
    return [
        Line(
            number,
            display_name(trial),
            content.curves[display_name(trial)],
            chosen=trial == content.chosen,
            faint=trial not in prominent,
        )
        for number, trial in enumerate(content.trials, start=1)
        if content.curves.get(display_name(trial))
    ]


def _seconds(content: ReportContent) -> list[float | None]:
    """How long each trial was trained, from the last row of its curve."""
    rows = [content.curves.get(display_name(trial), ()) for trial in content.trials]
    return [
        float(of_trial[-1]["seconds"]) if of_trial and "seconds" in of_trial[-1] else None
        for of_trial in rows
    ]


def _confusion(measured: Evaluation) -> Iterator[Markup]:
    mistakes = element(
        "div", element("h3", "Most frequent mistakes"), confusions_list(measured) or element("p", "None.")
    )
    if len(measured.classes) <= MATRIX_CLASSES:
        yield element(
            "p",
            "Rows are true classes, columns the answers; numbers count photos, shades are shares of the row.",
            class_="caption",
        )
        yield element("div", confusion_table(measured), mistakes, class_="side-by-side")
    else:
        yield mistakes
    if measured.n_skipped:
        yield element("p", f"Unreadable photos left out: {measured.n_skipped:,}.")


def _size(size_bytes: int | None) -> str:
    return "not measured" if size_bytes is None else f"{size_bytes:,} bytes"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
