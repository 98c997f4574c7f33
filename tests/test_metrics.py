import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from wisp.metrics import (
    accuracy,
    bootstrap_f1_ci,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    paired_f1_difference_ci,
    per_class,
)

CLASSES = 6
answers = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60
)


@given(answers)
@settings(max_examples=150, deadline=None)
def test_equals_scikit_learn(pairs):
    true, said = zip(*pairs, strict=True)
    confusion = confusion_matrix(true, said, CLASSES)
    assert confusion.sum() == len(pairs)
    assert macro_f1(confusion) == pytest.approx(f1_score(true, said, average="macro"), abs=1e-12)
    assert accuracy(confusion) == pytest.approx(accuracy_score(true, said), abs=1e-12)
    expected = precision_recall_fscore_support(true, said, labels=range(CLASSES), zero_division=0)
    rows = per_class(confusion, [f"c{i}" for i in range(CLASSES)])
    np.testing.assert_allclose([row.precision for row in rows], expected[0])
    np.testing.assert_allclose([row.recall for row in rows], expected[1])
    np.testing.assert_allclose([row.f1 for row in rows], expected[2])
    assert [row.support for row in rows] == expected[3].tolist()
    assert [row.predicted for row in rows] == [said.count(i) for i in range(CLASSES)]


@given(answers, st.sets(st.integers(0, CLASSES - 1), min_size=1))
@settings(max_examples=100, deadline=None)
def test_restricted_macro_f1_counts_only_the_images_of_those_classes(pairs, chosen):
    kept = [(t, p) for t, p in pairs if t in chosen]
    confusion = confusion_matrix(*zip(*pairs, strict=True), CLASSES)
    classes = sorted(chosen)
    if not kept:
        with pytest.raises(ValueError, match="no image"):
            macro_f1(confusion, classes)
        return
    true, said = zip(*kept, strict=True)
    expected = f1_score(true, said, labels=classes, average="macro", zero_division=0)
    assert macro_f1(confusion, classes) == pytest.approx(expected, abs=1e-12)


def test_classes_seen_nowhere_are_left_out_of_the_mean():
    assert macro_f1(confusion_matrix([0, 1], [0, 1], 9)) == 1.0
    # class 1 is only predicted: it counts, with F1 0
    assert macro_f1(confusion_matrix([0, 0], [0, 1], 9)) == pytest.approx((2 / 3 + 0) / 2)


def test_confusion_rows_are_true_classes():
    assert confusion_matrix([0, 0, 1], [1, 1, 1], 2).tolist() == [[0, 2], [0, 1]]
    assert confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "predicted"), [([0, 1], [0]), ([-1], [0]), ([0], [3]), ([3], [0]), ([[0]], [[0]])]
)
def test_confusion_refuses_what_does_not_fit(labels, predicted):
    with pytest.raises(ValueError, match=r"class indices|one length"):
        confusion_matrix(labels, predicted, 3)


def test_nothing_to_measure():
    empty = np.zeros((3, 3), dtype=np.int64)
    for measure in (accuracy, macro_f1, bootstrap_f1_ci):
        with pytest.raises(ValueError, match="no image"):
            measure(empty)


def _answers(n: int, classes: int, hit: float, seed: int):
    rng = np.random.default_rng(seed)
    true = rng.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    said = np.where(rng.random(n) < hit, true, rng.integers(0, classes, n))
    return true, said


def test_bootstrap_agrees_with_resampling_the_images_one_by_one():
    true, said = _answers(400, 5, 0.7, seed=1)
    rng = np.random.default_rng(2)
    slow = []
    for _ in range(2000):
        drawn = rng.integers(0, len(true), len(true))
        slow.append(macro_f1(confusion_matrix(true[drawn], said[drawn], 5)))
    fast = bootstrap_f1_ci(confusion_matrix(true, said, 5), resamples=2000, seed=3)
    np.testing.assert_allclose(fast, np.quantile(slow, (0.025, 0.975)), atol=0.008)


