"""Classification metrics from a confusion matrix, with numpy alone.

Everything but calibration is a function of the confusion matrix (rows: true, columns: predicted
classes), so it is counted once and every number comes from the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Confusion = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Precision, recall and F1 of one class; `support` counts its images, `predicted` how often it was said.

    A ratio whose denominator is zero is 0, as with scikit-learn's `zero_division=0`.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, n: int) -> Confusion:
    """Count how often class i was taken for class j.

    Args:
        labels: true class indices, shape (N,), each in 0..n-1.
        predicted: predicted class indices, same shape and range.
        n: number of classes.

    Returns:
        int64 counts of shape (n, n), rows true, columns predicted.

    Raises:
        ValueError: shapes differ or an index is outside 0..n-1.
    """
    true = np.asarray(labels, dtype=np.int64)
    said = np.asarray(predicted, dtype=np.int64)
    if true.shape != said.shape or true.ndim != 1:
        raise ValueError(f"labels {true.shape} and predictions {said.shape} must be vectors of one length")
    if true.size and (min(true.min(), said.min()) < 0 or max(true.max(), said.max()) >= n):
        raise ValueError(f"class indices must lie in 0..{n - 1}")
    return np.bincount(true * n + said, minlength=n * n).astype(np.int64).reshape(n, n)


def accuracy(confusion: Confusion) -> float:
    """The share of images on the diagonal."""
    return float(np.trace(confusion)) / _total(confusion)


def macro_f1(confusion: Confusion, classes: Sequence[int] | None = None) -> float:
    """The mean of the classes' F1, equal weight to every class.

    By default the mean goes over the classes that occur in the labels or in the predictions, which is what
    scikit-learn's `f1_score(average="macro")` does: a class seen in neither is left out, not counted as 0.

    Args:
        confusion: counts of shape (n, n).
        classes: restrict the measurement to these classes: only their images are counted, the network may
            still answer with any class, and the mean goes over exactly these.

    Raises:
        ValueError: there is no image to measure.
    """
    if classes is not None:
        chosen = np.asarray(classes, dtype=np.int64)
        kept = np.zeros_like(confusion)
        kept[chosen] = confusion[chosen]
        _total(kept)
        return float(_f1(kept)[chosen].mean())
    _total(confusion)
    return float(_mean_over_present(confusion[np.newaxis])[0])


def per_class(confusion: Confusion, names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall, F1 and support of every class, in the order of `names`."""
    hits = np.diagonal(confusion)
    support = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = _f1(confusion)
    return tuple(
        ClassMetrics(
            name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]), int(predicted[i])
        )
        for i, name in enumerate(names)
    )


def bootstrap_f1_ci(
    confusion: Confusion, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the macro F1 (Efron, 1979), images resampled with replacement.

    An image matters only through its cell of the confusion matrix, so drawing N images with replacement is
    the same as drawing the cells' counts from a multinomial with the observed shares. That is exact, and its
    cost does not depend on the number of images.

    Args:
        confusion: counts of shape (n, n) with at least one image.
        level: coverage of the interval, inside 0..1.
        resamples: number of bootstrap samples.
        seed: seed of the draws; equal seeds give equal intervals.

    Returns:
        The lower and the upper bound.

    Raises:
        ValueError: no image, or `level` or `resamples` out of range.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"need 0 < level < 1 and resamples >= 1, got level {level}, resamples {resamples}")
    total = _total(confusion)
    # Only the occupied cells: a zero cell stays zero in every resample, and most cells are zero.
    rows, columns = np.nonzero(confusion)
    counts = np.random.default_rng(seed).multinomial(total, confusion[rows, columns] / total, size=resamples)
    drawn = np.zeros((resamples, *confusion.shape), dtype=np.int64)
    drawn[:, rows, columns] = counts
    tail = (1 - level) / 2
    low, high = np.quantile(_mean_over_present(drawn), (tail, 1 - tail))
    return float(low), float(high)


def paired_f1_difference_ci(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    n: int,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Paired percentile bootstrap interval of macro F1 of `second` minus that of `first` (Efron & Tibshirani, 1993).

    Both answered the same images, and the images are resampled: what makes an image hard for both cancels out, so the
    interval is narrower than the two single ones suggest.

    Args:
        labels: true class indices, shape (N,), each in 0..n-1.
        first: answers of one model, same shape and range.
        second: answers of the other.
        n: number of classes.
        level: coverage of the interval, inside 0..1.
        resamples: number of bootstrap samples.
        seed: seed of the draws; equal seeds give equal intervals.

    Returns:
        The lower and the upper bound; an interval without 0 says that the two differ.

    Raises:
        ValueError: no image, vectors that do not belong together, or `level` or `resamples` out of range.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"need 0 < level < 1 and resamples >= 1, got level {level}, resamples {resamples}")
    true, one, two = (np.asarray(values, dtype=np.int64) for values in (labels, first, second))
    total = _total(confusion_matrix(true, one, n))
    confusion_matrix(true, two, n)  # checks the shapes and the range
    # Images with the same label and answers are alike: their counts are drawn at once.
    kinds, counts = np.unique(np.stack([true, one, two]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=resamples)
    f1 = []
    for answers in kinds[1:]:
        stack = np.zeros((resamples, n, n), dtype=np.int64)
        for index, (row, column) in enumerate(zip(kinds[0], answers, strict=True)):
            stack[:, row, column] += drawn[:, index]
        f1.append(_mean_over_present(stack))
    tail = (1 - level) / 2
    low, high = np.quantile(f1[1] - f1[0], (tail, 1 - tail))
    return float(low), float(high)


def expected_calibration_error(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = 15
) -> float:
    """Expected calibration error (Guo et al., 2017): the mean gap of confidence and accuracy.

    Args:
        probabilities: shape (N, classes), rows summing to 1.
        labels: true class indices, shape (N,).
        bins: number of equally wide bins of the top probability.

    Raises:
        ValueError: there is no image, or the shapes do not agree.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    true = np.asarray(labels, dtype=np.int64)
    if shares.ndim != 2 or not len(shares) or len(shares) != len(true):
        raise ValueError(f"probabilities {shares.shape} and labels {true.shape} do not belong together")
    confidence = shares.max(axis=1)
    hit = shares.argmax(axis=1) == true
    # Bins are (low, high], as in the paper; a confidence of exactly 0 cannot occur for a softmax.
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=hit - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(shares))


def _total(confusion: Confusion) -> int:
    total = int(confusion.sum())
    if total == 0:
        raise ValueError("no image to measure")
    return total


def _f1(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """F1 of every class, 2TP / (2TP + FP + FN), 0 where the class occurs nowhere; shape (..., n)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    occurrences = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    f1: npt.NDArray[np.float64] = 2.0 * hits / np.maximum(occurrences, 1)
    return f1


def _mean_over_present(confusions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Macro F1 of each of a stack of confusion matrices, shape (K, n, n) -> (K,)."""
    present = (confusions.sum(axis=-1) + confusions.sum(axis=-2)) > 0
    means: npt.NDArray[np.float64] = _f1(confusions).sum(axis=-1) / present.sum(axis=-1)
    return means
