"""Measuring a deployed model on a labelled split: the file that will run, on pixels as it will see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from wisp.data.cache import build_cache
from wisp.data.classes import class_order
from wisp.data.synthetic import is_synthetic
from wisp.errors import DataError
from wisp.macs import ProgramReport, contradiction
from wisp.metrics import (
    ClassMetrics,
    accuracy,
    bootstrap_f1_ci,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    per_class,
)
from wisp.records import TEST, TRAIN, VAL, Dataset, Measurement, Sample
from wisp.runtime import Classifier
from wisp.score import LEADERBOARD_2021, PRESETS, Baseline, score

# A class with fewer images of a part has an F1 that is mostly chance, and would count as much as any other.
MIN_PART_SUPPORT = 20
_BATCH = 256


@dataclass(frozen=True, slots=True)
class PartResult:
    """Macro F1 on the photos of one source, over the classes with enough of them (`MIN_PART_SUPPORT`).

    Only the photos of those classes are counted (`n_images`); the model may still answer with any class.
    """

    f1_macro: float
    n_images: int
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A photo that was classified wrongly: where it lies, its name in the data set, its class, and the answer.

    `probability` is what the model gave to its answer.
    """

    path: Path
    name: str
    true: str
    said: str
    probability: float


class Timed(Protocol):
    """Latency percentiles; `wisp.bench.Latency` is one."""

    @property
    def p50_ms(self) -> float:
        """Median wall time of one image, milliseconds."""

    @property
    def p99_ms(self) -> float:
        """99th percentile of it."""

    @property
    def device(self) -> str:
        """What it was measured on."""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one model on one split.

    `macs` and `params` are those of the deployed network (BatchNorm folded), and `score` is computed from that
    count; `macs_as_trained` is the count before folding. Rows of `confusion` are true classes, columns answers,
    both in the order of `classes`. `synthetic` says that wisp rendered the images itself.
    Latencies are in milliseconds for one image; None where not measured. `macs_graph` is the exact count of the file's
    own graph, None where it was not counted; `macs_doubt` says in one line why `macs`, which the file states, cannot be
    true of that graph, and is None where it can.
    """

    split: str
    classes: tuple[str, ...]
    n_images: int
    n_skipped: int
    f1_macro: float
    f1_ci95: tuple[float, float]
    accuracy: float
    calibration_error: float
    macs: int
    macs_as_trained: int
    params: int
    score: float
    baseline: Baseline
    per_class: tuple[ClassMetrics, ...]
    confusion: npt.NDArray[np.int64] = field(compare=False)
    parts: Mapping[str, PartResult] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)
    synthetic: bool = False
    size_bytes: int | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    device: str | None = None
    macs_graph: int | None = None
    macs_doubt: str | None = None

    @property
    def preset(self) -> str | None:
        """Name of the baseline that the score is relative to, where it has one."""
        return next((name for name, baseline in PRESETS.items() if baseline == self.baseline), None)

    def with_latency(self, latency: Timed) -> Self:
        """A copy that also says how long one image takes."""
        return replace(
            self, latency_p50_ms=latency.p50_ms, latency_p99_ms=latency.p99_ms, device=latency.device
        )

    def with_recount(self, graph: ProgramReport) -> Self:
        """A copy that also says what the graph itself costs, and whether the file's own figure can be true."""
        return replace(self, macs_graph=graph.total, macs_doubt=contradiction(self.macs, graph))

    @property
    def pictures(self) -> str:
        """What the images are called in print: rendered ones never pass for photos."""
        return "synthetic pictures" if self.synthetic else "photos"

    def measurement(self) -> Measurement:
        """The summary that travels to reports and the search."""
        return Measurement(
            f1_macro=self.f1_macro,
            accuracy=self.accuracy,
            n_images=self.n_images,
            split=self.split,
            macs=self.macs,
            params=self.params,
            score=self.score,
            f1_ci95=self.f1_ci95,
            macs_as_trained=self.macs_as_trained,
            size_bytes=self.size_bytes,
            latency_p50_ms=self.latency_p50_ms,
            latency_p99_ms=self.latency_p99_ms,
            device=self.device,
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return {
            **self.measurement().to_json(),
            "macs_graph": self.macs_graph,
            "macs_doubt": self.macs_doubt,
            "n_skipped": self.n_skipped,
            "synthetic": self.synthetic,
            "calibration_error": self.calibration_error,
            "baseline": {"preset": self.preset, "f1": self.baseline.f1, "macs": self.baseline.macs},
            "per_class": {
                row.name: {key: value for key, value in asdict(row).items() if key != "name"}
                for row in self.per_class
            },
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "parts": {name: asdict(part) for name, part in self.parts.items()},
        }


def evaluate(
    model: Classifier,
    dataset: Dataset,
    split: str = TEST,
    *,
    baseline: Baseline = LEADERBOARD_2021,
    skip_unreadable: bool = False,
    cache_dir: Path | None = None,
    progress: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Classify every photo of a labelled split and measure the answers.

    Args:
        model: the deployed model. Its classes and those of the data set are matched by name, not by position.
        dataset: labelled photos; its `parts` are measured one by one beside the whole.
        split: which photos.
        baseline: what the score is relative to.
        skip_unreadable: leave unreadable photos out (they are counted in `n_skipped`) instead of stopping.
        cache_dir: where decoded photos are kept; None means the user's cache.
        progress: show progress on a terminal.
        seed: of the bootstrap interval.

    Raises:
        DataError: no such split, no labels in it, or unreadable photos.
        ModelError: the data set has a class that the model does not know.
    """
    samples = labelled_samples(dataset, split)
    labels = model.info.labels
    index_of = class_order(dataset, labels)
    cached = build_cache(
        samples, model.info.resize, cache_dir=cache_dir, progress=progress, skip_unreadable=skip_unreadable
    )
    probabilities = _classify(model, cached.images, progress=progress)
    true = index_of[cached.labels]
    said = probabilities.argmax(axis=1)
    confusion = confusion_matrix(true, said, len(labels))
    f1 = macro_f1(confusion)
    return Evaluation(
        split=split,
        classes=labels,
        n_images=len(cached.samples),
        n_skipped=len(cached.skipped),
        f1_macro=f1,
        f1_ci95=bootstrap_f1_ci(confusion, seed=seed),
        accuracy=accuracy(confusion),
        calibration_error=expected_calibration_error(probabilities, true),
        macs=model.info.macs,
        macs_as_trained=model.info.macs_as_trained,
        params=model.info.params,
        score=score(f1, model.info.macs, baseline),
        baseline=baseline,
        synthetic=is_synthetic(dataset.root),
        per_class=per_class(confusion, labels),
        confusion=confusion,
        parts=measure_parts(
            [dataset.parts.get(sample.name) for sample in cached.samples], true, said, labels
        ),
        mistakes=_mistakes(cached.samples, true, probabilities, labels),
        size_bytes=model.path.stat().st_size,
    )


def _mistakes(
    samples: Sequence[Sample],
    true: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> tuple[Mistake, ...]:
    """The photos that were classified wrongly, the most confident answer first."""
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(said != true)
    return tuple(
        Mistake(
            samples[index].path,
            samples[index].name,
            labels[true[index]],
            labels[said[index]],
            float(sure[index]),
        )
        for index in wrong[np.argsort(-sure[wrong], kind="stable")]
    )


def labelled_samples(dataset: Dataset, split: str) -> tuple[Sample, ...]:
    """The photos of a split that can be measured on.

    Raises:
        DataError: the split is missing or has no labels; the message names those that can be used.
    """
    samples = dataset.split(split)
    if samples and all(sample.label is not None for sample in samples):
        return samples
    usable = ", ".join(
        f"{name} ({len(dataset.split(name))})" for name in (TRAIN, VAL, TEST) if dataset.split(name)
    )
    problem = f"the split '{split}' has no labels" if samples else f"no photos in the split '{split}'"
    raise DataError(
        f"{dataset.root}: {problem}; choose one of these with --split: {usable or 'none has labels'}"
    )


def _classify(model: Classifier, images: npt.NDArray[np.uint8], *, progress: bool) -> npt.NDArray[np.float32]:
    """Probabilities of all images, N x classes, a batch at a time: the images may be larger than memory."""
    probabilities = np.empty((len(images), len(model.info.labels)), dtype=np.float32)
    with tqdm(
        total=len(images), desc="classify", unit="photo", leave=False, disable=None if progress else True
    ) as bar:
        for start in range(0, len(images), _BATCH):
            batch = np.ascontiguousarray(images[start : start + _BATCH])
            probabilities[start : start + len(batch)] = model.probabilities(batch)
            bar.update(len(batch))
    return probabilities


def measure_parts(
    part_of: Sequence[str | None],
    true: npt.NDArray[np.int64],
    said: npt.NDArray[np.intp],
    labels: Sequence[str],
) -> dict[str, PartResult]:
    """Each part on its own; parts without a class of at least `MIN_PART_SUPPORT` photos are left out.

    Args:
        part_of: the part of each of N photos, None where it has none.
        true: their classes, N.
        said: the model's answers, N.
        labels: class names.
    """
    results = {}
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(part_of):
        if name is not None:
            rows_of.setdefault(name, []).append(row)
    for part, rows in sorted(rows_of.items()):
        if len(rows) < MIN_PART_SUPPORT:  # of many small sources, none is worth a matrix
            continue
        confusion = confusion_matrix(true[rows], said[rows], len(labels))
        chosen = np.flatnonzero(confusion.sum(axis=1) >= MIN_PART_SUPPORT).tolist()
        if chosen:
            results[part] = PartResult(
                f1_macro=macro_f1(confusion, chosen),
                n_images=int(confusion[chosen].sum()),
                classes=tuple(labels[index] for index in chosen),
            )
    return results