def test_bootstrap_contains_the_estimate_is_seeded_and_shrinks():
    widths = []
    for n in (100, 1000, 10_000):
        confusion = confusion_matrix(*_answers(n, 9, 0.8, seed=n), 9)
        low, high = bootstrap_f1_ci(confusion, seed=5)
        assert 0 <= low < macro_f1(confusion) < high <= 1
        assert (low, high) == bootstrap_f1_ci(confusion, seed=5)
        assert (low, high) != bootstrap_f1_ci(confusion, seed=6)
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_bootstrap_of_a_perfect_answer_is_a_point():
    assert bootstrap_f1_ci(np.diag([5, 1, 7])) == (1.0, 1.0)


def test_bootstrap_is_fast():
    confusion = confusion_matrix(*_answers(10_000, 9, 0.8, seed=0), 9)
    begin = time.perf_counter()
    bootstrap_f1_ci(confusion, resamples=1000)
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 1.0}, {"resamples": 0}])
def test_bootstrap_refuses_senseless_options(options):
    with pytest.raises(ValueError, match="level"):
        bootstrap_f1_ci(np.eye(2, dtype=np.int64), **options)


def test_calibration_error():
    always_sure = np.tile([1.0, 0.0], (4, 1))
    assert expected_calibration_error(always_sure, [0, 0, 0, 0]) == 0.0
    assert expected_calibration_error(always_sure, [0, 0, 1, 1]) == pytest.approx(0.5)
    three_quarters = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(three_quarters, [0, 0, 0, 1]) == pytest.approx(0.0)
    # two bins whose gaps have opposite signs do not cancel
    mixed = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert expected_calibration_error(mixed, [1, 0]) == pytest.approx((0.9 + 0.4) / 2)


@pytest.mark.parametrize(
    ("probabilities", "labels"), [(np.zeros((0, 2)), []), ([[1.0, 0.0]], [0, 1]), ([1.0], [0])]
)
def test_calibration_refuses_what_does_not_fit(probabilities, labels):
    with pytest.raises(ValueError, match="belong together"):
        expected_calibration_error(probabilities, labels)


def test_a_paired_difference_is_narrower_than_two_intervals_suggest():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    hard = random.random(400) < 0.3  # wrong in both
    first = np.where(hard, (labels + 1) % 3, labels)
    second = first.copy()
    second[:6] = (labels[:6] + 1) % 3
    point = macro_f1(confusion_matrix(labels, second, 3)) - macro_f1(confusion_matrix(labels, first, 3))
    low, high = paired_f1_difference_ci(labels, first, second, 3)
    assert low <= point <= high
    single = bootstrap_f1_ci(confusion_matrix(labels, first, 3))
    assert high - low < (single[1] - single[0]) / 2


def test_equal_answers_differ_by_nothing():
    labels = np.array([0, 1, 2, 1])
    assert paired_f1_difference_ci(labels, labels, labels, 3) == (0.0, 0.0)
    wrong = np.array([0, 1, 1, 1])
    assert paired_f1_difference_ci(labels, wrong, wrong, 3) == (0.0, 0.0)


def test_a_paired_interval_covers_the_truth_as_often_as_it_says():
    """Two models of 70 and 76 per cent accuracy on classes of equal size: their macro F1 are known."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(120):
        labels = np.repeat([0, 1], 150)
        answers = [np.where(random.random(300) < right, labels, 1 - labels) for right in (0.70, 0.76)]
        low, high = paired_f1_difference_ci(labels, *answers, 2, resamples=200)
        covered += low <= 0.06 <= high
    assert 106 <= covered <= 119  # 95 % of 120, within three standard deviations


def test_a_paired_interval_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match="one length"):
        paired_f1_difference_ci([0, 1], [0, 1], [0], 2)
    with pytest.raises(ValueError, match="no image"):
        paired_f1_difference_ci([], [], [], 2)
    with pytest.raises(ValueError, match="level"):
        paired_f1_difference_ci([0], [0], [0], 2, level=1.0)
