"""A submission against the photos themselves: the test files, the answers, the claimed F1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from wisp.data.cache import build_cache
from wisp.data.classes import class_order
from wisp.errors import DataError, ModelError, SubmissionError
from wisp.files import file_sha256
from wisp.metrics import confusion_matrix, macro_f1
from wisp.records import TEST, TRAIN, UNLABELLED, VAL, Dataset, ResizeRule, Sample, Violation
from wisp.runtime.answers import Answers
from wisp.submission.claims import Fingerprint, answer_names, compare_names
from wisp.submission.contents import DATA, MANIFEST, MODEL, PREDICTIONS
from wisp.submission.graph import classify_images
from wisp.submission.layout import PACK_AGAIN, printable
from wisp.submission.manifest import Manifest

# Probabilities that are so close are told apart by the processor's rounding, not by the model.
NEAR = 1e-3
_F1_NEAR, _F1_ROUNDING = 0.01, 1e-9


def test_samples(dataset: Dataset) -> tuple[Sample, ...]:
    """The photos that a submission answers: those of test, then those without a label."""
    return (*dataset.split(TEST), *dataset.split(UNLABELLED))


def check_test_files(
    data: Fingerprint, found: Answers, dataset: Dataset, *, progress: bool = True
) -> Iterator[Violation]:
    """The test photos are those that are there, byte for byte, and each is answered."""
    samples = test_samples(dataset)
    here = answer_names([sample.name for sample in samples])
    yield from compare_names(set(here), set(found.answers), str(dataset.root))
    claimed = data.test_photos()
    bar = tqdm(samples, "test files", leave=False, unit="photo", disable=None if progress else True)
    changed = [
        sample.name
        for sample in bar
        if sample.name in claimed and _digest(sample.path) != claimed[sample.name]
    ]
    if changed:
        message = (
            f"{len(changed):,} test photos are not those in {dataset.root} (first: {printable(changed[0])})"
        )
        yield _violation("test-files", DATA, message)


@dataclass(frozen=True)
class SplitAnswers:
    """A model's answers on the readable photos of one split (or of several).

    `probabilities` is float32, N x classes; `true` int64, N, in the model's order, -1 without a label.
    """

    samples: tuple[Sample, ...]
    probabilities: npt.NDArray[np.float32]
    true: npt.NDArray[np.int64]
    unreadable: frozenset[str]

    @property
    def near(self) -> int:
        """Photos whose two most probable classes are equally probable but for rounding."""
        if self.probabilities.shape[1] < 2:
            return 0
        best = np.sort(self.probabilities, axis=1)[:, -2:]
        return int(((best[:, 1] - best[:, 0]) <= NEAR).sum())

    def labelled(self) -> SplitAnswers:
        """Those whose class is known."""
        rows = np.flatnonzero(self.true >= 0)
        samples = tuple(self.samples[row] for row in rows)
        return SplitAnswers(samples, self.probabilities[rows], self.true[rows], self.unreadable)

    def f1_macro(self) -> float:
        """Macro F1 of the most probable classes; every photo has a label."""
        classes = self.probabilities.shape[1]
        return macro_f1(confusion_matrix(self.true, self.probabilities.argmax(axis=1), classes))


def answer_samples(
    classify: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    samples: Sequence[Sample],
    rule: ResizeRule,
    order: npt.NDArray[np.int64],
    *,
    skip_unreadable: bool = True,
    progress: bool = True,
) -> SplitAnswers:
    """What a model answers on photos.

    Args:
        classify: from images (uint8, N x size x size x 3) to probabilities (float32, N x classes).
        samples: the photos.
        rule: how a photo becomes the model's input.
        order: for each class of the data set its index in the model (`class_order`).
        skip_unreadable: leave photos out that cannot be read.
        progress: show a progress bar on a terminal while photos are decoded.

    Raises:
        DataError: photos cannot be read.
    """
    cached = build_cache(samples, rule, skip_unreadable=skip_unreadable, progress=progress)
    probabilities = classify(cached.images)
    labels = cached.labels
    true = np.where(labels >= 0, order[np.maximum(labels, 0)], -1)
    return SplitAnswers(
        cached.samples, probabilities, true, frozenset(sample.name for sample, _ in cached.skipped)
    )


def check_answers(
    model: Path,
    rule: ResizeRule,
    found: Answers,
    manifest: Manifest,
    dataset: Dataset,
    *,
    progress: bool = True,
) -> tuple[SplitAnswers | None, list[Violation]]:
    """The answers are those that the model gives, and the F1 of each labelled split is the claimed one.

    Returns:
        The model's answers to the test photos, None where it gives none; and what is wrong.
    """
    samples = test_samples(dataset)
    name_of = dict(zip((s.name for s in samples), answer_names([s.name for s in samples]), strict=True))
    parts: dict[str, tuple[Sample, ...]] = {TEST: samples}
    parts |= {split: dataset.split(split) for split in (VAL, TRAIN) if split in manifest.f1}

    def classify(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return classify_images(model, images, len(manifest.classes))

    of_tests: SplitAnswers | None = None
    findings: list[Violation] = []
    try:
        order = class_order(dataset, manifest.classes)
        for split, members in parts.items():
            if not members:
                continue
            answers = answer_samples(classify, members, rule, order, progress=progress)
            if answers.unreadable:
                message = (
                    f"{len(answers.unreadable):,} photos of {split} cannot be read here and were not checked"
                )
                findings.append(Violation("unreadable", "note", str(dataset.root), None, message, ""))
            if split == TEST:
                of_tests = answers
                findings += _compare_answers(answers, found, manifest.classes, name_of)
            findings += _compare_f1(split, answers.labelled(), manifest)
    except (SubmissionError, ModelError) as error:
        rule_name = "graph" if isinstance(error, SubmissionError) else "classes"
        findings.append(_violation(rule_name, MODEL, str(error)))
        return None, findings
    for split in sorted(set(manifest.f1) - set(dataset.splits)):
        message = f"claims an F1 on {split}, of which there are no photos in {dataset.root}"
        findings.append(Violation("f1", "note", MANIFEST, None, message, ""))
    return of_tests, findings


def _compare_answers(
    answers: SplitAnswers, found: Answers, classes: Sequence[str], name_of: dict[str, str]
) -> Iterator[Violation]:
    index_of = {name: index for index, name in enumerate(classes)}
    wrong = []
    for sample, row in zip(answers.samples, answers.probabilities, strict=True):
        label = found.answers.get(name_of[sample.name])
        if label in index_of and not row.max() - row[index_of[label]] <= NEAR:  # true for NaN too
            wrong.append((name_of[sample.name], label, classes[int(row.argmax())]))
    if wrong:
        name, said, given = wrong[0]
        message = (
            f"{len(wrong):,} answers are not what {MODEL} gives (first: {printable(name)}: {printable(said)}, the "
            f"model says {printable(given)})"
        )
        yield _violation("predictions", PREDICTIONS, message)


def _compare_f1(split: str, answers: SplitAnswers, manifest: Manifest) -> Iterator[Violation]:
    claimed = manifest.f1.get(split)
    if not answers.samples:
        return
    f1 = answers.f1_macro()
    if claimed is None:
        message = f"claims no F1 on {split}, whose labels are known; it is {f1:.4f}"
        yield Violation("f1", "note", MANIFEST, None, message, "")
    elif not abs(claimed - f1) <= (_F1_NEAR if answers.near else _F1_ROUNDING):
        yield _violation("f1", MANIFEST, f"claims a macro F1 of {claimed:.4f} on {split}; it is {f1:.4f}")


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot read this file ({error.strerror})") from error


def _violation(rule: str, path: str, message: str) -> Violation:
    return Violation(rule, "violation", path, None, message, PACK_AGAIN)
